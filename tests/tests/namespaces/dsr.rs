//! Direct server return: the node of the backend answers the client itself.

use std::net::{IpAddr, SocketAddr};

use tests::{
    manifests::{self, ip},
    one_node::WEB_PORT,
    topology::{Layout, NODE_PORT, Pod, Topology, addresses, bridge},
    traffic::{Protocol, bulk, from_port, server::Server},
};

const LOAD_BALANCER: [&str; 2] = ["172.29.0.10", "fd00:172:29::10"];
const BYTES: u64 = 5_000_000;

/// Pod `a` of Service `web` on the second node.
fn stage(routing: &str, layout: Layout) -> Option<(Topology, Pod, [Server; 2])> {
    let mut stage = Topology::new(layout)?;
    let a = stage.add_pod("a", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| {
        let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
        manifests::with_load_balancer(service, &LOAD_BALANCER)
    });
    stage.network.announce_pods();
    for (vip, length) in LOAD_BALANCER.into_iter().zip([32, 128]) {
        stage.network.route(&format!("{vip}/{length}"), &[0]);
    }
    stage.start(&["--routing", routing, "--load-balancer-mode", "dsr"]);
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some((stage, a, servers))
}

/// Every way from the outside to the service through the first node.
fn targets(stage: &Topology) -> Vec<(SocketAddr, IpAddr)> {
    let load_balancer = LOAD_BALANCER.map(|address| SocketAddr::new(ip(address), WEB_PORT));
    let targets = stage.node_port(0).into_iter().chain(load_balancer);
    targets
        .map(|target| (target, addresses::of_family(addresses::outside(), target.ip())))
        .collect()
}

fn assert_answers_directly(routing: &str) {
    let Some((stage, _a, _servers)) = stage(routing, Layout::routed(2)) else { return };
    let first = stage.network.node(0);
    for (target, outside) in targets(&stage) {
        for protocol in Protocol::ALL {
            let answer = stage
                .ask_from_outside(protocol, target)
                .unwrap_or_else(|error| panic!("{protocol:?} to {target}: {error}"));
            assert_eq!((answer.server.as_str(), answer.client.ip()), ("a", outside), "{target}");
        }
        let before = first.counters("eth0");
        let transfer = stage.network.outside().run(|| bulk::fetch(target, BYTES)).expect("whole");
        transfer.assert_smooth(BYTES, "answers from the backend's node");
        let sent = first.counters("eth0").sent_bytes - before.sent_bytes;
        assert!(sent < BYTES / 4, "{sent} bytes of answers passed the first node ({target})");
        let transfer = stage.network.outside().run(|| bulk::send(target, BYTES)).expect("whole");
        transfer.assert_smooth(BYTES, "through the first node");
    }
    // Where the backend is on the node itself, nothing is handed over.
    for (target, outside) in stage.node_port(1).into_iter().zip(addresses::outside()) {
        for protocol in Protocol::ALL {
            let answer = stage.ask_from_outside(protocol, target).expect("a local backend");
            let seen = [outside, addresses::of_family(bridge(1), outside)];
            assert!(seen.contains(&answer.client.ip()), "{answer:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn the_client_hears_the_service_and_the_first_node_no_answer() {
    assert_answers_directly("vxlan");
}

#[test]
#[ignore = "needs root"]
fn the_same_with_direct_routes_between_pods() {
    assert_answers_directly("direct");
}

#[test]
#[ignore = "needs root"]
fn transfers_fit_a_narrow_link_to_the_client() {
    let layout = Layout::routed(2).narrow_outside(1280);
    let Some((stage, _a, _servers)) = stage("vxlan", layout) else { return };
    for (target, _) in targets(&stage) {
        let outside = stage.network.outside();
        let transfer = outside.run(|| bulk::fetch(target, BYTES)).expect("whole");
        transfer.assert_smooth(BYTES, "fetching");
        let transfer = outside.run(|| bulk::send(target, BYTES)).expect("whole");
        transfer.assert_smooth(BYTES, "sending");
    }
}

#[test]
#[ignore = "needs root"]
fn connections_live_on_when_the_node_is_lost_that_they_came_in_by() {
    let Some(mut stage) = Topology::new(Layout::routed(3)) else { return };
    let pods = [1, 2].map(|node| stage.add_pod(&format!("web-{node}"), node, "web"));
    stage.write_web(|service| manifests::with_load_balancer(service, &LOAD_BALANCER));
    let prefixes = LOAD_BALANCER.map(|vip| match ip(vip) {
        IpAddr::V4(_) => format!("{vip}/32"),
        IpAddr::V6(_) => format!("{vip}/128"),
    });
    for prefix in &prefixes {
        stage.network.route(prefix, &[0]);
    }
    stage.start(&["--load-balancer-mode", "dsr"]);
    let _servers = pods.each_ref().map(Pod::serve);
    stage.wait_for_web(&pods.each_ref().map(|pod| pod.addresses).concat());
    let ports = 45_000..45_016;
    let outside = stage.network.outside();
    let connections: Vec<_> = LOAD_BALANCER
        .map(|address| SocketAddr::new(ip(address), WEB_PORT))
        .into_iter()
        .flat_map(|target| ports.clone().map(move |port| (port, target)))
        .map(|(port, target)| {
            let stream = outside.run(|| from_port::stream(port, target)).expect("a connection");
            let answer = from_port::ask_on_stream(&stream).expect("an answer");
            (stream, answer.server)
        })
        .collect();
    for pod in &pods {
        assert!(connections.iter().any(|(_, server)| *server == pod.name), "{connections:?}");
    }
    for prefix in &prefixes {
        stage.network.unroute(prefix);
        stage.network.route(prefix, &[1]);
    }
    for (stream, server) in &connections {
        let answer = from_port::ask_on_stream(stream).expect("an answer by another node");
        assert_eq!(answer.server, *server, "{stream:?}");
    }
}
