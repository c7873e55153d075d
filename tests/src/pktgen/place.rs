//! Where packets come to a node, and where they end.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use maps_schema::address::Family;
use serde_json::Value;

use super::{Contender, Way};
use crate::{
    bpf_objects::files_below,
    manifests::{self, ip},
    netns::NetNamespace,
    node::Node,
    oracle::world,
    process,
};

/// The node, its addresses, and the addresses of its pods.
pub(super) const NODE: &str = "node1";
pub(super) const NODE_ADDRESSES: [&str; 2] = ["172.30.1.2", "fd00:172:30:1::2"];
pub(super) const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

/// The port of every Service, of UDP.
pub(super) const PORT: u16 = 80;
/// The port of endpoints.
pub(super) const TARGET_PORT: u16 = 8080;

/// A node with Services, a sender before it and an end behind it.
pub(super) trait Place {
    /// Which way packets go.
    fn way(&self) -> Way;

    /// The node's namespace.
    fn netns(&self) -> &NetNamespace;

    /// The interface of the node that packets come by.
    fn arrival(&self) -> String;

    /// The objects of all Services.
    fn objects(&self) -> &[Value];

    /// All Services with their addresses and endpoints, in a family.
    fn services(&self, family: Family) -> Vec<(SocketAddr, Vec<SocketAddr>)>;

    /// The namespace from whose `eth0` packets are sent.
    fn sender(&self) -> NetNamespace;

    /// The sender's address.
    fn source(&self, family: Family) -> IpAddr;

    /// Where the Service is asked that is in the middle: where rules are in a row, half of them are
    /// before it.
    fn service(&self, family: Family) -> SocketAddr;

    /// The address of an endpoint.
    fn endpoint(&self, family: Family) -> IpAddr;

    /// The hardware address that packets are sent to.
    fn next_hop(&self, contender: Contender) -> String;

    /// Has the sender and an endpoint exchange a datagram each, from this port.
    fn establish(&self, to: SocketAddr, port: u16);

    /// Where packets end: they are dropped there, before a stack sees them, and counted.
    fn ends(&self) -> Vec<(NetNamespace, &'static str)>;

    /// Whether rules see what passes the bridge, as they must where answers pass it: "1" or "0".
    fn rules_see_bridged_packets(&self, value: &'static str);
}

/// A Service, and its slices, one for each family; its endpoints are on one node.
pub(super) fn service(number: u32, node: &str, endpoints: &[Vec<IpAddr>; 2]) -> [Value; 3] {
    let name = format!("service-{number:05}");
    let ports = [("ask", "UDP", u32::from(PORT), u32::from(TARGET_PORT))];
    let mut service = manifests::service(&name, &texts(&cluster_ips(number)), &ports);
    // Its pods are those in its slices.
    service["spec"]["selector"] = Value::Null;
    let slice = |family: Family| {
        let label = format!("{name}-{}", index(family));
        let ports = [("ask", "UDP", TARGET_PORT)];
        manifests::slice(&label, &name, node, &texts(&endpoints[index(family)]), &ports)
    };
    [service, slice(Family::V4), slice(Family::V6)]
}

/// The addresses of a Service.
pub(super) fn cluster_ips(number: u32) -> [IpAddr; 2] {
    let (high, low) = (number / 250, number % 250 + 1);
    [ip(&format!("10.96.{high}.{low}")), ip(&format!("fd00:10:96::{high:x}:{low:x}"))]
}

/// Detaches shunt's programs from everything, and has the node forward as one with a bridge plugin
/// does.
pub(super) fn leave_to_others(node: &Node) {
    // Links end with their pins, and programs with their links.
    for pin in files_below(node.bpffs()) {
        fs::remove_file(&pin).expect("removing a pin");
    }
    world::set(
        node.netns(),
        &[
            ("ipv4/ip_forward".into(), "1"),
            ("ipv6/conf/all/forwarding".into(), "1"),
            ("ipv4/conf/all/rp_filter".into(), "0"),
            ("ipv4/conf/all/send_redirects".into(), "0"),
        ],
    );
}

/// Has a namespace know the hardware address behind an address for good.
pub(super) fn remember(netns: &NetNamespace, address: IpAddr, hardware: &str, interface: &str) {
    let neighbour = format!("{address} lladdr {hardware} dev {interface} nud permanent");
    netns.ip(&format!("neigh replace {neighbour}"));
}

/// Has an interface drop what it receives.
pub(super) fn drop_at(netns: &NetNamespace, interface: &str) {
    let tc = |arguments: &str| {
        process::must(netns.command("tc").args(arguments.split_whitespace()));
    };
    tc(&format!("qdisc add dev {interface} clsact"));
    tc(&format!("filter add dev {interface} ingress matchall action drop"));
}

/// Undoes [`drop_at`].
pub(super) fn hear_at(netns: &NetNamespace, interface: &str) {
    process::must(netns.command("tc").args(["qdisc", "delete", "dev", interface, "clsact"]));
}

/// How many packets [`drop_at`] has dropped.
pub(super) fn dropped_at(netns: &NetNamespace, interface: &str) -> u64 {
    let printed = process::must(
        netns.command("tc").args(["-s", "-j", "filter", "show", "dev", interface, "ingress"]),
    );
    let filters: Value = serde_json::from_str(&printed).expect("tc prints JSON");
    let mut filters = filters.as_array().into_iter().flatten();
    filters
        .find_map(|filter| filter.pointer("/options/actions/0/stats/packets")?.as_u64())
        .unwrap_or_else(|| panic!("no count in {printed}"))
}

/// The hardware address of an interface.
pub(super) fn hardware_address(netns: &NetNamespace, interface: &str) -> String {
    let printed = netns.ip(&format!("-j link show {interface}"));
    let link: Value = serde_json::from_str(&printed).expect("ip prints JSON");
    link[0]["address"].as_str().expect("an interface has one").to_owned()
}

/// Addresses as manifests have them.
pub(super) fn texts(addresses: &[IpAddr]) -> Vec<&'static str> {
    addresses.iter().map(|address| &*address.to_string().leak()).collect()
}

/// IPv4 is first wherever both families are.
pub(super) fn index(family: Family) -> usize {
    usize::from(family == Family::V6)
}
