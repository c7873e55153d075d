//! The Services of a measurement: a few that lead to pods that answer, among many that lead to
//! addresses where nobody is.
//!
//! Each has one port and four endpoints. Those that answer stand at even distances among the others,
//! because it makes a difference to some where a Service stands in their list.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

use crate::{
    manifests,
    oracle::{
        cluster::{Endpoint, ServicePort, Transport},
        endpoints::Lists,
    },
};

/// The port of every Service.
const PORT: u16 = 80;
/// The port that pods listen on.
pub const TARGET_PORT: u16 = 8080;
/// The node port of the first Service that has one; the second's is the next.
const NODE_PORT: u16 = 30_080;
/// How many endpoints each Service has.
pub const ENDPOINTS: usize = 4;
/// How many Services lead to pods that answer, where there are so many.
const ANSWERING: u32 = 50;

/// Whose pods a Service leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those of the client's node.
    Near,
    /// Those of the other node.
    Far,
}

impl Side {
    /// The node's number.
    pub fn node(self) -> usize {
        match self {
            Self::Near => 0,
            Self::Far => 1,
        }
    }
}

/// What every ten of the Services that answer are.
const PATTERN: [(Side, Transport); 10] = [
    (Side::Near, Transport::Tcp),
    (Side::Near, Transport::Tcp),
    (Side::Far, Transport::Tcp),
    (Side::Near, Transport::Tcp),
    (Side::Near, Transport::Udp),
    (Side::Far, Transport::Udp),
    (Side::Near, Transport::Tcp),
    (Side::Far, Transport::Tcp),
    (Side::Near, Transport::Tcp),
    (Side::Near, Transport::Tcp),
];

/// A node's pods that answer, by side, and the nodes' names.
#[derive(Clone, Debug)]
pub struct Pods {
    /// Those of the client's node.
    pub near: Vec<IpAddr>,
    /// Those of the other node; none where there is no other.
    pub far: Vec<IpAddr>,
}

/// All Services, in the order in which a list has them.
#[derive(Clone, Debug)]
pub struct Services {
    all: Vec<(ServicePort, Option<Side>)>,
}

impl Services {
    /// So many Services.
    pub fn make(count: u32, pods: &Pods) -> Self {
        let answering = count.min(ANSWERING);
        let mut all: Vec<(ServicePort, Option<Side>)> =
            (0..count).map(|number| (service(number), None)).collect();
        for number in 0..answering {
            let place = usize_of(number * count / answering + count / (2 * answering));
            let (side, protocol) = PATTERN[usize_of(number) % PATTERN.len()];
            let pods = match side {
                Side::Near => &pods.near,
                Side::Far => &pods.far,
            };
            if pods.is_empty() {
                continue;
            }
            let (service, role) = &mut all[place];
            service.protocol = protocol;
            service.endpoints = lists(pods.iter().map(|ip| SocketAddr::new(*ip, TARGET_PORT)));
            *role = Some(side);
        }
        for (protocol, number) in [(Transport::Tcp, NODE_PORT), (Transport::Udp, NODE_PORT + 1)] {
            let near = |(service, role): &&mut (ServicePort, Option<Side>)| {
                service.protocol == protocol && *role == Some(Side::Near)
            };
            if let Some((service, _)) = all.iter_mut().find(near) {
                service.node_port = Some(number);
            }
        }
        Self { all }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where clients find the Services of a protocol that lead to a side.
    pub fn addresses(&self, side: Side, protocol: Transport) -> Vec<SocketAddr> {
        let answering = self.answering(side, protocol);
        answering.map(|service| SocketAddr::new(service.cluster_ip, service.port)).collect()
    }

    /// Where clients outside find the one that has a node port, on this node.
    pub fn node_ports(&self, node: IpAddr, protocol: Transport) -> Vec<SocketAddr> {
        let answering = self.answering(Side::Near, protocol);
        answering.filter_map(|it| Some(SocketAddr::new(node, it.node_port?))).collect()
    }

    fn answering(&self, side: Side, protocol: Transport) -> impl Iterator<Item = &ServicePort> {
        let all = self.all.iter();
        all.filter(move |(it, role)| *role == Some(side) && it.protocol == protocol)
            .map(|(service, _)| service)
    }

    /// As kube-proxy has them on the node that this side is.
    pub fn on_node_of(&self, here: Side) -> Vec<ServicePort> {
        let mut ports = Vec::with_capacity(self.all.len());
        for (service, role) in &self.all {
            let mut service = service.clone();
            for endpoint in &mut service.endpoints.cluster {
                endpoint.local = *role == Some(here);
            }
            ports.push(service);
        }
        ports
    }

    /// As Kubernetes objects, with the names of the two nodes.
    pub fn objects(&self, near: &str, far: &str) -> Vec<Value> {
        let objects = self.all.iter().flat_map(|(service, role)| {
            let node = match role {
                Some(Side::Near) => near,
                Some(Side::Far) => far,
                None => "elsewhere",
            };
            [object(service), slice(service, node)]
        });
        objects.collect()
    }
}

fn service(number: u32) -> ServicePort {
    // The first addresses of the range are Kubernetes' own.
    let cluster_ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 1, 0).to_bits() + number);
    let first = Ipv4Addr::new(10, 240, 0, 0).to_bits() + number * u32_of(ENDPOINTS);
    let addresses = (0..u32_of(ENDPOINTS)).map(|index| Ipv4Addr::from_bits(first + index));
    ServicePort {
        namespace: "default".to_owned(),
        service: format!("service-{number}"),
        name: "main".to_owned(),
        protocol: Transport::Tcp,
        cluster_ip: cluster_ip.into(),
        port: PORT,
        node_port: None,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity: None,
        internal_local: false,
        external_local: false,
        health_check_node_port: None,
        endpoints: lists(addresses.map(|ip| SocketAddr::new(ip.into(), TARGET_PORT))),
    }
}

