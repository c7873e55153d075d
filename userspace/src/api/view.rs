//! The shapes of `-o json`: field names as in Kubernetes where Kubernetes has the thing.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A Service, in `shunt get services`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    /// Cluster addresses.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<IpAddr>,
    /// External addresses.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers, as far as they are served.
    #[serde(rename = "loadBalancerIPs")]
    pub load_balancer_ips: Vec<IpAddr>,
    /// Addresses or host names of load balancers, all of them.
    #[serde(default)]
    pub load_balancer_ingress: Vec<String>,
    /// The name that it stands for, where its type is `ExternalName`.
    #[serde(default)]
    pub external_name: Option<String>,
    /// When it was created (RFC 3339).
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    /// Labels of its pods.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// Whether shunt serves it: not where it is headless, of type `ExternalName`, or another
    /// proxy's.
    #[serde(default)]
    pub served: bool,
    /// `None` or `ClientIP`.
    pub session_affinity: String,
    /// For how long a client stays with its endpoint, where it does.
    #[serde(default)]
    pub session_affinity_timeout_seconds: Option<u32>,
    /// Whom the addresses of load balancers serve; empty where they serve everybody.
    #[serde(default)]
    pub load_balancer_source_ranges: Vec<String>,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: String,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: String,
    /// The port where load balancers ask for local endpoints; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
    /// The ports.
    pub ports: Vec<ServicePortView>,
}

/// A Service's port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePortView {
    /// The name; empty where it has none.
    pub name: String,
    /// The protocol.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The NodePort.
    pub node_port: Option<u16>,
    /// Every endpoint, of both families.
    pub endpoints: Vec<EndpointView>,
    /// Connections made since the agent first served the port.
    pub connections: u64,
    /// Packets, both directions.
    pub packets: u64,
    /// Bytes of those packets, from the Ethernet header on.
    pub bytes: u64,
}

/// An endpoint of a service port; also, with `service` set, a row of `shunt get endpoints`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the conditions are Kubernetes'")]
pub struct EndpointView {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The node, where known.
    pub node: Option<String>,
    /// Whether that is this node.
    pub local: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it serves.
    pub serving: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
}

/// A row of `shunt get endpoints`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpointView {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The service port's name; empty where it has none.
    pub port_name: String,
    /// The protocol.
    pub protocol: String,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: EndpointView,
}

/// A pod, in `shunt get pods`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// When it was created (RFC 3339).
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    /// The node.
    pub node: Option<String>,
    /// The addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<IpAddr>,
    /// The container's id, where a container runtime had the pod attached by the CNI plugin.
    #[serde(default, rename = "containerID")]
    pub container_id: Option<String>,
    /// The network namespace, as `ip netns` shows it, or its path where a container runtime made it;
    /// absent for pods of other nodes and of the host network.
    pub netns: Option<String>,
    /// The host end of the veth pair.
    pub host_interface: Option<String>,
    /// The Ethernet address of the pod's interface.
    pub mac: Option<String>,
    /// The ports of this node that lead to it.
    #[serde(default)]
    pub host_ports: Vec<HostPortView>,
}

/// A port of the node that leads to a pod of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPortView {
    /// Which address of the node; none where it is all of them.
    #[serde(rename = "hostIP")]
    pub host_ip: Option<IpAddr>,
    /// The node's port.
    pub host_port: u16,
    /// The pod's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: String,
    /// Whether it is in force: it is not where another pod or a Service has it, or where the address
    /// is not the node's; the errors of `shunt status` say why.
    pub served: bool,
    /// Connections made since the agent first served the port.
    pub connections: u64,
    /// Packets, both directions.
    pub packets: u64,
    /// Bytes of those packets, from the Ethernet header on.
    pub bytes: u64,
}

/// A node, in `shunt get nodes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// The name.
    pub name: String,
    /// When it was created (RFC 3339).
    #[serde(default)]
    pub creation_timestamp: Option<String>,
    /// Its internal addresses.
    pub addresses: Vec<IpAddr>,
    /// Its pod CIDRs.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// How its pods are reached: `local`, or `none` while nothing carries traffic there.
    pub route: String,
}

/// A connection, in `shunt get connections`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionView {
    /// The protocol.
    pub protocol: String,
    /// The client, `address:port`.
    pub source: String,
    /// The service address as the client sees it, `address:port`.
    pub destination: String,
    /// The backend, `address:port`.
    pub backend: String,
    /// `new`, `established`, `closing` or `closed`.
    pub state: String,
    /// Seconds since its first packet.
    pub age_seconds: u64,
    /// Seconds since the last packet of either direction.
    pub idle_seconds: u64,
}

/// A drop counter, in `shunt get drops`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropView {
    /// The reason, as documented.
    pub reason: String,
    /// The program that counted it.
    pub program: String,
    /// The interface, where the counter knows it.
    pub interface: Option<String>,
    /// How many packets.
    pub count: u64,
}

/// `shunt status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// Whether the node serves. What is refused or could not be put in force is among the
    /// source's errors, and stops nothing else.
    pub ready: bool,
    /// Why not, where not.
    pub reason: Option<String>,
    /// The node.
    pub node: String,
    /// The agent's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Where the objects come from.
    pub source: SourceView,
    /// The ranges that cluster IPs are from, of ServiceCIDRs and `--service-cidrs`; without those
    /// that are refused.
    #[serde(default, rename = "serviceCIDRs")]
    pub service_cidrs: Vec<String>,
    /// The programs that are attached.
    pub programs: Vec<ProgramView>,
    /// The maps.
    pub maps: Vec<MapView>,
    /// The last time that the maps were made equal to the objects.
    pub last_sync: Option<SyncView>,
}

/// Where the objects come from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceView {
    /// `manifests`.
    pub kind: String,
    /// Whether all of it has been read.
    pub synced: bool,
    /// When it last changed (RFC 3339).
    pub last_change: Option<String>,
    /// What is refused, or could not be put in force.
    pub errors: Vec<ErrorView>,
}

/// Why a file or an object is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorView {
    /// The file.
    pub file: Option<PathBuf>,
    /// The number of the document in the file, from 1.
    pub document: Option<usize>,
    /// The object's kind.
    pub kind: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// The path of the field.
    pub field: Option<String>,
    /// What is wrong, and what to do.
    pub message: String,
}

/// An attached program.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramView {
    /// The program.
    pub name: String,
    /// The interface, or the cgroup's path.
    pub interface: String,
    /// `tc ingress`, `tc egress`, or the name of the cgroup hook.
    pub hook: String,
    /// `tcx`, `clsact` or `cgroup`.
    pub mode: String,
    /// How often it ran, where the kernel counts that (`kernel.bpf_stats_enabled`).
    pub run_count: u64,
}

/// A map.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MapView {
    /// The name.
    pub name: String,
    /// How many entries are in use.
    pub entries: u64,
    /// How many there can be.
    pub capacity: u64,
    /// The kernel memory that it holds.
    pub bytes: u64,
}

/// The last time that the maps were made equal to the objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncView {
    /// How long it took.
    pub duration_micros: u64,
    /// How many map elements were written or deleted.
    pub changes: u64,
    /// When (RFC 3339).
    pub at: String,
}
