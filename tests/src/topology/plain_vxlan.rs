//! A node without shunt: the kernel's own VXLAN device, routes and neighbours, as an administrator
//! would set them up by hand.

use std::net::IpAddr;

use crate::{
    manifests,
    netns::NetNamespace,
    topology::{Topology, addresses},
};

/// The hardware address of the peer's VXLAN device.
pub const MAC: &str = "02:00:00:00:00:99";

/// A plain peer with one pod behind it.
#[derive(Debug)]
pub struct PlainPeer {
    /// The namespace of its pod.
    pub pod: NetNamespace,
    /// The addresses of its pod, IPv4 first.
    pub addresses: [IpAddr; 2],
}

impl PlainPeer {
    /// Makes a node of the topology, whose agent is never started, a plain VXLAN peer of all other
    /// nodes, over IPv4, and says so in its Node.
    pub fn set_up(stage: &Topology, node: usize) -> Self {
        Self::set_up_as(stage, node, MAC)
    }

    /// The same with another hardware address. With that of [`mac_of_overlay`], two plain peers
    /// reach each other.
    pub fn set_up_as(stage: &Topology, node: usize, mac: &str) -> Self {
        let netns = stage.node(node).netns();
        add_device(stage, node, mac);
        let manifest = manifests::with_vtep(stage.node_manifest(node), mac);
        stage.manifests.write(&stage.node_file(node), &[manifest]);
        let pod = add_pod(netns, node);
        Self { pod, addresses: addresses::pod_segment(node).host(10) }
    }
}

/// Gives a node the kernel's own VXLAN device, and routes over it to the pods of all other nodes.
pub fn add_device(stage: &Topology, node: usize, mac: &str) {
    let netns = stage.node(node).netns();
    let [underlay, _] = addresses::node(node);
    netns.ip(&format!(
        "link add vxlan1 address {mac} mtu 1450 type vxlan id 1 dstport 8472 local {underlay} \
         nolearning"
    ));
    netns.ip("link set vxlan1 up");
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{path}");
        netns.run(|| std::fs::write(path, "1")).expect("making the peer forward");
    }
    for other in (0..stage.network.nodes()).filter(|other| *other != node) {
        reach(netns, other);
    }
}

/// The way to the pods of another node: a route over a neighbour that stands for its device.
fn reach(netns: &NetNamespace, other: usize) {
    let mac = mac_of_overlay(other);
    let [underlay, _] = addresses::node(other);
    let segment = addresses::pod_segment(other);
    crate::process::must(
        netns
            .command("bridge")
            .args(["fdb", "add", &mac, "dev", "vxlan1"])
            .args(["dst".to_owned(), underlay.to_string()]),
    );
    for (prefix, via) in segment.prefixes().iter().zip(segment.host(0)) {
        netns.ip(&format!("neighbour add {via} lladdr {mac} dev vxlan1 nud permanent"));
        netns.ip(&format!("route add {prefix} via {via} dev vxlan1 onlink"));
    }
}

/// The hardware address of shunt's overlay device on a node: made from the address that the node
/// has in the network below.
pub fn mac_of_overlay(node: usize) -> String {
    let [IpAddr::V4(underlay), _] = addresses::node(node) else {
        unreachable!("a node's first address is an IPv4 address")
    };
    let [a, b, c, d] = underlay.octets();
    format!("02:73:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A namespace behind the peer, on a wire of its own.
fn add_pod(netns: &NetNamespace, node: usize) -> NetNamespace {
    let name = format!("plain-pod-{node}");
    let pod = NetNamespace::create(&name);
    let segment = addresses::pod_segment(node);
    netns.ip(&format!("link add to-pod type veth peer name eth0 netns {name}"));
    for (gateway, own) in segment.host_with_length(1).iter().zip(segment.host_with_length(10)) {
        let no_dad = if own.contains(':') { "nodad" } else { "" };
        netns.ip(&format!("address add {gateway} dev to-pod {no_dad}"));
        pod.ip(&format!("address add {own} dev eth0 {no_dad}"));
    }
    netns.ip("link set to-pod up");
    pod.ip("link set eth0 mtu 1450 up");
    for gateway in segment.host(1) {
        pod.ip(&format!("route add default via {gateway}"));
    }
    pod
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_overlays_hardware_address_holds_the_nodes_address() {
        assert_eq!(super::mac_of_overlay(1), "02:73:ac:1e:02:02");
    }
}
