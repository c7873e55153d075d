//! Nodes as the bridge plugin makes them, and routes or VXLAN between them: what kube-proxy's rules
//! stand on.

use super::{Contender, Routing};
use crate::{
    netns::NetNamespace,
    topology::{Pod, Topology, addresses, plain_vxlan},
};

/// The bridge of a node's pods.
const BRIDGE: &str = "cni0";

/// Makes the pods of a node, by their names, on a bridge.
pub(super) fn add_pods(topology: &Topology, node: usize, pods: &[Pod], mtu: u32) {
    let netns = topology.node(node).netns();
    let segment = addresses::pod_segment(node);
    let [gateway, _] = segment.host(1);
    netns.ip(&format!("link add {BRIDGE} mtu {mtu} type bridge"));
    netns.ip(&format!("address add {gateway}/24 dev {BRIDGE}"));
    netns.ip(&format!("link set {BRIDGE} up"));
    for pod in pods.iter().filter(|pod| pod.node == node) {
        let inside = NetNamespace::create(&namespace_of(pod));
        // The bridge plugin names host ends at random.
        let end = format!("veth-{}", pod.name);
        netns.ip(&format!(
            "link add {end} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
            inside.name()
        ));
        netns.ip(&format!("link set {end} master {BRIDGE} up"));
        let [own, _] = pod.addresses;
        inside.ip(&format!("address add {own}/24 dev eth0"));
        inside.ip("link set eth0 up");
        inside.ip(&format!("route add default via {gateway}"));
    }
    set(netns, "ipv4/ip_forward", "1");
}

/// The name of a pod's namespace: as an agent of shunt calls it.
fn namespace_of(pod: &Pod) -> String {
    format!("default.{}", pod.name)
}

/// Has two nodes reach each other's pods.
pub(super) fn join(topology: &Topology, routing: Routing) {
    for (node, other) in [(0, 1), (1, 0)] {
        match routing {
            Routing::Direct => {
                let [prefix, _] = addresses::pod_segment(other).prefixes();
                let [via, _] = addresses::node(other);
                topology.node(node).netns().ip(&format!("route add {prefix} via {via}"));
            }
            Routing::Vxlan => {
                let mac = plain_vxlan::mac_of_overlay(node);
                plain_vxlan::add_device(topology, node, &mac);
            }
        }
    }
}

/// Sends what is bridged through the rules of those who need it, as the kubelet demands where pods
/// are on a bridge: a pod's answer to a pod beside it would not be translated back otherwise.
pub(super) fn filter_what_is_bridged(netns: &NetNamespace, contender: Contender) {
    set(netns, "bridge/bridge-nf-call-iptables", if contender.tracks() { "1" } else { "0" });
}

/// The last parts of the addresses of the two ends of [`wire`].
pub(super) const WIRE_HOSTS: [u8; 2] = [10, 11];

/// Two namespaces, a client's and a server's, and a veth pair: the limit.
pub(super) fn wire() -> (NetNamespace, NetNamespace) {
    let ends = ["client", "server"].map(NetNamespace::create);
    ends[0].ip("link add eth0 type veth peer name eth0 netns server");
    for (end, host) in ends.iter().zip(WIRE_HOSTS) {
        let [address, _] = addresses::pod_segment(0).host(host);
        end.ip(&format!("address add {address}/24 dev eth0"));
        end.ip("link set eth0 up");
    }
    let [client, server] = ends;
    (client, server)
}

/// Has a namespace's connections be held back by nothing but each other: a machine may prefer
/// congestion control that sends by a timer. `reno` is the one that any namespace may choose.
pub(super) fn prepare_end(netns: &NetNamespace) {
    set(netns, "ipv4/tcp_congestion_control", "reno");
}

/// Prepares a namespace for clients that open many connections, the same for every contender: all
/// ports, used again a second after they were closed, and an error soon after a lost packet.
pub(super) fn prepare_client(netns: &NetNamespace) {
    prepare_end(netns);
    set(netns, "ipv4/ip_local_port_range", "1024 65535");
    set(netns, "ipv4/tcp_tw_reuse", "1");
    set(netns, "ipv4/tcp_syn_retries", "2");
}

/// Writes a setting below `/proc/sys/net`.
fn set(netns: &NetNamespace, path: &str, value: &str) {
    let path = format!("/proc/sys/net/{path}");
    netns
        .run(|| std::fs::write(&path, value))
        .unwrap_or_else(|error| panic!("writing {value} to {path}: {error}"));
}

/// How many connections the kernel tracks in a namespace.
pub(super) fn tracked(netns: &NetNamespace) -> u64 {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    let text = netns.run(|| std::fs::read_to_string(path));
    let text = text.unwrap_or_else(|error| panic!("reading {path}: {error}"));
    text.trim().parse().expect("a count is a number")
}
