//! A KubeProxyConfiguration (v1alpha1), as a layer of settings below all others but the defaults: so
//! that whoever replaces kube-proxy need not say again what was said to it.
//!
//! What shunt has no setting for is named, each field that differs from kube-proxy's default in a
//! warning of its own. Nothing of it is an error: an option of kube-proxy's that shunt lacks is no
//! reason to leave a node without Services.

mod document;
mod duration;
mod fields;
mod mapping;

use std::{
    io,
    path::{Path, PathBuf},
};

use self::{document::Document, mapping::Mapped};
use super::settings::{Settings, SocketLbScope};

/// What a KubeProxyConfiguration says of shunt's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeProxySettings {
    settings: Settings,
    warnings: Vec<String>,
    /// What warnings name as their place.
    place: String,
}

/// Why a KubeProxyConfiguration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeProxyConfigError {
    /// It cannot be read.
    #[error("reading --kube-proxy-config {}", path.display())]
    NotRead {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is none.
    #[error("--kube-proxy-config {}: {reason}", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads one, or a ConfigMap that has one.
pub(super) fn read(path: &Path) -> Result<KubeProxySettings, KubeProxyConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KubeProxyConfigError::NotRead { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<KubeProxySettings, KubeProxyConfigError> {
    let place = format!("--kube-proxy-config {}", path.display());
    let wrong = |reason| KubeProxyConfigError::NotUnderstood { path: path.to_owned(), reason };
    let document = Document::read(text).map_err(wrong)?;
    let Mapped { settings, warnings: of_values } = mapping::map(&document).map_err(wrong)?;
    let mut warnings = fields::not_carried(&document);
    warnings.extend(of_values);
    Ok(KubeProxySettings { settings, warnings, place })
}

impl KubeProxySettings {
    /// The layer below `said`, and what is to be said of it.
    pub(super) fn below(self, said: &Settings) -> (Settings, Vec<String>) {
        let Self { mut settings, mut warnings, place } = self;
        // Objects come from one place: whoever names it elsewhere does not mean this one.
        let is_source_said =
            said.manifests.is_some() || said.kubeconfig.is_some() || said.in_cluster == Some(true);
        if is_source_said {
            (settings.kubeconfig, settings.in_cluster) = (None, None);
        }
        if settings.localhost_node_ports == Some(true)
            && said.socket_lb == Some(SocketLbScope::Off)
            && said.localhost_node_ports.is_none()
        {
            settings.localhost_node_ports = None;
            warnings.push(
                "iptables.localhostNodePorts has no effect: it takes a --socket-lb other than off"
                    .to_owned(),
            );
        }
        let warnings = warnings.into_iter().map(|warning| format!("{place}: {warning}"));
        (settings, warnings.collect())
    }
}

#[cfg(test)]
mod tests;
