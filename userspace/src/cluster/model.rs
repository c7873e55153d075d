//! The objects.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use litemap::LiteMap;
use maps_schema::address::{Family, Mac, Protocol};
use serde::Serialize;

/// The kinds of object that shunt reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// `v1 Node`.
    Node,
    /// `v1 Pod`.
    Pod,
    /// `v1 Service`.
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice,
    /// `networking.k8s.io/v1 ServiceCIDR`.
    ServiceCidr,
}

/// The namespace and name of an object; the namespace is empty for Nodes and ServiceCIDRs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(formatter, "{}", self.name)
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceCidr => "ServiceCIDR",
        })
    }
}

/// Any object; shared, because the source keeps what it last said beside what the cluster holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Node.
    Node(Arc<Node>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A ServiceCIDR.
    ServiceCidr(Arc<ServiceCidr>),
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
        }
    }

    /// Its namespace and name.
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Node(node) => ObjectName { namespace: String::new(), name: node.name.clone() },
            Self::Pod(pod) => pod.name.clone(),
            Self::Service(service) => service.name.clone(),
            Self::EndpointSlice(slice) => slice.name.clone(),
            Self::ServiceCidr(cidr) => {
                ObjectName { namespace: String::new(), name: cidr.name.clone() }
            }
        }
    }

    /// When it was created, where it says so.
    pub fn created(&self) -> Option<Timestamp> {
        match self {
            Self::Node(node) => node.created,
            Self::Pod(pod) => pod.created,
            Self::Service(service) => service.created,
            Self::EndpointSlice(slice) => slice.created,
            Self::ServiceCidr(cidr) => cidr.created,
        }
    }
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`, in lower case.
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.podCIDRs`, or `spec.podCIDR`; at most one per family.
    pub pod_cidrs: Vec<IpNet>,
    /// `status.addresses` of type InternalIP, in their order; those of type ExternalIP where it has
    /// none of their family.
    pub addresses: Vec<IpAddr>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Whether it has a `metadata.deletionTimestamp`, or the taint
    /// `ToBeDeletedByClusterAutoscaler`: it is to get no new traffic from load balancers.
    pub leaving: bool,
    /// Annotation `shunt.dev/vtep-mac`: the Ethernet address of its overlay device, where that is
    /// not one that shunt made.
    pub vtep_mac: Option<Mac>,
}

impl Node {
    /// Its primary addresses: the first of each family, as kube-proxy chooses them
    /// (`GetNodeHostIPs`).
    pub fn primary_addresses(&self) -> Vec<IpAddr> {
        let first = |is_ipv4| self.addresses.iter().find(|address| address.is_ipv4() == is_ipv4);
        [true, false].into_iter().filter_map(first).copied().collect()
    }
}

/// A Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of Kubernetes' own")]
pub struct Pod {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.nodeName`, in lower case.
    pub node: Option<String>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.hostname`, where it is not empty.
    pub hostname: Option<String>,
    /// `spec.subdomain`, where it is not empty.
    pub subdomain: Option<String>,
    /// `status.podIPs`, or `status.podIP`; at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Whether its `Ready` condition is true or absent, and its phase is not final.
    pub ready: bool,
    /// Whether it has a `metadata.deletionTimestamp`.
    pub terminating: bool,
    /// Whether its phase is `Succeeded` or `Failed`: it has no network any more and is no endpoint.
    pub finished: bool,
    /// Named container ports: (name, protocol) → number.
    pub named_ports: BTreeMap<(String, Protocol), u16>,
    /// `hostPort` of its containers' ports, each once; none in the host's network, where the
    /// container's own port is the node's.
    pub host_ports: Vec<HostPort>,
}

/// A port of the node that leads to a pod of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Which address of the node; all of them where there is none. The unspecified address stands
    /// for all of its family.
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The pod's port.
    pub container_port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// A Service that is proxied: not headless, not of type ExternalName, not labelled for another
