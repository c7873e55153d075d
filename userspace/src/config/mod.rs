//! What the agent is told: layers of raw [`Settings`] in, one validated [`AgentConfig`] out.
//!
//! A flag is stronger than an environment variable, which is stronger than the config file, which
//! is stronger than the default.

pub mod bind_address;
pub mod environment;
mod error;
mod file;
mod interfaces;
mod kube_proxy;
mod node_name;
mod object_source;
mod operations;
mod print;
pub mod settings;
pub mod values;

use std::{
    net::SocketAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

pub use error::ConfigError;
use ipnet::IpNet;
pub use kube_proxy::{KubeProxyConfigError, KubeProxySettings};
use maps_schema::maps::Limits;
pub use object_source::ObjectSource;
use operations::operations;
pub use operations::{BindFailure, Operations};
pub use print::default_config;
pub use settings::{InterfaceName, LoadBalancerMode, Routing, Settings, TcChoice, XdpMode};
use settings::{InterfaceNames, LogLevel, SocketLbScope};
use values::{Cidrs, Upstreams};
pub use values::{DetectLocal, NodePortAddresses, PodMtu, PortRange};

use crate::{dns::ClusterDomain, mounts};

/// The environment variable that names the config file, as `--config` does.
pub const CONFIG_VARIABLE: &str = "SHUNT_CONFIG";

/// The most that any of the three limits may be: slots, twice as many as endpoints, are counted
/// in 32 bits, and an array of this size holds a gigabyte and more.
const MAX_LIMIT: u32 = 1 << 26;

/// What the agent does, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The name of this node, in lower case.
    pub node_name: String,
    /// Where the cluster's objects come from.
    pub source: ObjectSource,
    /// The folder of the socket and of the agent's state.
    pub run_dir: PathBuf,
    /// The folder of what shall outlive a reboot; the run directory where none is named.
    pub state_dir: PathBuf,
    /// Where the CNI plugin and its configuration are put.
    pub cni: CniPlaces,
    /// The folder of pinned maps and links.
    pub bpffs: PathBuf,
    /// The bridge.
    pub bridge: InterfaceName,
    /// The interfaces towards other nodes and the outside; empty where none is named.
    pub uplinks: Vec<InterfaceName>,
    /// How packets reach the pods of other nodes.
    pub routing: Routing,
    /// UDP port of VXLAN packets between nodes.
    pub vxlan_port: NonZeroU16,
    /// MTU of the bridge and the pods; `None`: it follows from the uplinks.
    pub pod_mtu: Option<PodMtu>,
    /// Where on the uplink traffic from outside is taken up.
    pub xdp: XdpMode,
    /// Whose sockets are translated, if anybody's.
    pub socket_lb: Option<SocketLb>,
    /// Whether pods reach the outside with the node's address.
    pub masquerade: bool,
    /// Ports that masqueraded packets may have.
    pub masquerade_ports: PortRange,
    /// Networks beside those of pods that pods reach with their own addresses.
    pub non_masquerade_cidrs: Vec<IpNet>,
    /// How clients outside get answers from a backend on another node.
    pub load_balancer_mode: LoadBalancerMode,
    /// Which of the node's addresses serve NodePorts.
    pub node_port_addresses: NodePortAddresses,
    /// Whether NodePorts are served on loopback addresses too.
    pub localhost_node_ports: bool,
    /// Whether backends see the node's address in place of each client's that comes by a cluster
    /// IP.
    pub masquerade_all: bool,
    /// Who is local.
    pub detect_local: DetectLocal,
    /// Networks that cluster IPs are from, beside those of ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
    /// The domain of the cluster's names.
    pub dns_zone: ClusterDomain,
    /// Cluster DNS, where this node serves it.
    pub dns: Option<DnsConfig>,
    /// How TC programs are attached.
    pub tc: TcChoice,
    /// How much the maps hold.
    pub limits: Limits,
    /// Who is answered over the network, and how.
    pub operations: Operations,
    /// How much the agent says.
    pub log: log::LevelFilter,
    /// All settings, each as it holds.
    pub effective: Settings,
    /// What is to be said of settings that do not hold.
    pub warnings: Vec<String>,
}

/// What is said of settings, the stronger before the weaker.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// On the command line.
    pub flags: Settings,
    /// In the environment.
    pub environment: Settings,
    /// In the config file.
    pub file: Settings,
    /// In the KubeProxyConfiguration.
    pub kube_proxy: KubeProxySettings,
}

/// What follows from the machine where no setting says it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine<'a> {
    /// Where the cgroup2 hierarchy is mounted.
    pub cgroup2_root: Option<&'a Path>,
    /// The host's name.
    pub hostname: Option<&'a str>,
}

/// Where the CNI plugin and its configuration are put, if anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniPlaces {
    /// The folder of the container runtime's network configurations.
    pub configurations: Option<PathBuf>,
    /// The folder of the container runtime's plugins.
    pub plugins: Option<PathBuf>,
}

/// Cluster DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Who is asked for names outside of the cluster's domain, the first one first; nobody where
    /// there is none.
    pub upstreams: Vec<SocketAddr>,
}

/// Translation at the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketLb {
    /// Whose sockets.
    pub whose: SocketOwners,
    /// The cgroup that the programs are attached to.
    pub cgroup: PathBuf,
}

/// Whose sockets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOwners {
    /// The node's own processes'.
    Host,
    /// The node's own processes' and its pods'.
    HostAndPods,
}

