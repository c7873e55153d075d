//! What the node answers to those who watch it: load balancers, the kubelet, Prometheus; on the
//! addresses and with the pages of kube-proxy.
//!
//! The answers are made of what is known at the moment, beside the agent's loop: an agent that is
//! stuck still says so.

mod health_pages;
mod metrics_pages;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use tokio::{task::JoinHandle, time::sleep};

pub(crate) use self::{
    health_pages::HealthPages,
    metrics_pages::{MetricsPages, Scraped},
};
use crate::{
    config::BindFailure,
    http_server::{Answer, Answers, HttpServer},
};

/// How long a connection may take to send a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before an address is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// A listener of the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    /// For load balancers and the kubelet.
    Healthz,
    /// For Prometheus.
    Metrics,
}

impl Door {
    /// The setting that says where it is.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Healthz => "healthz-bind-address",
            Self::Metrics => "metrics-bind-address",
        }
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "--{} {address}: {source}; free the address and port on this node, or name another, or say off",
    door.key()
)]
pub(crate) struct DoorError {
    /// Which one.
    pub(crate) door: Door,
    /// Where.
    pub(crate) address: SocketAddr,
    /// The system's reason.
    pub(crate) source: io::Error,
}

/// A listener that is there, or is tried again and again; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Opened(#[expect(dead_code, reason = "held until it is dropped")] Task);

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where is to be listened, and what if that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    door: Door,
    address: SocketAddr,
    failure: BindFailure,
    retry: Duration,
}

impl Opening {
    pub(crate) const fn new(door: Door, address: SocketAddr, failure: BindFailure) -> Self {
        Self { door, address, failure, retry: RETRY }
    }

    /// Listens. Where that fails at first, it is an error if it is to be one; else `told` is told,
    /// each time that this changes, and it is tried again. To be called within the runtime.
    pub(crate) fn open<A: Answers>(
        self,
        answers: Arc<A>,
        told: impl Fn(Result<(), DoorError>) + Send + 'static,
    ) -> Result<Opened, DoorError> {
        let Self { door, address, failure, retry } = self;
        let listen = move || {
            let listening = HttpServer::listen(address, Arc::clone(&answers), PATIENCE);
            listening.map_err(|source| DoorError { door, address, source })
        };
        let mut attempt = listen();
        if failure == BindFailure::EndsTheAgent {
            attempt = Ok(attempt?);
        }
        Ok(Opened(Task(tokio::spawn(async move {
            let mut said: Option<String> = None;
            let server = loop {
                match attempt {
                    Ok(server) => break server,
                    Err(error) => {
                        let text = error.to_string();
                        if said.as_ref() != Some(&text) {
                            told(Err(error));
                            said = Some(text);
                        }
                    }
                }
                sleep(retry).await;
                attempt = listen();
            };
            if said.is_some() {
                told(Ok(()));
            }
            log::info!("address={address} {} answers", server.answers());
            // Nothing ends it but this task's end.
            std::future::pending::<()>().await;
        }))))
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Plain text, as Go's servers have it.
const TEXT: &str = "text/plain; charset=utf-8";

fn no_such_page() -> Answer {
    answer(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned())
}

#[cfg(test)]
mod tests;
