//! Datagrams that are larger than what the way carries.

use std::{net::SocketAddr, time::Duration};

use tests::{
    manifests,
    netns::NetNamespace,
    one_node::{TARGET_PORT, web},
    process::finish,
    topology::{DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, outside_at},
    traffic::{
        client, from_port,
        icmp::{EchoOutcome, echo_of},
        server::Server,
    },
};

const PORT: u16 = 8080;
const CLIENT_PORT: u16 = 45_678;

/// A backend on the first node or on the second, a client on the first, and node ports.
fn stage(backend: usize, routing: [&str; 2]) -> Option<(Topology, Pod, Pod, [Server; 2])> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let (a, client) = (stage.add_pod("a", backend, "web"), stage.add_pod("client", 0, "client"));
    let _other = stage.add_pod("other", 1, "client");
    stage.write_web(|service| manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]));
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some((stage, a, client, servers))
}

/// Datagrams of several sizes arrive whole, and their answers, which are a little longer.
///
/// One of each size may be lost: where its fragments fit the sender's link and no later one, its
/// loss is what the sender learns from.
fn assert_whole(from: &NetNamespace, target: SocketAddr, may_teach: bool) {
    // The last is as much as an answer can be.
    for bytes in [1400, 1473, 3000, 5000, 65_000] {
        let ask = || client::ask_udp_of(target, bytes);
        let answer = from.run(|| if may_teach { ask().or_else(|_| ask()) } else { ask() });
        let what = format!("{bytes} bytes from {} to {target}", from.name());
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((answer.server.as_str(), answer.line.len()), ("a", bytes), "{what}");
    }
}

