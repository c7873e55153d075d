//! The table's objects as kube-proxy's rule writers see them: one family, one node.
//!
//! Read from plain Kubernetes objects, with nothing of shunt's own reading: what is wrong there
//! must not be wrong here in the same way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use maps_schema::address::Family;
use serde_json::Value;

use super::endpoints::{self, Lists};

/// Whether an address is of a family.
pub fn is_of(family: Family, address: IpAddr) -> bool {
    address.is_ipv4() == (family == Family::V4)
}

/// A family as `ipFamilies` and `addressType` call it.
pub fn name_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A transport protocol of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// As rules call it.
    pub fn lower_case(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// As objects call it; absent is TCP.
    pub fn read(value: &Value) -> Option<Self> {
        match value.as_str() {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

/// The node that the rules are for.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its addresses of both families; the first of a family is its primary one.
    pub addresses: Vec<IpAddr>,
}

/// What an administrator sets.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether all traffic to cluster addresses is masqueraded.
    pub masquerade_all: bool,
    /// Where local pods are, for the local-traffic detector; none without one.
    pub local_pods: Vec<IpNet>,
    /// Where NodePorts answer; none where it is not set.
    pub node_port_addresses: Option<Vec<IpNet>>,
    /// Whether NodePorts answer on loopback (IPv4, iptables mode).
    pub localhost_node_ports: bool,
    /// The service CIDRs that are known.
    pub service_cidrs: Vec<IpNet>,
}

/// A cluster as the rules of one family on one node have it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The family.
    pub family: Family,
    /// The node's addresses of the family; the first is its primary one.
    pub node_addresses: Vec<IpAddr>,
    /// The pod CIDR of the local-traffic detector, if there is one.
    pub local_pods: Option<IpNet>,
    /// The rest of the options; ranges of the other family are of no matter.
    pub options: Options,
    /// The service ports, by their names.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service, in one family.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The port's name; empty for the only one.
    pub name: String,
    /// Its protocol.
    pub protocol: Transport,
    /// The address of this family.
    pub cluster_ip: IpAddr,
    /// The port on it, and on external and load balancers' addresses.
    pub port: u16,
    /// The NodePort.
    pub node_port: Option<u16>,
    /// External addresses of the family.
    pub external_ips: Vec<IpAddr>,
    /// The load balancer's addresses of the family in mode VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// The ranges that load balancers' addresses are for; empty for all.
    pub source_ranges: Vec<IpNet>,
    /// For how long a client stays with its endpoint, in seconds.
    pub affinity: Option<u32>,
    /// Whether `internalTrafficPolicy` is Local.
    pub internal_local: bool,
    /// Whether `externalTrafficPolicy` is Local.
    pub external_local: bool,
    /// The `healthCheckNodePort`, where it is in use.
    pub health_check_node_port: Option<u16>,
    /// Its endpoints, chosen for this node.
    pub endpoints: Lists,
}

/// An endpoint that traffic may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub at: SocketAddr,
    /// Whether it is on this node.
    pub local: bool,
}

impl ServicePort {
    /// `namespace/service:port`, or without the port's name where it has none.
    pub fn full_name(&self) -> String {
        let service = format!("{}/{}", self.namespace, self.service);
        if self.name.is_empty() { service } else { format!("{service}:{}", self.name) }
    }

    /// Whether it has any address for clients outside.
    pub fn is_external(&self) -> bool {
        self.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }

    /// Whether the Cluster list is used by anybody.
    pub fn uses_cluster_list(&self) -> bool {
        !self.internal_local || self.is_external()
    }

    /// Whether the Local list is used by anybody.
    pub fn uses_local_list(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }

    /// The endpoints for cluster addresses.
    pub fn internal_endpoints(&self) -> &[Endpoint] {
        if self.internal_local { &self.endpoints.local } else { &self.endpoints.cluster }
    }

    /// The endpoints for clients outside.
    pub fn external_endpoints(&self) -> &[Endpoint] {
        if self.external_local { &self.endpoints.local } else { &self.endpoints.cluster }
    }
}

impl Cluster {
    /// Reads the objects of kind Service, EndpointSlice and ServiceCIDR; others are of no matter.
    pub fn read(family: Family, node: &NodeView, options: &Options, objects: &[Value]) -> Self {
        let mut ports: Vec<ServicePort> = objects
            .iter()
            .filter(|object| object["kind"] == "Service")
            .flat_map(|service| read_service(family, node, service, objects))
            .collect();
        ports.sort_by_key(|port| (port.full_name(), port.protocol));
        let mut options = options.clone();
        options.service_cidrs.extend(service_cidrs(objects));
        Self {
            family,
            node_addresses: of_family(family, node.addresses.iter().copied()),
            local_pods: options.local_pods.iter().copied().find(|net| is_of(family, net.addr())),
            options,
            ports,
        }
    }

