//! Section 1.1: which Services are proxied, and where they answer.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec, SessionAffinityConfig},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    objects::{label, name_of},
    text,
};
use crate::conformance::Protocol;

/// A Service in one family.
#[derive(Clone, Debug)]
pub(super) struct Proxied {
    /// Its namespace and name.
    pub(super) name: (String, String),
    /// Its cluster IP of this family: it has one, or it does not exist in the family.
    pub(super) cluster_ip: IpAddr,
    pub(super) external_ips: Vec<IpAddr>,
    /// Of load balancers that are virtual addresses (`ipMode` VIP).
    pub(super) load_balancer_ips: Vec<IpAddr>,
    /// As they are written, of both families.
    pub(super) source_ranges: Vec<String>,
    pub(super) internal: Policy,
    pub(super) external: Policy,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) publishes_not_ready: bool,
    pub(super) ports: Vec<Port>,
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Cluster,
    Local,
}

/// A service port in one family.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of Kubernetes' fields")]
pub(super) struct Port {
    service: (String, String),
    is_ipv4: bool,
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) node_port: Option<u16>,
    /// Read for endpoints that come from Pods only.
    pub(super) target_port: Option<IntOrString>,
    /// For how long a client keeps its backend.
    pub(super) affinity_seconds: Option<u32>,
    /// Whether it has a node port, or the Service has an address for the outside.
    pub(super) is_externally_accessible: bool,
}

/// A service port in one family, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortId {
    service: (String, String),
    is_ipv4: bool,
    name: String,
    protocol: Protocol,
}

/// Which of a service's addresses a packet was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    ClusterIp,
    ExternalIp,
    LoadBalancer,
    NodePort,
}

impl Port {
    pub(super) fn id(&self) -> PortId {
        PortId {
            service: self.service.clone(),
            is_ipv4: self.is_ipv4,
            name: self.name.clone(),
            protocol: self.protocol,
        }
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.is_ipv4
    }
}

impl Proxied {
    /// Which of the Service's own addresses this is, if it is one and the port is this one's.
    pub(super) fn target(&self, port: &Port, destination: SocketAddr) -> Option<Target> {
        if port.port != destination.port() {
            return None;
        }
        let address = destination.ip();
        if address == self.cluster_ip {
            Some(Target::ClusterIp)
        } else if self.external_ips.contains(&address) {
            Some(Target::ExternalIp)
        } else if self.load_balancer_ips.contains(&address) {
            Some(Target::LoadBalancer)
        } else {
            None
        }
    }

    /// Whether an address is one of the Service's virtual ones.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        address == self.cluster_ip
            || self.external_ips.contains(&address)
            || self.load_balancer_ips.contains(&address)
    }
}

/// The label of Services that other proxies serve.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Whether an address is the cluster IP of a Service that another proxy serves.
pub(super) fn is_anothers(service: &Service, address: IpAddr) -> bool {
    label(&service.metadata, PROXY_NAME).is_some()
        && service.spec.as_ref().is_some_and(|spec| cluster_ips(spec).contains(&address))
}

/// The Service in each family that it exists in: none where it is headless, an ExternalName, or
/// another proxy's.
pub(super) fn proxied(service: &Service) -> Vec<Proxied> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    let is_external_name = spec.type_.as_deref() == Some("ExternalName");
    let is_anothers = label(&service.metadata, PROXY_NAME).is_some();
    if is_headless || is_external_name || is_anothers {
        return Vec::new();
    }
    cluster_ips(spec).into_iter().map(|address| in_family(service, spec, address)).collect()
}

fn in_family(service: &Service, spec: &ServiceSpec, cluster_ip: IpAddr) -> Proxied {
    let is_of_family = |address: &IpAddr| address.is_ipv4() == cluster_ip.is_ipv4();
    let external_ips: Vec<IpAddr> = spec
        .external_ips
        .iter()
        .flatten()
        .filter_map(|it| text::address(it))
        .filter(is_of_family)
        .collect();
    let load_balancer_ips: Vec<IpAddr> =
        load_balancer_ips(service).into_iter().filter(is_of_family).collect();
    let has_external_address = !external_ips.is_empty() || !load_balancer_ips.is_empty();
    let port = |port: &ServicePort| {
        let number = |number: Option<i32>| {
            number.and_then(|it| u16::try_from(it).ok()).filter(|it| *it != 0)
        };
        let node_port = number(port.node_port);
        Some(Port {
            service: name_of(&service.metadata),
            is_ipv4: cluster_ip.is_ipv4(),
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref())?,
            port: number(Some(port.port))?,
            node_port,
            target_port: port.target_port.clone(),
            affinity_seconds: affinity_seconds(spec),
            is_externally_accessible: has_external_address || node_port.is_some(),
        })
    };
    Proxied {
        name: name_of(&service.metadata),
        cluster_ip,
        external_ips,
        load_balancer_ips,
        source_ranges: spec.load_balancer_source_ranges.clone().unwrap_or_default(),
        internal: policy(spec.internal_traffic_policy.as_deref()),
        external: policy(spec.external_traffic_policy.as_deref()),
        selector: spec.selector.clone().unwrap_or_default(),
        publishes_not_ready: spec.publish_not_ready_addresses == Some(true),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
    }
}

fn policy(written: Option<&str>) -> Policy {
    if written == Some("Local") { Policy::Local } else { Policy::Cluster }
}

/// At most one of each family.
fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.iter().flatten();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in listed.chain(&spec.cluster_ip) {
        let Some(address) = text::address(text) else { continue };
        if addresses.iter().all(|other| other.is_ipv4() != address.is_ipv4()) {
            addresses.push(address);
        }
    }
    addresses
}

fn load_balancer_ips(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    entries
        .filter(|entry| entry.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"))
        .filter_map(|entry| text::address(entry.ip.as_deref()?))
        .collect()
}

pub(super) fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

fn affinity_seconds(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let written = |config: &SessionAffinityConfig| config.client_ip.as_ref()?.timeout_seconds;
    let seconds = spec.session_affinity_config.as_ref().and_then(written).unwrap_or(10_800);
    u32::try_from(seconds).ok()
}
