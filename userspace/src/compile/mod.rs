//! From objects to what the maps should hold: pure, one service at a time.

mod categorize;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use maps_schema::{
    address::{Family, Protocol},
    service::WhenEmpty,
};

use self::categorize::{Categories, Policies, categorize};
use crate::cluster::{
    Cluster, ServiceEndpoint,
    model::{Conditions, ObjectName, Service, ServicePort, TrafficPolicy},
};

/// Names one service port in one address family; the datapath knows it by a `ServiceId`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: ObjectName,
    /// The port's name; empty where it has none.
    pub port: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The address family.
    pub family: Family,
}

/// What the datapath should do for one service port in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPort {
    /// Its name.
    pub name: ServicePortName,
    /// The addresses and ports that it answers on.
    pub frontends: Vec<SocketAddr>,
    /// The addresses and ports that new connections go to, each equally often; sorted, each once.
    pub backends: Vec<SocketAddr>,
    /// What happens where `backends` is empty.
    pub when_empty: WhenEmpty,
    /// Every endpoint, chosen or not, for listings and for judging existing connections.
    pub endpoints: Box<[Endpoint]>,
}

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address and port.
    pub address: SocketAddr,
    /// The node it runs on, where known.
    pub node: Option<Arc<str>>,
    /// Whether that is this node.
    pub local: bool,
    /// Its conditions.
    pub conditions: Conditions,
}

/// A compiled Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledService {
    /// Addresses that are this service's alone: what is sent to a port of them that is no frontend
    /// is refused.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<CompiledPort>,
}

/// Compiles a Service as seen from `own_node`; nothing where there is none that is in force and
/// proxied.
///
/// A Service exists in the families in which it has a cluster IP. Its frontends are its cluster
/// IPs; node ports and external addresses, whose backends can differ from theirs, are not made yet.
pub fn compile(cluster: &Cluster, own_node: &str, service: &ObjectName) -> Option<CompiledService> {
    let service = cluster.service(service).filter(|service| service.proxied)?;
    let own_zone = cluster.node(own_node).and_then(|node| node.zone.as_deref());
    let here = Here { node: own_node, zone: own_zone };
    let mut compiled =
        CompiledService { addresses: service.cluster_ips.clone(), ports: Vec::new() };
    for port in &service.ports {
        for cluster_ip in &service.cluster_ips {
            compiled.ports.push(compile_port(cluster, here, service, port, *cluster_ip));
        }
    }
    Some(compiled)
}

/// The node for which is compiled.
#[derive(Clone, Copy, Debug)]
struct Here<'a> {
    node: &'a str,
    zone: Option<&'a str>,
}

fn compile_port(
    cluster: &Cluster,
    here: Here<'_>,
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
) -> CompiledPort {
    let family = family(cluster_ip);
    let endpoints = cluster.endpoints(service, port, family);
    let policies = policies(service, port, family);
    let categories = categorize(&endpoints, policies, here);
    let (chosen, when_empty) = internal(&categories, policies);
    let backends: BTreeSet<SocketAddr> = chosen.iter().map(|endpoint| endpoint.address).collect();
    CompiledPort {
        name: ServicePortName {
            service: service.name.clone(),
            port: port.name.clone(),
            protocol: port.protocol,
            family,
        },
        frontends: vec![SocketAddr::new(cluster_ip, port.port)],
        backends: backends.into_iter().collect(),
        when_empty,
        endpoints: endpoints.iter().map(|endpoint| listed(endpoint, here)).collect(),
    }
}

/// The endpoints for what is sent to a cluster IP, and what happens where there are none.
fn internal<'a, 'b>(
    categories: &'b Categories<'a>,
    policies: Policies,
) -> (&'b [&'b ServiceEndpoint<'a>], WhenEmpty) {
    match policies.internal {
        TrafficPolicy::Cluster => (&categories.cluster, WhenEmpty::Refuse),
        TrafficPolicy::Local if categories.has_any => (&categories.local, WhenEmpty::Drop),
        TrafficPolicy::Local => (&categories.local, WhenEmpty::Refuse),
    }
}

/// What decides about a service port's endpoints in one family.
fn policies(service: &Service, port: &ServicePort, family: Family) -> Policies {
    let is_of_family = |address: &IpAddr| self::family(*address) == family;
    Policies {
        internal: service.internal_traffic_policy,
        external: service.external_traffic_policy,
        externally_accessible: port.node_port.is_some()
            || service.external_ips.iter().any(is_of_family)
            || service.load_balancer_ips.iter().any(is_of_family),
    }
}

fn listed(endpoint: &ServiceEndpoint<'_>, here: Here<'_>) -> Endpoint {
    Endpoint {
        address: endpoint.address,
        node: match endpoint.shared_node {
            Some(node) => Some(Arc::clone(node)),
            None => endpoint.node.map(Arc::from),
        },
        local: endpoint.node == Some(here.node),
        conditions: endpoint.conditions,
    }
}

const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests;
