//! How services are compiled, beside the objects.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// How services are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// Which addresses of the node answer on node ports.
    pub node_ports: NodePortAddresses,
    /// Which way answers take to clients outside.
    pub answers: AnswersOutside,
    /// Whether backends see the node's address in place of each client's that comes by a cluster
    /// IP (kube-proxy's `masqueradeAll`).
    pub masquerade_all: bool,
    /// Whether pods are told from the outside.
    pub local_traffic: LocalTraffic,
    /// The loopback addresses on which node ports answer too, to the node's own processes
    /// (kube-proxy's `localhostNodePorts`, which has it for IPv4 alone).
    pub loopback_node_ports: Vec<IpAddr>,
}

/// Which addresses of the node answer on node ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The first InternalIP of each family in its Node object.
    #[default]
    Primary,
    /// These.
    Chosen(Vec<IpAddr>),
}

impl NodePortAddresses {
    /// Those of the node's own addresses that are within networks; of a family without a network,
    /// all of them, as kube-proxy has it (`pkg/proxy/util/nodeport_addresses.go`). Loopback
    /// addresses never are among them: [`CompileOptions::loopback_node_ports`] is for those.
    pub fn within(own: &BTreeSet<IpAddr>, networks: &[IpNet]) -> Self {
        let is_chosen =
            |address: &&IpAddr| !address.is_loopback() && is_within(**address, networks);
        Self::Chosen(own.iter().filter(is_chosen).copied().collect())
    }
}

/// 127.0.0.1 and ::1, as far as they are within networks; those of a family without a network are.
pub fn loopback_within(networks: &[IpNet]) -> Vec<IpAddr> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    loopback.into_iter().filter(|address| is_within(*address, networks)).collect()
}

/// Whether an address is within one of these networks, or none of them is of its family.
fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    let of_its_family = |network: &&IpNet| network.addr().is_ipv4() == address.is_ipv4();
    let mut candidates = networks.iter().filter(of_its_family).peekable();
    candidates.peek().is_none() || candidates.any(|network| network.contains(&address))
}

/// Which way answers take to clients outside, where the external traffic policy is `Cluster`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswersOutside {
    /// By the node that the client has sent to, whose address the backend sees.
    #[default]
    ByTheFirstNode,
    /// From the backend's node, which sees the client's address (direct server return).
    Direct,
}

/// Whether pods are told from the outside: kube-proxy's local traffic detector
/// (`pkg/proxy/util/localdetector.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalTraffic {
    /// The node's pods are local: by a cluster IP they keep their addresses, which nobody else does,
    /// and an external traffic policy of `Local` does not concern them.
    #[default]
    Pods,
    /// Nobody is: whoever comes by a cluster IP keeps its address, and to pods, too, an external
    /// traffic policy of `Local` leaves this node's endpoints only. The node's own processes reach
    /// all of the cluster's, as ever.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(networks: &[&str]) -> Vec<String> {
        let own = ["127.0.0.1", "172.18.0.1", "192.168.1.1", "::1", "fd00:172::1", "fd00:900::1"];
        let own = own.map(|address| address.parse().unwrap()).into();
        let networks: Vec<IpNet> =
            networks.iter().map(|network| network.parse().unwrap()).collect();
        match NodePortAddresses::within(&own, &networks) {
            NodePortAddresses::Chosen(chosen) => chosen.iter().map(ToString::to_string).collect(),
            NodePortAddresses::Primary => panic!(),
        }
    }

    #[test]
    fn node_ports_answer_within_networks_and_on_all_of_a_family_without_any() {
        let (v4, v6) = (["172.18.0.1", "192.168.1.1"], ["fd00:172::1", "fd00:900::1"]);
        assert_eq!(chosen(&["172.18.0.0/16"]), [&v4[..1], &v6].concat());
        assert_eq!(chosen(&["172.18.0.0/16", "fd00:900::/64"]), [v4[0], v6[1]]);
        assert_eq!(chosen(&["fd00:900::/64"]), [&v4, &v6[1..]].concat());
        assert_eq!(chosen(&["0.0.0.0/0", "::/0"]), [v4, v6].concat());
        assert_eq!(chosen(&["127.0.0.0/8", "::1/128"]), Vec::<String>::new());
    }

    #[test]
    fn loopback_addresses_are_chosen_as_others_are() {
        let [v4, v6]: [IpAddr; 2] = ["127.0.0.1", "::1"].map(|it| it.parse().unwrap());
        let chosen = |networks: &[&str]| -> Vec<IpAddr> {
            let networks: Vec<IpNet> =
                networks.iter().map(|network| network.parse().unwrap()).collect();
            loopback_within(&networks)
        };
        assert_eq!(chosen(&[]), [v4, v6]);
        assert_eq!(chosen(&["172.18.0.0/16"]), [v6]);
        assert_eq!(chosen(&["172.18.0.0/16", "127.0.0.0/8", "fd00:172::/64"]), [v4]);
        assert_eq!(chosen(&["0.0.0.0/0", "::1/128"]), [v4, v6]);
    }
}
