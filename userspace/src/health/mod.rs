//! What load balancers ask a node: whether a Service whose external traffic policy is `Local` has
//! endpoints here, so that traffic comes only where it is served.
//!
//! A listener for each Service and each address that node ports are served on, in the agent's own
//! network namespace, with the answers of kube-proxy (`pkg/proxy/healthcheck/service_health.go`).
//! Where one cannot listen, the others do, and packets do not notice.

mod answer;
mod server;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::{answer::Subject, server::Server};
use crate::cluster::model::ObjectName;

/// How long a connection may take to send a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The Service.
    pub service: ObjectName,
    /// How many of its endpoints are here and ready.
    pub local_endpoints: usize,
}

/// A listener that is missing.
#[derive(Debug, thiserror::Error)]
#[error(
    "health checks cannot be answered on {address}: {source}; free the address and port on this \
     node, or write another port"
)]
pub struct ListenError {
    /// Where nobody listens.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: io::Error,
}

/// The listeners.
#[derive(Debug, Default)]
pub struct HealthServers {
    servers: BTreeMap<SocketAddr, Server>,
    proxy_healthy: Arc<AtomicBool>,
}

impl HealthServers {
    /// Says whether what the agent knows is in force. Until it is, every answer is a 503.
    pub fn set_proxy_health(&self, healthy: bool) {
        self.proxy_healthy.store(healthy, Ordering::Relaxed);
    }

    /// Listens on these addresses and no others, and returns those that fail. The listeners of a
    /// Service that goes on are not interrupted.
    pub async fn serve(
        &mut self,
        mut checks: BTreeMap<SocketAddr, Check>,
    ) -> Vec<(ObjectName, ListenError)> {
        let is_wanted = |address: &SocketAddr, server: &mut Server| {
            checks.get(address).is_some_and(|check| check.service == server.subject().service)
        };
        let unwanted: Vec<_> =
            self.servers.extract_if(.., |address, server| !is_wanted(address, server)).collect();
        for (address, server) in unwanted {
            log::debug!(
                "address={address} service={} health server stops",
                server.subject().service
            );
            // What comes next may want the same address.
            server.stop().await;
        }
        for (address, server) in &self.servers {
            if let Some(check) = checks.remove(address) {
                server.subject().set_local_endpoints(check.local_endpoints);
            }
        }
        let mut failed = Vec::new();
        for (address, Check { service, local_endpoints }) in checks {
            let healthy = Arc::clone(&self.proxy_healthy);
            let subject = Subject::new(service.clone(), local_endpoints, healthy);
            match Server::listen(address, subject, PATIENCE) {
                Ok(server) => {
                    log::debug!("address={address} service={service} health server listens");
                    self.servers.insert(address, server);
                }
                Err(source) => failed.push((service, ListenError { address, source })),
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests;
