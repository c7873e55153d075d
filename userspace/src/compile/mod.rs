//! From objects to what the maps should hold: pure, one service at a time.

mod categorize;
mod frontends;
mod health;
mod host_ports;
mod options;
mod source_ranges;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use maps_schema::{
    address::{Family, Protocol},
    service::{Audience, ClientAddress, WhenEmpty},
};

use self::{
    categorize::{Categories, Policies, categorize},
    frontends::frontends,
    health::health_checks,
    source_ranges::source_ranges,
};
pub use self::{
    health::HealthCheck,
    host_ports::{compile_host_ports, host_port_name},
    options::{AnswersOutside, CompileOptions, LocalTraffic, NodePortAddresses, loopback_within},
};
use crate::cluster::{
    Cluster, ServiceEndpoint,
    model::{Conditions, ObjectName, Service, ServicePort},
};

/// What answers at addresses and ports, and is applied as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A Service.
    Service(ObjectName),
    /// A pod of this node, with its host ports.
    HostPorts(ObjectName),
}

/// Names one list of endpoints of one service port in one address family; the datapath knows it by a
/// `ServiceId`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service, or the pod whose host port it is.
    pub owner: Owner,
    /// The port's name; empty where it has none. Of a host port, [`host_port_name`].
    pub port: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The address family.
    pub family: Family,
    /// Which of the port's endpoints.
    pub list: EndpointList,
}

/// Which of a service port's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointList {
    /// Those of the whole cluster.
    Cluster,
    /// Those of this node.
    Local,
}

/// An address and port that a service answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompiledFrontend {
    /// The address and port. The unspecified address stands for every node's in what other nodes
    /// hand over.
    pub address: SocketAddr,
    /// Whose packets it is for.
    pub audience: Audience,
    /// What becomes of the client's address.
    pub client: ClientAddress,
    /// Whether only clients in the port's source ranges are served.
    pub restricted: bool,
}

/// What the datapath should do for one list of endpoints of one service port in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPort {
    /// Its name.
    pub name: ServicePortName,
    /// The addresses and ports that it answers on; sorted, each once.
    pub frontends: Vec<CompiledFrontend>,
    /// The addresses and ports that new connections go to, each equally often; sorted, each once.
    pub backends: Vec<SocketAddr>,
    /// Whether a flow from the outside goes to the same backend from whichever node it comes in by.
    pub has_maglev: bool,
    /// What happens where `backends` is empty.
    pub when_empty: WhenEmpty,
    /// For how many seconds after its last connection was opened a client stays with its endpoint;
    /// none where it does not. What is remembered is shared with the port's other list.
    pub affinity_seconds: Option<u32>,
    /// Whom the restricted ones of the frontends serve; of the port's family, sorted, each once, no
    /// host bits set. Empty where none of them is restricted.
    pub source_ranges: Vec<IpNet>,
    /// Every endpoint of the service port, chosen or not, for listings and for judging existing
    /// connections.
    pub endpoints: Arc<[Endpoint]>,
}

impl CompiledPort {
    /// Whether what comes to it is dropped because a policy of `Local` leaves it no endpoint here
    /// while there are some elsewhere.
    pub fn drops_for_want_of_endpoints(&self) -> bool {
        self.backends.is_empty() && self.when_empty == WhenEmpty::Drop
    }
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
    /// Addresses that are services' own: what is sent to a port of them that is no frontend is
    /// refused.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<CompiledPort>,
    /// Where load balancers ask whether this node has endpoints of it; sorted, each address once.
    pub health_checks: Vec<HealthCheck>,
}

impl CompiledService {
    /// Each service port in each of its families, once: by one of its lists.
    pub fn service_ports(&self) -> impl Iterator<Item = &CompiledPort> {
        self.ports.iter().enumerate().filter_map(|(index, port)| {
            let before = index.checked_sub(1).and_then(|before| self.ports.get(before));
            let is_another = before.is_none_or(|before| {
                let with = |list| ServicePortName { list, ..before.name.clone() };
                with(port.name.list) != port.name
            });
            is_another.then_some(port)
        })
    }
}

/// Compiles a Service as seen from `own_node`; nothing where there is none that is in force and
/// proxied.
///
/// A Service exists in the families in which it has a cluster IP. Its ports have at most two lists
/// of endpoints in each family, one after the other.
pub fn compile(
    cluster: &Cluster,
    own_node: &str,
    options: &CompileOptions,
    service: &ObjectName,
) -> Option<CompiledService> {
    let service = cluster.service(service).filter(|service| service.proxied)?;
    let own = cluster.node(own_node);
    let primary_addresses = own.map(|node| node.primary_addresses()).unwrap_or_default();
    let here = Here {
        node: own_node,
        zone: own.and_then(|node| node.zone.as_deref()),
        primary_addresses: &primary_addresses,
        options,
    };
    let mut compiled = CompiledService {
        addresses: own_addresses(cluster, service),
        ..CompiledService::default()
    };
    for port in &service.ports {
        for cluster_ip in &service.cluster_ips {
            compiled.ports.extend(compile_port(cluster, here, service, port, *cluster_ip));
        }
    }
    // It is kept, and there are many.
    compiled.ports.shrink_to_fit();
    compiled.health_checks = health_checks(service, &compiled, here);
    Some(compiled)
}

