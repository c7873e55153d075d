//! The agent's settings, one definition for flags, environment variables and the config file.
//!
//! A layer says `None` for what it leaves to the layer below. The doc comments are the texts of
//! `--help`, of the man page and of `--print-default-config`.

use std::{
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use maps_schema::maps::Limits;
use serde::{Deserialize, Serialize};

pub use super::interfaces::{InterfaceName, InterfaceNames};
use super::{
    bind_address::BindAddress,
    values::{Cidrs, DetectLocal, NodePortAddresses, PodMtu, PortRange, Upstreams},
};
use crate::dns::ClusterDomain;

/// Where `shunt agent` keeps its socket and its state.
pub const DEFAULT_RUN_DIR: &str = "/run/shunt";
/// Where `shunt agent` pins its maps and links.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf/shunt";

/// One layer of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// Name of this node, as in its Node object. Left out: the host's name.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Folder of Kubernetes objects to serve: all *.yaml, *.yml and *.json files in it, watched
    /// for changes.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Kubeconfig whose current context names the Kubernetes API server to follow.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Follow the Kubernetes API server with the service account of the agent's own pod.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub in_cluster: Option<bool>,
    /// KubeProxyConfiguration, or the ConfigMap of kubeadm that holds one, whose fields count as far
    /// as shunt has such settings. All other settings are stronger.
    #[arg(long, value_name = "FILE")]
    pub kube_proxy_config: Option<PathBuf>,
    /// Folder of the agent's socket and state; each agent of a machine has its own.
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Folder of what shall outlive a reboot: addresses of pods, and what the CNI plugin attached.
    /// Left out: the run directory.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder of the container runtime's network configurations, where the agent puts its own,
    /// 05-shunt.conflist, once the node is ready. Left out: it puts it nowhere.
    #[arg(long, value_name = "DIR")]
    pub cni_conf_dir: Option<PathBuf>,
    /// Folder of the container runtime's CNI plugins, where the agent puts the shunt-cni that stands
    /// beside its own program. Left out: it puts it nowhere.
    #[arg(long, value_name = "DIR")]
    pub cni_bin_dir: Option<PathBuf>,
    /// Folder on a bpffs where maps and links are pinned, so that the datapath outlives the
    /// agent; each agent of a machine has its own.
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
    /// Name of the bridge that holds the pods' host interfaces and the gateway addresses.
    #[arg(long, value_name = "IFACE")]
    pub bridge: Option<InterfaceName>,
    /// Interfaces towards other nodes and the outside, separated by commas. Left out: those that
    /// carry an InternalIP of this node's Node object.
    #[arg(long, value_name = "IFACE[,IFACE]")]
    pub uplink: Option<InterfaceNames>,
    /// How packets reach the pods of other nodes.
    #[arg(long, value_name = "MODE")]
    pub routing: Option<Routing>,
    /// UDP port that nodes send each other VXLAN packets to; the same on every node.
    #[arg(long, value_name = "PORT")]
    pub vxlan_port: Option<NonZeroU16>,
    /// MTU of the bridge and the pods in bytes, at least 1280. Left out: the smallest MTU of the
    /// uplinks, less what VXLAN adds to each packet.
    #[arg(long, value_name = "BYTES")]
    pub pod_mtu: Option<PodMtu>,
    /// Where on the uplink traffic from outside is taken up.
    #[arg(long, value_name = "MODE")]
    pub xdp: Option<XdpMode>,
    /// Whose sockets are connected to a backend at once, instead of having each packet
    /// translated.
    #[arg(long, value_name = "WHOSE")]
    pub socket_lb: Option<SocketLbScope>,
    /// Cgroup whose sockets are translated. Left out: the root of the cgroup2 mount.
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Let pods reach the outside with their own addresses instead of the node's.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_masquerade: Option<bool>,
    /// Ports of the node's address that masqueraded packets may have, first and last.
    #[arg(long, value_name = "LOW-HIGH")]
    pub masquerade_ports: Option<PortRange>,
    /// Networks beside those of pods that pods reach with their own addresses, separated by commas.
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub non_masquerade_cidrs: Option<Cidrs>,
    /// How clients outside get answers from a backend on another node.
    #[arg(long, value_name = "MODE")]
    pub load_balancer_mode: Option<LoadBalancerMode>,
    /// Addresses of the node that serve NodePorts: `primary`, the first InternalIP of each family in
    /// its Node object, or those of its addresses that are in one of these networks, separated by
    /// commas; of a family without a network, all.
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub node_port_addresses: Option<NodePortAddresses>,
    /// Serve NodePorts on 127.0.0.1 and ::1 too, to the node's own processes, unless
    /// --node-port-addresses has networks of that family and none with it. It takes a --socket-lb
    /// other than `off`.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub localhost_node_ports: Option<bool>,
    /// Let backends see the node's address in place of each client's that comes by a cluster IP.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub masquerade_all: Option<bool>,
    /// Who is local: keeps its address by a cluster IP, and reaches all endpoints where the external
    /// traffic policy is `Local`.
    #[arg(long, value_name = "WHO")]
    pub detect_local: Option<DetectLocal>,
    /// Networks that cluster IPs are from, separated by commas, beside those of ServiceCIDR objects.
    /// What is sent to an address in them that no Service has is dropped.
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub service_cidrs: Option<Cidrs>,
    /// Serve cluster DNS, from a pod of this node's own, kube-system/coredns, behind the Service
    /// kube-system/kube-dns. With --manifests only.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub dns: Option<bool>,
    /// Domain of the cluster's names, which pods search.
    #[arg(long, value_name = "DOMAIN")]
    pub dns_zone: Option<ClusterDomain>,
    /// DNS servers to ask for names outside of --dns-zone, separated by commas. Left out: whoever
    /// asks for such a name is refused. It takes --dns.
    #[arg(long, value_name = "ADDR[:PORT][,…]")]
    pub dns_upstream: Option<Upstreams>,
    /// How TC programs are attached.
    #[arg(long, value_name = "MODE")]
    pub tc: Option<TcChoice>,
    /// How many service ports the maps hold, each counted once per address family.
    #[arg(long, value_name = "COUNT")]
    pub max_services: Option<NonZeroU32>,
    /// How many endpoints of service ports the maps hold.
    #[arg(long, value_name = "COUNT")]
    pub max_endpoints: Option<NonZeroU32>,
    /// How many connections the maps hold, per address family.
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<NonZeroU32>,
    /// Address and port of /healthz and /livez, which load balancers and the kubelet ask; the
    /// unspecified address of either family stands for all of both. `off`: nobody is answered.
    #[arg(long, value_name = "IP:PORT")]
    pub healthz_bind_address: Option<BindAddress>,
    /// Address and port of /metrics, /proxyMode, /configz and another /healthz; `off`: nobody is
    /// answered.
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_bind_address: Option<BindAddress>,
    /// End where one of the two addresses cannot be listened on, instead of trying again.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub bind_address_hard_fail: Option<bool>,
    /// How long a change may take to be in force before /healthz and /livez say that it does not, in
    /// seconds.
    #[arg(long, value_name = "SECONDS")]
    pub health_timeout: Option<NonZeroU32>,
    /// How many service ports may have metrics of their own; where there are more, none has.
    #[arg(long, value_name = "COUNT")]
    pub max_service_metrics: Option<u32>,
    /// How much the agent says on standard error.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<LogLevel>,
}

