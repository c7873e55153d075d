//! The connection to an API server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{ClientBuilder, ConfigExt as _},
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, ServiceBuilder};

use super::{causes::with_causes, renewal::Renewal};
use crate::source::Origin;

/// How long it may take to reach the server.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection may be silent before the other end is asked whether it is there.
const IDLE: Duration = Duration::from_secs(5);
/// How long between two such questions, of which [`QUESTIONS`] may stay unanswered.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(2);
const QUESTIONS: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// How long a server that is there may say nothing: a watch without changes has a bookmark every
/// minute (`bookmarkFrequency` of apiserver's `storage/cacher`).
const SILENCE: Duration = Duration::from_secs(150);

/// Why it is not known how to reach an API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig is none.
    #[error("--kubeconfig {path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This is no pod of a cluster.
    #[error("--in-cluster: {0}: the agent is no pod with a service account; use --kubeconfig FILE")]
    InCluster(String),
    /// There are no connections to be had, as where a certificate cannot be read.
    #[error("connecting to {address}: {reason}")]
    Client {
        /// The server.
        address: String,
        /// What is wrong.
        reason: String,
    },
}

/// Where it is said how to reach an API server.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// In a kubeconfig, by its current context.
    Kubeconfig(PathBuf),
    /// In the files of the service account.
    InCluster,
}

impl Access {
    /// What is said at this moment.
    async fn read(&self) -> Result<Config, AccessError> {
        match self {
            Self::Kubeconfig(path) => {
                let wrong = |error: KubeconfigError| AccessError::Kubeconfig {
                    path: path.display().to_string(),
                    reason: with_causes(&error),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)
            }
            Self::InCluster => {
                let wrong = |error: InClusterError| AccessError::InCluster(with_causes(&error));
                Config::incluster().map_err(wrong)
            }
        }
    }

    /// A client by what is said at this moment, and the server's address.
    pub(super) async fn connect(&self) -> Result<(Client, String), AccessError> {
        let config = self.read().await?;
        let address = config.cluster_url.to_string();
        let address = address.trim_end_matches('/').to_owned();
        match client(config) {
            Ok(client) => Ok((client, address)),
            Err(error) => Err(AccessError::Client { address, reason: with_causes(&error) }),
        }
    }
}

/// An API server as a kubeconfig's current context has it. It is not asked yet.
pub async fn from_kubeconfig(path: &Path) -> Result<(Client, Origin), AccessError> {
    renewed(Access::Kubeconfig(path.to_owned())).await
}

/// The API server of the cluster that this is a pod of, as its service account. It is not asked yet.
pub async fn in_cluster() -> Result<(Client, Origin), AccessError> {
    renewed(Access::InCluster).await
}

async fn renewed(access: Access) -> Result<(Client, Origin), AccessError> {
    let (client, address) = access.connect().await?;
    Ok((Renewal::of(access, client), Origin::server(&address)))
}

/// A client that notices when the server's machine is gone, which kube's own does not: a watch
/// would wait for it for ever.
fn client(config: Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(IDLE));
    tcp.set_keepalive_interval(Some(BETWEEN_QUESTIONS));
    tcp.set_keepalive_retries(Some(QUESTIONS));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_read_timeout(Some(SILENCE));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