fn assert_services_carry_large_datagrams(backend: usize, routing: [&str; 2]) {
    let Some((stage, a, client, _servers)) = stage(backend, routing) else { return };
    for target in web().into_iter().chain(a.at(TARGET_PORT)) {
        assert_whole(&client.netns(), target, false);
    }
    for node in 0..2 {
        let through_tunnel = routing == VXLAN && node != backend;
        for target in stage.node_port(node) {
            assert_whole(stage.network.outside(), target, through_tunnel);
        }
    }
    for address in a.addresses {
        for bytes in [2000, 5000] {
            assert_eq!(client.netns().run(|| echo_of(address, bytes)), EchoOutcome::Reply);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn large_datagrams_reach_a_backend_of_the_same_node() {
    assert_services_carry_large_datagrams(0, VXLAN);
}

#[test]
#[ignore = "needs root"]
fn large_datagrams_reach_a_backend_through_the_overlay() {
    assert_services_carry_large_datagrams(1, VXLAN);
}

#[test]
#[ignore = "needs root"]
fn large_datagrams_reach_a_backend_by_direct_routes() {
    assert_services_carry_large_datagrams(1, DIRECT);
}

#[test]
#[ignore = "needs root"]
fn large_datagrams_are_masqueraded() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let client = stage.add_pod("client", 0, "client");
    stage.start(&VXLAN);
    let _servers = stage.serve_outside(PORT);
    for (target, node) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        let answer = client.netns().run(|| client::ask_udp_of(target, 5000)).expect("an answer");
        assert_eq!((answer.line.len(), answer.client.ip()), (5000, node));
        let outcome = client.netns().run(|| echo_of(target.ip(), 5000));
        assert_eq!(outcome, EchoOutcome::Reply, "{target}");
    }
}

/// Sends one datagram in fragments of 1,000 bytes, in the order that it is told.
const SCRIPT: &str = r"
import sys
from scapy.all import *
source, target, gateway, own, order = sys.argv[1:6]
source_port, target_port, number = (int(text) for text in sys.argv[6:9])
payload = (b'shunt-fragments.' * 188)[:3000]
datagram = UDP(sport=source_port, dport=target_port) / payload
if ':' in target:
    packet = IPv6(src=source, dst=target) / IPv6ExtHdrFragment(id=number) / datagram
    fragments = fragment6(packet, 1048)
else:
    fragments = fragment(IP(src=source, dst=target, id=number) / datagram, fragsize=1000)
assert len(fragments) >= 3, fragments
if order == 'reversed':
    fragments = fragments[::-1]
elif order == 'middle-first':
    fragments = fragments[1:] + fragments[:1]
for piece in fragments:
    sendp(Ether(src=own, dst=gateway) / piece, iface='eth0', verbose=False)
";

/// Sends a datagram of 3,000 bytes in pieces from a namespace to a service, and waits for the
/// answer on a socket of the same port.
fn assert_pieces_arrive(from: &NetNamespace, own: std::net::IpAddr, target: SocketAddr) {
    let run = |arguments: &[&str]| from.ip(&arguments.join(" "));
    // Something has to have asked for the gateway's hardware address before.
    from.run(|| client::ask_udp_connected(target)).expect("an answer to a small datagram");
    let gateway = gateway_mac(from, target);
    let link: serde_json::Value =
        serde_json::from_str(&run(&["-j", "link", "show", "dev", "eth0"])).expect("JSON");
    let mac = link[0]["address"].as_str().expect("eth0 has a hardware address");
    // Each with an identification of its own, so that none finds what the one before left.
    for (number, order) in ["in-order", "reversed", "middle-first"].into_iter().enumerate() {
        let socket = from.run(|| from_port::datagrams(CLIENT_PORT, target)).expect("a socket");
        let mut python = from.command("/usr/bin/python3");
        python.args(["-c", SCRIPT, &own.to_string(), &target.ip().to_string(), &gateway, mac]);
        python.args([order, &CLIENT_PORT.to_string(), &target.port().to_string()]);
        python.arg((1000 + number).to_string());
        let finished = finish(&mut python, Duration::from_secs(20));
        assert_eq!(finished.code, 0, "{finished:?}");
        let mut buffer = vec![0; 65536];
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{order}: no answer from {target} to {own}: {error}"));
        let answer = String::from_utf8_lossy(&buffer[..length]);
        assert!(answer.len() > 3000 && answer.starts_with("a "), "{order}: {answer}");
    }
}

/// The hardware address of the next hop.
fn gateway_mac(from: &NetNamespace, target: SocketAddr) -> String {
    let route: serde_json::Value =
        serde_json::from_str(&from.ip(&format!("-j route get {}", target.ip()))).expect("JSON");
    let gateway = route[0]["gateway"].as_str().expect("a gateway").to_owned();
    let neighbour: serde_json::Value =
        serde_json::from_str(&from.ip(&format!("-j neighbour show {gateway} dev eth0")))
            .expect("JSON");
    neighbour[0]["lladdr"].as_str().unwrap_or_else(|| panic!("{neighbour}")).to_owned()
}

#[test]
#[ignore = "needs root"]
fn fragments_out_of_order_reach_a_cluster_ip() {
    let Some((_stage, _a, client, _servers)) = stage(0, VXLAN) else { return };
    for (target, own) in web().into_iter().zip(client.addresses) {
        assert_pieces_arrive(&client.netns(), own, target);
    }
}

#[test]
#[ignore = "needs root"]
fn fragments_out_of_order_reach_a_cluster_ip_of_another_node() {
    let Some((_stage, _a, client, _servers)) = stage(1, VXLAN) else { return };
    for (target, own) in web().into_iter().zip(client.addresses) {
        assert_pieces_arrive(&client.netns(), own, target);
    }
}

#[test]
#[ignore = "needs root"]
fn fragments_out_of_order_reach_a_node_port() {
    for routing in [VXLAN, DIRECT] {
        std::thread::spawn(move || {
            let Some((stage, _a, _client, _servers)) = stage(1, routing) else { return };
            for node in 0..2 {
                for (target, own) in stage.node_port(node).into_iter().zip(addresses::outside()) {
                    assert_pieces_arrive(stage.network.outside(), own, target);
                }
            }
        })
        .join()
        .expect("both modes carry them");
    }
}

#[test]
#[ignore = "needs root"]
fn without_shunt_hosts_get_the_same_datagrams_whole() {
    let Some(stage) = Topology::new(Layout::routed(1)) else { return };
    let _servers = stage.serve_on_node(0, "a", PORT);
    let outside = stage.network.outside();
    for (node, own) in addresses::node(0).into_iter().zip(addresses::outside()) {
        let target = SocketAddr::new(node, PORT);
        assert_whole(outside, target, false);
        assert_pieces_arrive(outside, own, target);
    }
}
