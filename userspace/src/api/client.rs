//! The command line's side of the socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    socket_path,
    view::{
        ConnectionView, DropView, NodeView, PodView, ServiceEndpointView, ServiceView, StatusView,
    },
};

/// How long an agent may take for a listing; millions of connections take seconds.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long an agent may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no agent answers at {}: start `shunt agent`, or name its --run-dir", path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The socket exists, and cannot be used.
    #[error("connecting to the agent at {} (only its own user and root may)", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The agent listens and does not answer in time.
    #[error(
        "the agent at {} does not answer within {} s: it is stuck or busy; see its log",
        path.display(), timeout.as_secs()
    )]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long it was given.
        timeout: Duration,
    },
    /// What answers does not speak HTTP, or went away.
    #[error("asking the agent at {} for {request}", path.display())]
    Http {
        /// The socket.
        path: PathBuf,
        /// What was asked.
        request: &'static str,
        /// The reason.
        source: hyper::Error,
    },
    /// The agent has no such answer.
    #[error("the agent at {} answers {request} with {status}: {body}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What was asked.
        request: &'static str,
        /// The answer's status.
        status: StatusCode,
        /// The answer.
        body: String,
    },
    /// The answer has another shape: the agent is of another version than this command.
    #[error(
        "the agent at {} answers {request} in another shape than this version {} reads",
        path.display(), crate::VERSION
    )]
    Shape {
        /// The socket.
        path: PathBuf,
        /// What was asked.
        request: &'static str,
        /// What is wrong with the shape.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether there is nobody to answer, dead, dying or stuck, rather than a failure to ask.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NoAgent { .. } | Self::Timeout { .. } | Self::Http { .. })
    }
}

/// Asks the agent of one run directory; each question has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// For the agent with this run directory.
    pub fn new(run_dir: &Path) -> Self {
        Self { path: socket_path(run_dir) }
    }

    /// How the agent is.
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.get("/v1/status", STATUS_TIMEOUT).await
    }

    /// The Services.
    pub async fn services(&self) -> Result<Vec<ServiceView>, ClientError> {
        self.get("/v1/services", TIMEOUT).await
    }

    /// The endpoints of all service ports.
    pub async fn endpoints(&self) -> Result<Vec<ServiceEndpointView>, ClientError> {
        self.get("/v1/endpoints", TIMEOUT).await
    }

    /// The pods.
    pub async fn pods(&self) -> Result<Vec<PodView>, ClientError> {
        self.get("/v1/pods", TIMEOUT).await
    }

    /// The nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        self.get("/v1/nodes", TIMEOUT).await
    }

    /// The connections.
    pub async fn connections(&self) -> Result<Vec<ConnectionView>, ClientError> {
        self.get("/v1/connections", TIMEOUT).await
    }

    /// The drop counters.
    pub async fn drops(&self) -> Result<Vec<DropView>, ClientError> {
        self.get("/v1/drops", TIMEOUT).await
    }

    async fn get<View: DeserializeOwned>(
        &self,
        request: &'static str,
        timeout: Duration,
    ) -> Result<View, ClientError> {
        let path = || self.path.clone();
        let (status, body) = tokio::time::timeout(timeout, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout { path: path(), timeout })??;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(ClientError::Refused { path: path(), request, status, body });
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Shape {
            path: path(),
            request,
            source,
        })
    }

    async fn exchange(&self, request: &'static str) -> Result<(StatusCode, Bytes), ClientError> {
        let path = || self.path.clone();
        let failed = |source| ClientError::Http { path: path(), request, source };
        let stream = UnixStream::connect(&self.path).await.map_err(|source| {
            use io::ErrorKind::{ConnectionRefused, NotFound};
            match source.kind() {
                NotFound | ConnectionRefused => ClientError::NoAgent { path: path(), source },
                _ => ClientError::Connect { path: path(), source },
            }
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let message = {
            let mut message = Request::new(Empty::<Bytes>::new());
            *message.uri_mut() = hyper::Uri::from_static(request);
            message.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("shunt"));
            message
        };
        let exchange = async {
            let answer = sender.send_request(message).await?;
            let status = answer.status();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        // The connection is driven beside the exchange and dropped with it.
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            result = &mut exchange => result,
            result = &mut connection => match result {
                Ok(()) => exchange.await,
                Err(error) => Err(error),
            },
        }
        .map_err(failed)
    }
}
