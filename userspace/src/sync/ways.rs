//! The ways to addresses: pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use foldhash::fast::RandomState;
use ipnet::IpNet;
use maps_schema::{
    address::PodLink,
    way::{NodeId, Way},
};

/// Which way leads where, beside the pods of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    pub(crate) own_addresses: BTreeSet<IpAddr>,
    pub(crate) own_pod_cidrs: Vec<IpNet>,
    pub(crate) networks: Networks,
    /// The nodes that have a number.
    pub(crate) nodes: BTreeSet<NodeId>,
    pub(crate) has_uplink: bool,
}

impl Ways {
    /// The way to an endpoint, which is the pod behind `pod` where there is one.
    ///
    /// A way of [`Way::Stack`] says that the node itself is the endpoint, or that it knows no better.
    /// An endpoint off the cluster that is not masqueraded therefore has another: by the node's
    /// routes, so that clients can be masqueraded whose answers are to come back this way. So has one
    /// in a range of cluster IPs: that no service has its address does not concern an endpoint.
    pub fn to(&self, address: IpAddr, pod: Option<PodLink>) -> Way {
        if let Some(link) = pod {
            return Way::Pod(link);
        }
        let is_own = self.own_addresses.contains(&address)
            || self.own_pod_cidrs.iter().any(|cidr| cidr.contains(&address));
        if is_own {
            return Way::Stack;
        }
        match self.networks.way(address) {
            None | Some(Way::Stack | Way::Nowhere) if self.has_uplink => Way::Route(NodeId::NONE),
            None | Some(Way::Nowhere) => Way::Stack,
            Some(way) => way,
        }
    }

    /// The other node that has an address in its networks.
    pub fn node_of(&self, address: IpAddr) -> Option<NodeId> {
        match self.networks.way(address) {
            Some(Way::Tunnel(node) | Way::Route(node)) => Some(node),
            _ => None,
        }
    }

    /// Whether there is another node of this number.
    pub fn is_node(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    /// Takes the ways to networks.
    pub(crate) fn set_networks(&mut self, networks: &BTreeMap<IpNet, Way>) {
        self.networks = Networks::new(networks);
    }
}

/// Prefixes by their lengths, the longest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(BTreeMap<Reverse<u8>, HashMap<IpNet, Way, RandomState>>);

impl Networks {
    fn new(networks: &BTreeMap<IpNet, Way>) -> Self {
        let mut by_length: BTreeMap<_, HashMap<_, _, _>> = BTreeMap::new();
        for (&network, &way) in networks {
            by_length.entry(Reverse(network.prefix_len())).or_default().insert(network, way);
        }
        Self(by_length)
    }

    /// The way to the longest prefix that holds an address.
    fn way(&self, address: IpAddr) -> Option<Way> {
        self.0.iter().find_map(|(Reverse(length), networks)| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            networks.get(&network).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use maps_schema::address::{IfIndex, Mac};

    use super::*;

    fn ways(networks: &[(&str, Way)], has_uplink: bool) -> Ways {
        let mut ways = Ways {
            own_addresses: BTreeSet::from(["172.18.0.2".parse().unwrap()]),
            own_pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            has_uplink,
            ..Ways::default()
        };
        ways.set_networks(
            &networks.iter().map(|(network, way)| (network.parse().unwrap(), *way)).collect(),
        );
        ways
    }

    #[test]
    fn the_longest_prefix_says_which_way() {
        let (two, three) = (Way::Tunnel(NodeId(2)), Way::Route(NodeId(3)));
        let networks = [
            ("0.0.0.0/0", Way::Outside),
            ("10.0.0.0/8", Way::Stack),
            ("10.244.2.0/24", two),
            ("10.244.2.128/25", three),
            ("10.96.0.0/16", Way::Nowhere),
            ("fd00:10:244:2::/64", two),
        ];
        let ways = ways(&networks, true);
        let table = [
            ("10.244.2.1", two),
            ("10.244.2.200", three),
            ("fd00:10:244:2::7", two),
            ("192.168.0.1", Way::Outside),
            // The node itself, and a pod of it that is not there yet.
            ("172.18.0.2", Way::Stack),
            ("10.244.1.5", Way::Stack),
            // Off the cluster, and not masqueraded.
            ("10.1.1.1", Way::Route(NodeId::NONE)),
            // A hand-made endpoint in a range of cluster IPs.
            ("10.96.0.1", Way::Route(NodeId::NONE)),
            ("fd00:172::1", Way::Route(NodeId::NONE)),
        ];
        for (address, way) in table {
            assert_eq!(ways.to(address.parse().unwrap(), None), way, "{address}");
        }
        assert_eq!(ways.node_of("10.244.2.1".parse().unwrap()), Some(NodeId(2)));
        assert_eq!(ways.node_of("10.1.1.1".parse().unwrap()), None);
    }

    #[test]
    fn a_node_without_uplinks_leaves_the_rest_to_its_kernel() {
        let ways = ways(&[("10.96.0.0/16", Way::Nowhere)], false);
        assert_eq!(ways.to("10.96.0.1".parse().unwrap(), None), Way::Stack);
        assert_eq!(ways.to("10.1.1.1".parse().unwrap(), None), Way::Stack);
    }

    #[test]
    fn a_pod_of_this_node_is_reached_directly() {
        let link = PodLink { interface: IfIndex::new(7), mac: Mac::from_bytes([2; 6]) };
        let ways = ways(&[("0.0.0.0/0", Way::Outside)], true);
        assert_eq!(ways.to("10.9.9.9".parse().unwrap(), Some(link)), Way::Pod(link));
    }
}