impl Settings {
    /// What holds where no other layer says anything.
    pub fn defaults() -> Self {
        Self {
            node_name: None,
            manifests: None,
            kubeconfig: None,
            in_cluster: Some(false),
            kube_proxy_config: None,
            run_dir: Some(DEFAULT_RUN_DIR.into()),
            state_dir: None,
            cni_conf_dir: None,
            cni_bin_dir: None,
            bpffs: Some(DEFAULT_BPFFS.into()),
            bridge: Some(InterfaceName("cni0".to_owned())),
            uplink: None,
            routing: Some(Routing::Vxlan),
            vxlan_port: NonZeroU16::new(8472),
            pod_mtu: None,
            xdp: Some(XdpMode::Auto),
            socket_lb: Some(SocketLbScope::Host),
            cgroup: None,
            no_masquerade: Some(false),
            masquerade_ports: Some(PortRange::UNPRIVILEGED),
            non_masquerade_cidrs: None,
            load_balancer_mode: Some(LoadBalancerMode::Snat),
            node_port_addresses: Some(NodePortAddresses::Primary),
            localhost_node_ports: Some(false),
            masquerade_all: Some(false),
            detect_local: Some(DetectLocal::Pods),
            service_cidrs: None,
            dns: Some(false),
            dns_zone: Some(ClusterDomain::default()),
            dns_upstream: None,
            tc: Some(TcChoice::Auto),
            max_services: NonZeroU32::new(Limits::DEFAULT.services),
            max_endpoints: NonZeroU32::new(Limits::DEFAULT.endpoints),
            max_connections: NonZeroU32::new(Limits::DEFAULT.connections),
            healthz_bind_address: Some(BindAddress::HEALTHZ),
            metrics_bind_address: Some(BindAddress::METRICS),
            bind_address_hard_fail: Some(false),
            health_timeout: NonZeroU32::new(60),
            max_service_metrics: Some(1000),
            log: Some(LogLevel::Info),
        }
    }