/// proxy. (Those are read too, as services with `proxied: false`: they have names, are listed, and
/// named in errors.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.type`.
    pub service_type: String,
    /// Whether shunt serves it at all.
    pub proxied: bool,
    /// Whether it has no cluster IP by its own wish, and is no ExternalName.
    pub headless: bool,
    /// `spec.externalName` of a Service of type ExternalName, without a dot at its end.
    pub external_name: Option<String>,
    /// `spec.clusterIPs`, or `spec.clusterIP`; at most one per family, none where headless.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is absent or `VIP`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress`, addresses or names of hosts, as it is written: for listings.
    pub load_balancer_ingress: Vec<String>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; empty where there is none.
    pub selector: LiteMap<String, String>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.loadBalancerSourceRanges`, of both families, without host bits.
    pub source_ranges: Vec<IpNet>,
    /// `spec.sessionAffinity: ClientIP` and its timeout in seconds.
    pub session_affinity_seconds: Option<u32>,
    /// `spec.healthCheckNodePort`, where there is one; see [`Service::health_check_port`].
    pub health_check_node_port: Option<u16>,
}

impl Service {
    /// Whether the selector matches a Pod. A Service without a selector selects none.
    pub fn selects(&self, pod: &Pod) -> bool {
        self.name.namespace == pod.name.namespace
            && !self.selector.is_empty()
            && self.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    /// The addresses that the outside reaches it at, whatever their family: of load balancers, and
    /// external ones.
    pub fn external_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.load_balancer_ips.iter().chain(&self.external_ips).copied()
    }

    /// The TCP port of every node where load balancers ask whether it has local endpoints: that of
    /// a Service of type `LoadBalancer` whose external traffic policy is `Local` (`NeedsHealthCheck`
    /// of `pkg/api/v1/service/util.go`).
    pub fn health_check_port(&self) -> Option<u16> {
        let is_asked = self.service_type == "LoadBalancer"
            && self.external_traffic_policy == TrafficPolicy::Local;
        self.health_check_node_port.filter(|_| is_asked)
    }

    /// Whether the Service exists in an address's family: it has a cluster IP there.
    pub fn serves_family_of(&self, address: IpAddr) -> bool {
        self.cluster_ips.iter().any(|cluster_ip| cluster_ip.is_ipv4() == address.is_ipv4())
    }
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum TrafficPolicy {
    /// Every endpoint of the cluster.
    #[default]
    Cluster,
    /// Endpoints of this node only.
    Local,
}

/// One of a Service's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; empty where there is none.
    pub name: String,
    /// `protocol`: TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `nodePort`, where there is one.
    pub node_port: Option<u16>,
    /// `targetPort`: read only for Services whose endpoints are derived from Pods.
    pub target_port: TargetPort,
}

/// A `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number; equal to `port` where the field is left out.
    Number(u16),
    /// The name of a container port.
    Name(String),
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Label `kubernetes.io/service-name`, where it is not empty.
    pub service: Option<String>,
    /// Label `service.kubernetes.io/headless`: the slice is not for proxies.
    pub headless: bool,
    /// `addressType`, where it is IPv4 or IPv6.
    pub family: Option<Family>,
    /// `ports` that have a number; a name that is absent is empty, as the API server would make it.
    pub ports: Vec<EndpointPort>,
    /// `endpoints` that have an address.
    pub endpoints: Box<[SliceEndpoint]>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time`: when that has changed which it
    /// was last written for, where that is known.
    pub last_change_trigger: Option<Timestamp>,
}

/// A ServiceCIDR: ranges that cluster IPs are from. One that is being deleted counts until it is
/// gone, as for kube-proxy: its addresses are not given out any more, and those that were stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `spec.cidrs`; one or two, at most one per family.
    pub cidrs: Vec<IpNet>,
}

/// One of an EndpointSlice's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// `name`; joined with [`ServicePort::name`].
    pub name: String,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
}

/// One of an EndpointSlice's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// `addresses[0]`.
    pub address: IpAddr,
    /// `nodeName`, in lower case; the name of one node is one text, shared by its endpoints.
    pub node: Option<Arc<str>>,
    /// `hostname`, where it is not empty.
    pub hostname: Option<Box<str>>,
    /// `conditions`.
    pub conditions: Conditions,
    /// `hints`, where there are any.
    pub hints: Option<Box<Hints>>,
}

/// Which nodes should use an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `forZones[].name`.
    pub for_zones: Vec<String>,
    /// `forNodes[].name`, in lower case.
    pub for_nodes: Vec<String>,
}

/// An endpoint's conditions, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conditions {
    /// `ready`; true where absent.
    pub ready: bool,
    /// `serving`; true where absent.
    pub serving: bool,
    /// `terminating`; false where absent.
    pub terminating: bool,
}
