//! What the agent is told: layers of raw [`Settings`] in, one validated [`AgentConfig`] out.
//!
//! A flag is stronger than an environment variable, which is stronger than the config file, which
//! is stronger than the default.

pub mod bind_address;
pub mod environment;
mod file;
mod interfaces;
mod not_yet;
mod object_source;
mod print;
pub mod settings;
pub mod values;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use maps_schema::maps::Limits;
pub use object_source::ObjectSource;
pub use print::default_config;
pub use settings::{InterfaceName, LoadBalancerMode, Routing, Settings, TcChoice, XdpMode};
use settings::{InterfaceNames, LogLevel, SocketLbScope};
use values::Cidrs;
pub use values::{DetectLocal, NodePortAddresses, PodMtu, PortRange};

use crate::mounts;

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
}

/// Who is answered over the network, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations {
    /// Where load balancers and the kubelet ask.
    pub healthz: Option<SocketAddr>,
    /// Where metrics are shown.
    pub metrics: Option<SocketAddr>,
    /// What happens where it cannot be listened there.
    pub bind_failure: BindFailure,
    /// How long a change may take to be in force.
    pub health_timeout: Duration,
    /// How many service ports may have metrics of their own.
    pub max_service_metrics: u32,
}

/// What happens where an address cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindFailure {
    /// It is tried again.
    IsTriedAgain,
    /// The agent ends.
    EndsTheAgent,
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

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An environment variable's value is no value of the setting.
    #[error("environment variable {variable}={value}: {reason}")]
    Environment {
        /// The variable.
        variable: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The config file cannot be read.
    #[error("reading config file {}", path.display())]
    FileNotRead {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The config file is no TOML, or a value in it is none of the setting's.
    #[error("{}:{line}: {key}{message}", path.display())]
    FileNotUnderstood {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key and a colon, where known.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// The config file has a key that is no setting.
    #[error("{}: unknown key `{key}`: {}", path.display(), suggestion(near.as_deref()))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The key that was likely meant.
        near: Option<String>,
    },
    /// This version does not carry the setting.
    #[error("--{key}: not in this version: {instead}")]
    NotInThisVersion {
        /// The setting.
        key: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A setting without default is given nowhere.
    #[error(
        "--{key} is missing: give the flag, key `{key}` of the config file, or {}",
        environment::variable(key)
    )]
    Missing {
        /// The setting.
        key: &'static str,
    },
    /// There is nowhere for objects to come from.
    #[error(
        "no source of objects: give --manifests DIR, --kubeconfig FILE or --in-cluster, as a flag, a \
         key of the config file, or a variable such as SHUNT_MANIFESTS"
    )]
    NoSource,
    /// Objects come from one place.
    #[error("--{one} and --{other}: objects come from one of them; leave the other out")]
    TwoSources {
        /// One setting.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The node's name cannot be a Kubernetes name.
    #[error(
        "--node-name `{0}`: a Node's name has at most 253 letters, digits, `-` and `.`, and begins \
         and ends with a letter or digit"
    )]
    NodeName(String),
    /// A limit is larger than maps can be.
    #[error("--{key} {value}: at most {MAX_LIMIT}")]
    Limit {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: u32,
    },
    /// NodePorts on loopback addresses are served at the socket alone.
    #[error(
        "--localhost-node-ports: NodePorts are served on loopback addresses by --socket-lb only: \
         say --socket-lb host, or leave --localhost-node-ports out"
    )]
    LocalhostNodePorts,
    /// There is no cgroup2 to attach to.
    #[error(
        "no cgroup2 is mounted, and --socket-lb needs one: mount it (mount -t cgroup2 none DIR), \
         name it with --cgroup DIR, or say --socket-lb off"
    )]
    NoCgroup,
}

fn suggestion(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys are {}", file::keys().join(", ")),
    }
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
    // Where the mounts cannot be read there is no cgroup to be found; the error says what to do.
    let mounts = mounts::mounts().unwrap_or_default();
    AgentConfig::resolve(flags, environment, file, mounts::cgroup2_root(&mounts))
}

impl AgentConfig {
    /// Joins the layers and validates what comes out. `cgroup2_root` is where the cgroup2
    /// hierarchy is mounted.
    pub fn resolve(
        flags: Settings,
        environment: Settings,
        file: Settings,
        cgroup2_root: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let settings = flags.over(environment).over(file).over(Settings::defaults());
        let effective = settings.clone();
        not_yet::refuse(&settings)?;

        let source = ObjectSource::resolve(&settings)?;
        let socket_lb = socket_lb(&settings, cgroup2_root)?;
        let has_socket_lb = socket_lb.is_some();
        Ok(Self {
            node_name: node_name(&required("node-name", settings.node_name)?)?,
            source,
            run_dir: required("run-dir", settings.run_dir)?,
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
            tc: required("tc", settings.tc)?,
            limits: Limits {
                services: limit("max-services", settings.max_services)?,
                endpoints: limit("max-endpoints", settings.max_endpoints)?,
                connections: limit("max-connections", settings.max_connections)?,
            },
            operations: operations(&effective)?,
            log: required::<LogLevel>("log", settings.log)?.into(),
            effective,
        })
    }
}

fn operations(settings: &Settings) -> Result<Operations, ConfigError> {
    let timeout = required("health-timeout", settings.health_timeout)?.get();
    Ok(Operations {
        healthz: required("healthz-bind-address", settings.healthz_bind_address)?.address(),
        metrics: required("metrics-bind-address", settings.metrics_bind_address)?.address(),
        bind_failure: match settings.bind_address_hard_fail {
            Some(true) => BindFailure::EndsTheAgent,
            _ => BindFailure::IsTriedAgain,
        },
        health_timeout: Duration::from_secs(timeout.into()),
        max_service_metrics: required("max-service-metrics", settings.max_service_metrics)?,
    })
}

fn localhost_node_ports(asked: Option<bool>, has_socket_lb: bool) -> Result<bool, ConfigError> {
    match asked {
        Some(true) if !has_socket_lb => Err(ConfigError::LocalhostNodePorts),
        asked => Ok(asked == Some(true)),
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

/// A Kubernetes name (a DNS subdomain), in lower case as the kubelet makes it.
fn node_name(given: &str) -> Result<String, ConfigError> {
    let name = given.to_lowercase();
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() <= 253 && name.split('.').all(label_is_good) {
        Ok(name)
    } else {
        Err(ConfigError::NodeName(given.to_owned()))
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
