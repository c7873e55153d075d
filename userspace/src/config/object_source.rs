//! Where the cluster's objects come from.

use std::path::{Path, PathBuf};

use super::{ConfigError, settings::Settings};

/// Where the cluster's objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectSource {
    /// A folder of manifests.
    Manifests(PathBuf),
    /// The API server that a kubeconfig names.
    Kubeconfig(PathBuf),
    /// The API server of the cluster that the agent is a pod of.
    InCluster,
}

impl ObjectSource {
    /// The one that is given.
    pub(super) fn resolve(settings: &Settings) -> Result<Self, ConfigError> {
        let given = [
            settings.manifests.clone().map(Self::Manifests),
            settings.kubeconfig.clone().map(Self::Kubeconfig),
            (settings.in_cluster == Some(true)).then_some(Self::InCluster),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(source), None) => Ok(source),
            (None, _) => Err(ConfigError::NoSource),
            (Some(one), Some(other)) => {
                Err(ConfigError::TwoSources { one: one.key(), other: other.key() })
            }
        }
    }

    /// Its setting.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Manifests(_) => "manifests",
            Self::Kubeconfig(_) => "kubeconfig",
            Self::InCluster => "in-cluster",
        }
    }

    /// What it is, as `shunt status` has it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Manifests(_) => "manifests",
            Self::Kubeconfig(_) | Self::InCluster => "kubernetes",
        }
    }

    /// That there is no Node of this name, and what to do about it.
    pub fn says_how_to_add_node(&self, name: &str) -> String {
        let remedy = match self {
            Self::Manifests(_) => {
                format!("add a manifest of kind Node with metadata.name: {name}")
            }
            Self::Kubeconfig(_) | Self::InCluster => {
                format!("the kubelet registers it; --node-name {name} is to be its metadata.name")
            }
        };
        format!("waiting for the Node object of this node: {remedy}")
    }

    /// What an error about all of it names: the folder, the kubeconfig, or the setting.
    pub fn place(&self) -> &Path {
        match self {
            Self::Manifests(path) | Self::Kubeconfig(path) => path,
            Self::InCluster => Path::new("--in-cluster"),
        }
    }
}