/// Reads every layer below the flags and validates the result. `config_file` is the value of
/// `--config`.
pub fn load(flags: Settings, config_file: Option<&Path>) -> Result<AgentConfig, ConfigError> {
    let lookup = |name: &str| std::env::var_os(name);
    let environment = environment::read(lookup)?;
    let named_by_environment =
        lookup(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let file = match config_file.or(named_by_environment.as_deref()) {
        Some(path) => file::read(path)?,
        None => Settings::default(),
    };
    let said = flags.clone().over(environment.clone()).over(file.clone());
    let kube_proxy = match &said.kube_proxy_config {
        Some(path) => kube_proxy::read(path)?,
        None => KubeProxySettings::default(),
    };
    // Where the mounts cannot be read there is no cgroup to be found; the error says what to do.
    let mounts = mounts::mounts().unwrap_or_default();
    let hostname = node_name::hostname();
    let machine =
        Machine { cgroup2_root: mounts::cgroup2_root(&mounts), hostname: hostname.as_deref() };
    AgentConfig::resolve(Layers { flags, environment, file, kube_proxy }, machine)
}

impl AgentConfig {
    /// Joins the layers and validates what comes out.
    pub fn resolve(layers: Layers, machine: Machine<'_>) -> Result<Self, ConfigError> {
        let Layers { flags, environment, file, kube_proxy } = layers;
        let said = flags.over(environment).over(file);
        let (kube_proxy, warnings) = kube_proxy.below(&said);
        let settings = said.over(kube_proxy).over(Settings::defaults());
        let effective = settings.clone();
        let source = ObjectSource::resolve(&settings)?;
        let dns = dns(settings.dns, settings.dns_upstream.clone(), &source)?;
        let socket_lb = socket_lb(&settings, machine.cgroup2_root)?;
        let has_socket_lb = socket_lb.is_some();
        let run_dir = required("run-dir", settings.run_dir)?;
        Ok(Self {
            node_name: node_name::resolve(settings.node_name.as_deref(), machine.hostname)?,
            source,
            state_dir: settings.state_dir.unwrap_or_else(|| run_dir.clone()),
            cni: CniPlaces { configurations: settings.cni_conf_dir, plugins: settings.cni_bin_dir },
            run_dir,
            bpffs: required("bpffs", settings.bpffs)?,
            bridge: required("bridge", settings.bridge)?,
            uplinks: settings.uplink.map_or_else(Vec::new, |InterfaceNames(names)| names),
            routing: required("routing", settings.routing)?,
            vxlan_port: required("vxlan-port", settings.vxlan_port)?,
            pod_mtu: settings.pod_mtu,
            xdp: required("xdp", settings.xdp)?,
            socket_lb,
            masquerade: settings.no_masquerade != Some(true),
            masquerade_ports: required("masquerade-ports", settings.masquerade_ports)?,
            non_masquerade_cidrs: settings
                .non_masquerade_cidrs
                .map_or_else(Vec::new, |Cidrs(cidrs)| cidrs),
            load_balancer_mode: required("load-balancer-mode", settings.load_balancer_mode)?,
            node_port_addresses: required("node-port-addresses", settings.node_port_addresses)?,
            localhost_node_ports: localhost_node_ports(
                settings.localhost_node_ports,
                has_socket_lb,
            )?,
            masquerade_all: settings.masquerade_all == Some(true),
            detect_local: required("detect-local", settings.detect_local)?,
            service_cidrs: settings.service_cidrs.map_or_else(Vec::new, |Cidrs(cidrs)| cidrs),
            dns_zone: required("dns-zone", settings.dns_zone)?,
            dns,
            tc: required("tc", settings.tc)?,
            limits: Limits {
                services: limit("max-services", settings.max_services)?,
                endpoints: limit("max-endpoints", settings.max_endpoints)?,
                connections: limit("max-connections", settings.max_connections)?,
            },
            operations: operations(&effective)?,
            log: required::<LogLevel>("log", settings.log)?.into(),
            effective,
            warnings,
        })
    }
}

fn localhost_node_ports(asked: Option<bool>, has_socket_lb: bool) -> Result<bool, ConfigError> {
    match asked {
        Some(true) if !has_socket_lb => Err(ConfigError::LocalhostNodePorts),
        asked => Ok(asked == Some(true)),
    }
}

fn dns(
    asked: Option<bool>,
    upstreams: Option<Upstreams>,
    source: &ObjectSource,
) -> Result<Option<DnsConfig>, ConfigError> {
    match (asked, upstreams, source) {
        (Some(true), upstreams, ObjectSource::Manifests(_)) => {
            let upstreams = upstreams.map_or_else(Vec::new, |Upstreams(upstreams)| upstreams);
            Ok(Some(DnsConfig { upstreams }))
        }
        (Some(true), _, source) => Err(ConfigError::DnsOfACluster { source_key: source.key() }),
        (_, Some(_), _) => Err(ConfigError::UpstreamWithoutDns),
        (_, None, _) => Ok(None),
    }
}

fn required<T>(key: &'static str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { key })
}

fn limit(key: &'static str, value: Option<std::num::NonZeroU32>) -> Result<u32, ConfigError> {
    match required(key, value)?.get() {
        value if value > MAX_LIMIT => Err(ConfigError::Limit { key, value }),
        value => Ok(value),
    }
}

fn socket_lb(
    settings: &Settings,
    cgroup2_root: Option<&Path>,
) -> Result<Option<SocketLb>, ConfigError> {
    let whose = match required("socket-lb", settings.socket_lb)? {
        SocketLbScope::Off => return Ok(None),
        SocketLbScope::Host => SocketOwners::Host,
        SocketLbScope::All => SocketOwners::HostAndPods,
    };
    let cgroup = settings.cgroup.as_deref().or(cgroup2_root).ok_or(ConfigError::NoCgroup)?;
    Ok(Some(SocketLb { whose, cgroup: cgroup.to_owned() }))
}

#[cfg(test)]
mod tests;
