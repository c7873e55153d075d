//! Why settings are refused.

use std::{io, path::PathBuf};

use super::{MAX_LIMIT, environment, file, kube_proxy::KubeProxyConfigError};

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
    /// The KubeProxyConfiguration cannot be used.
    #[error(transparent)]
    KubeProxyConfig(#[from] KubeProxyConfigError),
    /// Where objects come from an API server, pods are made by others, and DNS is a pod.
    #[error(
        "--dns and --{source_key}: a cluster with an API server has its DNS from pods of its own, as \
         CoreDNS; leave --dns out, or say --manifests DIR"
    )]
    DnsOfACluster {
        /// The setting that names the API server.
        source_key: &'static str,
    },
    /// Nobody asks an upstream.
    #[error("--dns-upstream: it takes --dns: say that too, or leave --dns-upstream out")]
    UpstreamWithoutDns,
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