/// The node for which is compiled.
#[derive(Clone, Copy, Debug)]
struct Here<'a> {
    node: &'a str,
    zone: Option<&'a str>,
    /// Its first InternalIP of each family.
    primary_addresses: &'a [IpAddr],
    options: &'a CompileOptions,
}

impl<'a> Here<'a> {
    /// The addresses that answer on node ports.
    fn node_port_addresses(self) -> &'a [IpAddr] {
        match &self.options.node_ports {
            NodePortAddresses::Primary => self.primary_addresses,
            NodePortAddresses::Chosen(addresses) => addresses,
        }
    }
}

/// The addresses that are a service's own. An external one that is a node's is not: whatever else
/// is sent there is the node's.
fn own_addresses(cluster: &Cluster, service: &Service) -> Vec<IpAddr> {
    let external = service
        .external_addresses()
        .filter(|&address| service.serves_family_of(address) && !cluster.is_nodes(address));
    let mut addresses: Vec<IpAddr> = service.cluster_ips.clone();
    for address in external {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn compile_port(
    cluster: &Cluster,
    here: Here<'_>,
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
) -> Vec<CompiledPort> {
    let family = family(cluster_ip);
    let endpoints = cluster.endpoints(service, port, family);
    let policies = policies(service, port, family, here.options.answers);
    let categories = categorize(&endpoints, policies, here);
    let listed: Arc<[Endpoint]> = endpoints.iter().map(|endpoint| listed(endpoint, here)).collect();
    let ranges = source_ranges(service, family, here);
    let frontends = frontends(service, port, cluster_ip, &ranges, here);
    [EndpointList::Cluster, EndpointList::Local]
        .into_iter()
        .filter_map(|list| {
            let mut frontends: Vec<CompiledFrontend> =
                frontends.iter().filter(|(of, _)| *of == list).map(|&(_, it)| it).collect();
            frontends.shrink_to_fit();
            let is_restricted = frontends.iter().any(|frontend| frontend.restricted);
            let (chosen, when_empty) = chosen(&categories, list);
            let backends: BTreeSet<SocketAddr> =
                chosen.iter().map(|endpoint| endpoint.address).collect();
            (!frontends.is_empty()).then(|| CompiledPort {
                name: ServicePortName {
                    owner: Owner::Service(service.name.clone()),
                    port: port.name.clone(),
                    protocol: port.protocol,
                    family,
                    list,
                },
                has_maglev: has_maglev(&frontends, cluster_ip),
                frontends,
                backends: backends.into_iter().collect(),
                when_empty,
                affinity_seconds: service.session_affinity_seconds,
                source_ranges: if is_restricted { ranges.clone() } else { Vec::new() },
                endpoints: Arc::clone(&listed),
            })
        })
        .collect()
}

/// Where the outside reaches nothing but the cluster IP, which it does by one route of the
/// network's, no other node is to choose the same; and most services are like that.
fn has_maglev(frontends: &[CompiledFrontend], cluster_ip: IpAddr) -> bool {
    frontends.iter().any(|frontend| {
        matches!(frontend.audience, Audience::Outside | Audience::Handed)
            && frontend.address.ip() != cluster_ip
    })
}

/// The endpoints of a list, and what happens where there are none.
fn chosen<'a, 'b>(
    categories: &'b Categories<'a>,
    list: EndpointList,
) -> (&'b [&'b ServiceEndpoint<'a>], WhenEmpty) {
    match list {
        EndpointList::Cluster => (&categories.cluster, WhenEmpty::Refuse),
        EndpointList::Local if categories.has_any => (&categories.local, WhenEmpty::Drop),
        EndpointList::Local => (&categories.local, WhenEmpty::Refuse),
    }
}

/// What decides about a service port's endpoints in one family.
fn policies(
    service: &Service,
    port: &ServicePort,
    family: Family,
    answers: AnswersOutside,
) -> Policies {
    let is_of_family = |address: IpAddr| self::family(address) == family;
    Policies {
        internal: service.internal_traffic_policy,
        external: service.external_traffic_policy,
        externally_accessible: port.node_port.is_some()
            || service.external_addresses().any(is_of_family),
        answers,
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
mod frontends_tests;
#[cfg(test)]
mod tests;