    /// This layer, with what it leaves open taken from `lower`.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            node_name: self.node_name.or(lower.node_name),
            manifests: self.manifests.or(lower.manifests),
            kubeconfig: self.kubeconfig.or(lower.kubeconfig),
            in_cluster: self.in_cluster.or(lower.in_cluster),
            kube_proxy_config: self.kube_proxy_config.or(lower.kube_proxy_config),
            run_dir: self.run_dir.or(lower.run_dir),
            state_dir: self.state_dir.or(lower.state_dir),
            cni_conf_dir: self.cni_conf_dir.or(lower.cni_conf_dir),
            cni_bin_dir: self.cni_bin_dir.or(lower.cni_bin_dir),
            bpffs: self.bpffs.or(lower.bpffs),
            bridge: self.bridge.or(lower.bridge),
            uplink: self.uplink.or(lower.uplink),
            routing: self.routing.or(lower.routing),
            vxlan_port: self.vxlan_port.or(lower.vxlan_port),
            pod_mtu: self.pod_mtu.or(lower.pod_mtu),
            xdp: self.xdp.or(lower.xdp),
            socket_lb: self.socket_lb.or(lower.socket_lb),
            cgroup: self.cgroup.or(lower.cgroup),
            no_masquerade: self.no_masquerade.or(lower.no_masquerade),
            masquerade_ports: self.masquerade_ports.or(lower.masquerade_ports),
            non_masquerade_cidrs: self.non_masquerade_cidrs.or(lower.non_masquerade_cidrs),
            load_balancer_mode: self.load_balancer_mode.or(lower.load_balancer_mode),
            node_port_addresses: self.node_port_addresses.or(lower.node_port_addresses),
            localhost_node_ports: self.localhost_node_ports.or(lower.localhost_node_ports),
            masquerade_all: self.masquerade_all.or(lower.masquerade_all),
            detect_local: self.detect_local.or(lower.detect_local),
            service_cidrs: self.service_cidrs.or(lower.service_cidrs),
            dns: self.dns.or(lower.dns),
            dns_zone: self.dns_zone.or(lower.dns_zone),
            dns_upstream: self.dns_upstream.or(lower.dns_upstream),
            tc: self.tc.or(lower.tc),
            max_services: self.max_services.or(lower.max_services),
            max_endpoints: self.max_endpoints.or(lower.max_endpoints),
            max_connections: self.max_connections.or(lower.max_connections),
            healthz_bind_address: self.healthz_bind_address.or(lower.healthz_bind_address),
            metrics_bind_address: self.metrics_bind_address.or(lower.metrics_bind_address),
            bind_address_hard_fail: self.bind_address_hard_fail.or(lower.bind_address_hard_fail),
            health_timeout: self.health_timeout.or(lower.health_timeout),
            max_service_metrics: self.max_service_metrics.or(lower.max_service_metrics),
            log: self.log.or(lower.log),
        }
    }
}

/// How packets reach the pods of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// In VXLAN tunnels between the nodes.
    Vxlan,
    /// By plain routes to the nodes' addresses.
    Direct,
}

/// Where on the uplink traffic from outside is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpMode {
    /// In the driver of a network card; by TC alone on a veth.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// By the kernel's generic XDP.
    Generic,
    /// By TC alone.
    Off,
}

/// How clients outside get answers from a backend on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalancerMode {
    /// Through the node that they sent to, whose address the backend sees.
    Snat,
    /// Straight from the backend's node, which sees the client's address.
    Dsr,
}

/// Whose sockets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketLbScope {
    /// Those of the node's own processes.
    Host,
    /// Those of the node's own processes and of its pods.
    All,
    /// Nobody's.
    Off,
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcChoice {
    /// By tcx where the kernel has it (6.6 and later), else by clsact.
    Auto,
    /// By tcx links.
    Tcx,
    /// By filters of a clsact qdisc.
    Clsact,
}

/// How much the agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What an operator must act on.
    Error,
    /// What is degraded, and heals by itself.
    Warn,
    /// Changes of state.
    Info,
    /// Each object.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}