    /// The addresses that NodePorts answer on, if they are chosen; none for all of the node's.
    ///
    /// A list without a range of the family is as good as none for it.
    pub fn node_port_addresses(&self) -> Option<Vec<IpAddr>> {
        let ranges = self.options.node_port_addresses.as_ref()?;
        let ranges: Vec<&IpNet> =
            ranges.iter().filter(|range| is_of(self.family, range.addr())).collect();
        if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
            return None;
        }
        let chosen = self.node_addresses.iter();
        Some(
            chosen
                .filter(|address| ranges.iter().any(|range| range.contains(*address)))
                .copied()
                .collect(),
        )
    }

    /// The load balancer's own addresses where they are allowed sources of a restricted port: the
    /// node's address is in a range.
    pub fn sources_that_are_the_balancer(&self, port: &ServicePort) -> Vec<IpAddr> {
        let node = self.node_addresses.first();
        let allowed =
            node.is_some_and(|node| port.source_ranges.iter().any(|range| range.contains(node)));
        if allowed { port.load_balancer_ips.clone() } else { Vec::new() }
    }
}

fn service_cidrs(objects: &[Value]) -> impl Iterator<Item = IpNet> {
    let objects = objects.iter().filter(|object| object["kind"] == "ServiceCIDR");
    let cidrs = objects.flat_map(|object| list(&object["spec"]["cidrs"]));
    cidrs.filter_map(|cidr| read_range(cidr.as_str()?))
}

fn read_service(
    family: Family,
    node: &NodeView,
    service: &Value,
    objects: &[Value],
) -> Vec<ServicePort> {
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    let excluded = spec["type"] == "ExternalName"
        || metadata["labels"].get("service.kubernetes.io/service-proxy-name").is_some();
    let Some(cluster_ip) = cluster_ip(family, spec).filter(|_| !excluded) else {
        return Vec::new();
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
    let external_local = spec["externalTrafficPolicy"] == "Local";
    let health_check =
        number(&spec["healthCheckNodePort"]).filter(|_| spec["type"] == "LoadBalancer");
    list(&spec["ports"])
        .iter()
        .filter_map(|port| {
            let mut port = ServicePort {
                namespace: namespace.clone(),
                service: text(&metadata["name"]),
                name: text(&port["name"]),
                protocol: Transport::read(&port["protocol"])?,
                cluster_ip,
                port: number(&port["port"])?,
                node_port: number(&port["nodePort"]),
                external_ips: of_family(family, addresses(&spec["externalIPs"])),
                load_balancer_ips: of_family(family, balancer_addresses(service)),
                source_ranges: source_ranges(family, &spec["loadBalancerSourceRanges"]),
                affinity: affinity(spec),
                internal_local: spec["internalTrafficPolicy"] == "Local",
                external_local,
                health_check_node_port: health_check.filter(|_| external_local),
                endpoints: Lists::default(),
            };
            port.endpoints = endpoints::choose(family, node, &port, objects);
            Some(port)
        })
        .collect()
}

fn cluster_ip(family: Family, spec: &Value) -> Option<IpAddr> {
    let families = list(&spec["ipFamilies"]);
    let single = address(&spec["clusterIP"]);
    if families.is_empty() {
        let first = single.or_else(|| addresses(&spec["clusterIPs"]).next());
        return first.filter(|address| is_of(family, *address));
    }
    let index = families.iter().position(|name| name == name_of(family))?;
    let several = list(&spec["clusterIPs"]);
    let at_index = several.get(index).and_then(address);
    at_index.or(single.filter(|address| several.is_empty() && is_of(family, *address)))
}

fn balancer_addresses(service: &Value) -> impl Iterator<Item = IpAddr> {
    list(&service["status"]["loadBalancer"]["ingress"])
        .iter()
        .filter(|ingress| ingress["ipMode"].as_str().is_none_or(|mode| mode == "VIP"))
        .filter_map(|ingress| address(&ingress["ip"]))
}

fn source_ranges(family: Family, value: &Value) -> Vec<IpNet> {
    let ranges = list(value).iter().filter_map(|range| read_range(range.as_str()?));
    let ranges: Vec<IpNet> = ranges.filter(|range| is_of(family, range.addr())).collect();
    if ranges.iter().any(|range| range.prefix_len() == 0) { Vec::new() } else { ranges }
}

fn affinity(spec: &Value) -> Option<u32> {
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    (spec["sessionAffinity"] == "ClientIP")
        .then(|| seconds.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(10_800))
}

/// A list of values; empty where there is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A port number that is there and not zero.
pub(super) fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0)
}

/// An address, as kube-proxy reads them.
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    read_address(value.as_str()?)
}

fn addresses(value: &Value) -> impl Iterator<Item = IpAddr> {
    list(value).iter().filter_map(address)
}

fn of_family(family: Family, addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    addresses.filter(|address| is_of(family, *address)).collect()
}

/// An address; leading zeros of IPv4 octets are without meaning.
pub fn read_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let octets: Option<Vec<u8>> = text
        .split('.')
        .map(|octet| octet.parse::<u16>().ok().and_then(|octet| u8::try_from(octet).ok()))
        .collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

/// A range; blanks around it, leading zeros and host bits are without meaning.
pub fn read_range(text: &str) -> Option<IpNet> {
    let (address, length) = text.trim().split_once('/')?;
    let length: u16 = length.parse().ok()?;
    IpNet::new(read_address(address)?, u8::try_from(length).ok()?).ok().map(|net| net.trunc())
}
