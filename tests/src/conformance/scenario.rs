//! Scenarios without shorthand: objects, settings, and cases in their order.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use maps_schema::address::Family;
use serde::Deserialize;
use serde_json::Value;

use super::packet::{Fate, Packet};

/// The ways that a case is carried out, and the reference models and oracles it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The reference model.
    Model,
    /// The agent's compiler and the datapath, as native code.
    Native,
    /// The same tables, and the programs in the kernel.
    Kernel,
    /// The kernel's own NAT, by rules as kube-proxy makes them.
    Oracle,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Model, Self::Native, Self::Kernel, Self::Oracle];

    /// As the table writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Native => "native",
            Self::Kernel => "kernel",
            Self::Oracle => "oracle",
        }
    }
}

/// The modes of kube-proxy that cases are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proxy {
    /// Mode `iptables`.
    Iptables,
    /// Mode `nftables`.
    Nftables,
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

/// Settings, by the names of the agent's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `--detect-local`.
    pub detect_local: DetectLocal,
    /// `--localhost-node-ports`.
    pub localhost_node_ports: bool,
    /// `--node-port-addresses`.
    pub node_port_addresses: NodePortAddresses,
    /// `--service-cidrs`.
    pub service_cidrs: Vec<IpNet>,
}

/// `--detect-local`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DetectLocal {
    /// What the node's own pods send is local.
    #[default]
    Pods,
    /// Nothing is.
    Off,
}

/// `--node-port-addresses`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum NodePortAddresses {
    /// `primary`: those that the Node object names.
    #[default]
    #[serde(skip)]
    Primary,
    /// The node's addresses in these networks; all of a family that none of them is of.
    Within(Vec<IpNet>),
}

/// Objects, settings, and what then becomes of packets.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file, without its ending.
    pub file: String,
    /// Its name, unique in the file and family, with the name of the variant.
    pub name: String,
    /// Its name without the variant's.
    pub title: String,
    /// The family that it is in; the first of two where it is in both at once.
    pub family: Family,
    /// The families that it is in.
    pub families: Vec<Family>,
    /// Whether it has no twin in the other family.
    pub without_twin: bool,
    /// The part of section 1 of the semantics that it shows, as in `1.4`.
    pub section: String,
    /// What field or behaviour it is about.
    pub field: String,
    /// What shunt does, in a sentence; empty where `title` says it all.
    pub says: String,
    /// The test of kube-proxy's that it restates.
    pub upstream: Option<Upstream>,
    /// The settings.
    pub config: Config,
    /// What happens, in this order; the first sets the objects that are there at the beginning.
    pub steps: Vec<Step>,
    /// Whether the cases of a step are one sequence: each sees what those before it left behind.
    pub sequence: bool,
}

impl Scenario {
    /// Whether it is as it is written, and no twin.
    pub fn is_written(&self) -> bool {
        self.without_twin || self.family == Family::V4
    }

    /// A name that no other scenario has.
    pub fn id(&self) -> String {
        format!("{}: {} {:?}", self.file, self.name, self.families)
    }
}

/// A test of kube-proxy's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name, without `Test`.
    pub test: String,
    /// The modes that have it.
    pub proxies: Vec<Proxy>,
    /// The modes that have it in IPv6, too.
    #[serde(default)]
    pub ipv6: Vec<Proxy>,
}

/// Changes, and the cases that hold after them.
#[derive(Clone, Debug)]
pub struct Step {
    /// What has happened, where it is not the first step.
    pub name: String,
    /// How long nothing happens before.
    pub wait_seconds: u32,
    /// Objects that are new or changed.
    pub set: Vec<Value>,
    /// Objects that are gone.
    pub remove: Vec<ObjectRef>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// An object by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for those that are in none.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectRef {
    /// The name of an object.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = text(&object["kind"]);
        let namespace = text(&object["metadata"]["namespace"]);
        let namespace = match (kind.as_str(), namespace.as_str()) {
            ("Node" | "ServiceCIDR", _) => String::new(),
            (_, "") => "default".to_owned(),
            _ => namespace,
        };
        Self { kind, namespace, name: text(&object["metadata"]["name"]) }
    }
}

/// One packet and its fate.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name, unique in the scenario.
    pub name: String,
    /// The part of section 1 that it shows.
    pub section: String,
    /// How long nothing happens before.
    pub after_seconds: u32,
    /// The packet.
    pub packet: Packet,
    /// What becomes of it.
    pub expected: Expected,
    /// The case of this step whose backend it must get, too.
    pub sticks_to: Option<String>,
    /// In which modes of kube-proxy something else becomes of it.
    pub differs: BTreeMap<Proxy, Difference>,
    /// Why it is not carried out in some ways.
    pub skip: BTreeMap<Way, String>,
    /// The modes of kube-proxy whose test has this row.
    pub upstream: Vec<Proxy>,
}

impl Case {
    /// What a mode of kube-proxy does with the packet.
    pub fn expected_of(&self, proxy: Proxy) -> &Expected {
        self.differs.get(&proxy).map_or(&self.expected, |difference| &difference.expected)
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What may become of it, all of which does happen.
    pub fate: Fate,
    /// Whether the backend sees another source address than the sender's: one of the node's own.
    pub masquerade: bool,
}

/// What a mode of kube-proxy does otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What becomes of the packet there.
    pub expected: Expected,
    /// Why it is otherwise here.
    pub because: String,
}
