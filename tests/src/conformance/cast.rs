//! Who is who in the table: the nodes, their networks, and the clients that cases name.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use maps_schema::address::Family;
use serde::Deserialize;
use serde_json::Value;

use super::scenario::Config;

/// From where the node sees a packet come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// From a pod of this node.
    Pod,
    /// From a process of this node, in its own network namespace.
    Node,
    /// From anywhere else: pods of other nodes are outside, too.
    Outside,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pod => "a pod",
            Self::Node => "the node",
            Self::Outside => "outside",
        })
    }
}

/// The world that every scenario happens in, in one family: `world.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// Which family this is; not written.
    #[serde(skip, default = "v4")]
    pub family: Family,
    /// The same in IPv6, where a scenario is in both families; not written.
    #[serde(skip)]
    pub other: Option<Box<Cast>>,
    /// The name of the node that shunt runs on.
    pub own_node: String,
    /// Its pods' network.
    pub pod_cidr: IpNet,
    /// The network of the other node's pods.
    pub other_pod_cidr: IpNet,
    /// The node's network, with the other node in it.
    pub node_network: IpNet,
    /// Its first address: the one that its Node object names.
    pub address: IpAddr,
    /// Another address of the node, on another of its interfaces.
    pub alternate: IpAddr,
    /// The network of that interface.
    pub alternate_network: IpNet,
    /// The address of the bridge of its pods.
    pub bridge: IpAddr,
    /// The other node's address.
    pub other_node: IpAddr,
    /// The next hop of all that is outside.
    pub gateway: IpAddr,
    /// What cases may say for an address after `from`.
    pub clients: BTreeMap<String, IpAddr>,
    /// The settings where a scenario does not say otherwise.
    pub config: Config,
    /// The Node objects; a scenario may have others of the same names.
    pub nodes: Vec<Value>,
}

fn v4() -> Family {
    Family::V4
}

impl Cast {
    /// The casts of all families that a scenario is in.
    pub fn families(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.other.as_deref())
    }

    /// The addresses of the node itself, but for loopback ones.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        self.families().flat_map(|cast| [cast.address, cast.alternate, cast.bridge]).collect()
    }

    /// Whether an address is the node's own.
    pub fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own_addresses().contains(&address)
    }

    /// Whether an address is a pod's, of this node.
    pub fn is_own_pod(&self, address: IpAddr) -> bool {
        self.families().any(|cast| cast.pod_cidr.contains(&address)) && !self.is_own(address)
    }

    /// From where the node sees packets of an address come.
    pub fn side_of(&self, address: IpAddr) -> Side {
        if self.is_own(address) {
            Side::Node
        } else if self.is_own_pod(address) {
            Side::Pod
        } else {
            Side::Outside
        }
    }

    /// Both families' casts as one, with all that this has and the other has.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut both = Self { other: Some(Box::new(other.clone())), ..self.clone() };
        both.config.service_cidrs.extend(&other.config.service_cidrs);
        for (node, other) in both.nodes.iter_mut().zip(&other.nodes) {
            for (one, list) in [("spec", "podCIDRs"), ("status", "addresses")] {
                let more = other[one][list].as_array().cloned().unwrap_or_default();
                if let Some(list) = node[one][list].as_array_mut() {
                    list.extend(more);
                }
            }
        }
        both
    }

    /// The address that `from` stands for.
    pub(super) fn client(&self, written: &str) -> Result<IpAddr, String> {
        if let Some(address) = self.clients.get(written) {
            return Ok(*address);
        }
        written.parse().map_err(|_| {
            let names: Vec<&str> = self.clients.keys().map(String::as_str).collect();
            format!("{written:?} is no address, and none of {}", names.join(", "))
        })
    }
}
