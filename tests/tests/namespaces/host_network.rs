//! Backends on the network of their node, asked from pods and processes of that node and of another.

use std::net::SocketAddr;

use serde_json::Value;
use tests::{
    manifests,
    netns::NetNamespace,
    one_node::{TARGET_PORT, web},
    topology::{
        DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses,
        vips::{EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::{
        Protocol, client,
        fate::{assert_fate, by},
        server::Server,
    },
};

/// Service `web` over a process of the second node, and a client pod on each node.
fn cluster(
    routing: [&str; 2],
    change: impl FnOnce(Value) -> Value,
) -> Option<(Topology, [Pod; 2], [Server; 2])> {
    let mut stage = Topology::new(Layout::routed(2))?;
    stage.add_host_pod("host", 1, "web");
    let clients = [0, 1].map(|node| stage.add_pod(&format!("client-{node}"), node, "client"));
    stage.write_web(change);
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&addresses::node(1));
    let servers = stage.serve_on_node(1, "host", TARGET_PORT);
    Some((stage, clients, servers))
}

fn assert_reached(routing: [&str; 2]) {
    let Some((stage, clients, _servers)) = cluster(routing, exposed) else { return };
    let others =
        [targets(LOAD_BALANCER), targets(EXTERNAL), stage.node_port(0), stage.node_port(1)];
    for (node, pod) in clients.iter().enumerate() {
        for from in [&pod.netns(), stage.node(node).netns()] {
            assert_fate(&format!("{routing:?}, ClusterIP"), from, &web(), &by(&["host"]));
            for targets in &others {
                assert_fate(&format!("{routing:?}"), from, targets, &by(&["host"]));
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn they_are_reached_at_every_address_with_the_overlay() {
    assert_reached(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn they_are_reached_at_every_address_with_direct_routes() {
    assert_reached(DIRECT);
}

/// Asks, and returns whom the server saw.
fn seen(from: &NetNamespace, protocol: Protocol, target: SocketAddr) -> std::net::IpAddr {
    let answer = from.run(|| client::ask(protocol, target));
    answer.unwrap_or_else(|error| panic!("{protocol:?} to {target}: {error}")).client.ip()
}

#[test]
#[ignore = "needs root"]
fn a_local_policy_finds_them_by_their_node_and_they_see_the_pod() {
    let local = |service| {
        let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
        manifests::with_local_internal_policy(service)
    };
    let Some((stage, clients, _servers)) = cluster(VXLAN, local) else { return };
    let pod = &clients[1];
    for (target, own) in web().into_iter().zip(pod.addresses) {
        for protocol in Protocol::ALL {
            assert_eq!(seen(&pod.netns(), protocol, target), own, "{protocol:?} {target}");
        }
    }
    // The first node has none, though it can reach the address.
    for from in [&clients[0].netns(), stage.node(0).netns()] {
        assert_fate("no local one", from, &web(), &tests::traffic::fate::Fate::Nothing);
    }
}