fn lists(endpoints: impl Iterator<Item = SocketAddr>) -> Lists {
    let cluster = endpoints.map(|at| Endpoint { at, local: false }).collect();
    Lists { cluster, local: Vec::new(), any: true }
}

fn object(service: &ServicePort) -> Value {
    let protocol = service.protocol.lower_case().to_uppercase();
    let address = service.cluster_ip.to_string();
    let ports = [("main", protocol.as_str(), u32::from(PORT), u32::from(TARGET_PORT))];
    let mut object = manifests::service(&service.service, &[&address], &ports);
    // Its endpoints are in a slice.
    object["spec"]["selector"] = json!(null);
    match service.node_port {
        Some(number) => manifests::with_node_ports(object, &[number]),
        None => object,
    }
}

fn slice(service: &ServicePort, node: &str) -> Value {
    let endpoints = service.endpoints.cluster.iter();
    let addresses: Vec<String> = endpoints.map(|one| one.at.ip().to_string()).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let protocol = service.protocol.lower_case().to_uppercase();
    let name = &service.service;
    let ports = [("main", protocol.as_str(), TARGET_PORT)];
    manifests::slice(&format!("{name}-1"), name, node, &addresses, &ports)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).expect("a count of Services")
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).expect("a count of endpoints")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::ip;

    fn pods() -> Pods {
        let of = |node: u8| (10..14).map(|host| ip(&format!("192.168.{node}.{host}"))).collect();
        Pods { near: of(0), far: of(1) }
    }

    #[test]
    fn ten_services_all_answer_and_have_each_role() {
        let services = Services::make(10, &pods());
        let count = |side, protocol| services.addresses(side, protocol).len();
        assert_eq!(count(Side::Near, Transport::Tcp), 6);
        assert_eq!(count(Side::Near, Transport::Udp), 1);
        assert_eq!(count(Side::Far, Transport::Tcp), 2);
        assert_eq!(count(Side::Far, Transport::Udp), 1);
        for protocol in [Transport::Tcp, Transport::Udp] {
            assert_eq!(services.node_ports(ip("172.30.1.2"), protocol).len(), 1);
        }
    }

    #[test]
    fn those_that_answer_are_spread_over_the_list() {
        let services = Services::make(1000, &pods());
        let places: Vec<usize> = (0..1000).filter(|it| services.all[*it].1.is_some()).collect();
        assert_eq!(places.len(), 50);
        assert_eq!(places[..3], [10, 30, 50]);
        assert_eq!(places.last(), Some(&990));
    }

    #[test]
    fn no_two_services_share_an_address_or_an_endpoint_of_nobody() {
        let services = Services::make(30_000, &Pods { near: Vec::new(), far: Vec::new() });
        let mut all: Vec<IpAddr> = Vec::new();
        for (service, _) in &services.all {
            all.push(service.cluster_ip);
            all.extend(service.endpoints.cluster.iter().map(|one| one.at.ip()));
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), count), (150_000, 150_000));
        assert!(all.last() < Some(&ip("10.248.0.0")), "the range of pods ends there");
    }
}
