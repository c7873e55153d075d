//! The connection to an API server.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::source::Origin;

/// How long it may take to reach the server.
const CONNECT: Duration = Duration::from_secs(5);

/// Why it is not known how to reach an API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig is none.
    #[error("--kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// This is no pod of a cluster.
    #[error("--in-cluster: {0}: the agent is no pod with a service account; use --kubeconfig FILE")]
    InCluster(#[from] InClusterError),
    /// There are no connections to be had, as where a certificate cannot be read.
    #[error("connecting to {address}: {source}")]
    Client {
        /// The server.
        address: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// An API server as a kubeconfig's current context has it. It is not asked yet.
pub async fn from_kubeconfig(path: &Path) -> Result<(Client, Origin), AccessError> {
    let wrong = |source| AccessError::Kubeconfig {
        path: path.display().to_string(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
    connect(config)
}

/// The API server of the cluster that this is a pod of, as its service account. It is not asked yet.
pub fn in_cluster() -> Result<(Client, Origin), AccessError> {
    connect(Config::incluster()?)
}

fn connect(mut config: Config) -> Result<(Client, Origin), AccessError> {
    let address = config.cluster_url.to_string();
    let address = address.trim_end_matches('/').to_owned();
    config.connect_timeout = Some(CONNECT);
    let origin = Origin::server(&address);
    let client = Client::try_from(config)
        .map_err(|source| AccessError::Client { address, source: Box::new(source) })?;
    Ok((client, origin))
}
