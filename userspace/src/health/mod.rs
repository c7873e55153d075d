//! What load balancers ask a node: whether a Service whose external traffic policy is `Local` has
//! endpoints here, so that traffic comes only where it is served.
//!
//! A listener for each Service and each address that node ports are served on, in the agent's own
//! network namespace, with the answers of kube-proxy (`pkg/proxy/healthcheck/service_health.go`).
//! Where one cannot listen, the others do, and packets do not notice.

mod answer;
mod proxy_health;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use self::answer::Subject;
pub use self::proxy_health::{Judgement, NodeState, ProxyHealth};
use crate::{cluster::model::ObjectName, http_server::HttpServer};

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
#[derive(Debug)]
pub struct HealthServers {
    servers: BTreeMap<SocketAddr, HttpServer<Subject>>,
    proxy_health: Arc<ProxyHealth>,
}

impl HealthServers {
    /// None yet. While the agent is not healthy, every answer is a 503.
    pub fn new(proxy_health: Arc<ProxyHealth>) -> Self {
        Self { servers: BTreeMap::new(), proxy_health }
    }

    /// Listens on these addresses and no others, and returns those that fail. The listeners of a
    /// Service that goes on are not interrupted.
    pub async fn serve(
        &mut self,
        mut checks: BTreeMap<SocketAddr, Check>,
    ) -> Vec<(ObjectName, ListenError)> {
        let is_wanted = |address: &SocketAddr, server: &mut HttpServer<Subject>| {
            checks.get(address).is_some_and(|check| check.service == server.answers().service)
        };
        let unwanted: Vec<_> =
            self.servers.extract_if(.., |address, server| !is_wanted(address, server)).collect();
        for (address, server) in unwanted {
            log::debug!(
                "address={address} service={} health server stops",
                server.answers().service
            );
            // What comes next may want the same address.
            server.stop().await;
        }
        for (address, server) in &self.servers {
            if let Some(check) = checks.remove(address) {
                server.answers().set_local_endpoints(check.local_endpoints);
            }
        }
        let mut failed = Vec::new();
        for (address, Check { service, local_endpoints }) in checks {
            let health = Arc::clone(&self.proxy_health);
            let subject = Subject::new(service.clone(), local_endpoints, health);
            match HttpServer::listen(address, Arc::new(subject), PATIENCE) {
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
