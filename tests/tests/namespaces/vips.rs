//! What a service's addresses do not serve is refused at once, wherever it comes from, and never
//! goes back and forth between a node and its gateway.

use std::net::IpAddr;

use serde_json::Value;
use tests::{
    netns::NetNamespace,
    one_node::WEB,
    topology::{
        Layout, Pod, Topology, VXLAN,
        vips::{self, EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::{
        client,
        fate::{Fate, assert_fate, by},
        icmp::{EchoOutcome, echo},
        server::Server,
    },
};

/// What may pass a node's wire for one request and its answer, with neighbours asked for on the
/// way. A packet with 64 hops left that runs in a circle passes it some sixty times.
const FRAMES: u64 = 12;

const ALL: [[&str; 2]; 3] = [WEB, LOAD_BALANCER, EXTERNAL];

/// Pod `a` of Service `web`, and `client`, on one node, to which the router sends all addresses of
/// the Service.
fn cluster(change: impl FnOnce(Value) -> Value) -> Option<(Topology, Pod, [Server; 2])> {
    let mut stage = Topology::new(Layout::routed(1))?;
    let (a, client) = (stage.add_pod("a", 0, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(change);
    stage.start(&VXLAN);
    for vips in ALL {
        stage.route_to(vips, &[0]);
    }
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some((stage, client, servers))
}

/// Does something, and fails where more passed the node's wire than that needs.
fn without_a_circle(stage: &Topology, what: &str, work: impl FnOnce()) {
    let passed = || {
        let counters = stage.network.node(0).counters("eth0");
        counters.received_packets + counters.sent_packets
    };
    let before = passed();
    work();
    let frames = passed() - before;
    assert!(frames <= FRAMES, "{what}: {frames} frames passed the wire");
}

/// From where things are asked.
fn sources<'a>(
    stage: &'a Topology,
    pod: &'a NetNamespace,
) -> [(&'static str, &'a NetNamespace); 3] {
    [("pod", pod), ("node", stage.node(0).netns()), ("outside", stage.network.outside())]
}

#[test]
#[ignore = "needs root"]
fn a_ping_of_a_services_address_is_refused() {
    let Some((stage, client, _servers)) = cluster(exposed) else { return };
    for (source, from) in sources(&stage, &client.netns()) {
        for address in ALL.into_iter().flat_map(vips::addresses) {
            let what = format!("ping of {address} from {source}");
            without_a_circle(&stage, &what, || {
                let outcome = from.run(|| echo(address));
                assert!(matches!(outcome, EchoOutcome::Unreachable { .. }), "{what}: {outcome:?}");
            });
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_that_no_service_has_is_refused() {
    let Some((stage, client, _servers)) = cluster(exposed) else { return };
    for (source, from) in sources(&stage, &client.netns()) {
        for vips in ALL {
            assert_fate("a port of the service", from, &targets(vips), &by(&["a"]));
            for target in targets(vips) {
                let unmapped = (target.ip(), target.port() + 1).into();
                let what = format!("port {unmapped} from {source}");
                without_a_circle(&stage, &what, || {
                    assert_fate(&what, from, &[unmapped], &Fate::Refused);
                });
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_address_of_a_service_that_is_gone_is_nobodys() {
    let Some((stage, client, _servers)) = cluster(exposed) else { return };
    let pod = client.netns();
    assert_fate("while it is there", &pod, &targets(EXTERNAL), &by(&["a"]));
    stage.manifests.remove("web.yaml");
    tests::wait::until("the service's end", tests::wait::PATIENCE, || {
        let shown = stage.agent(0).get("services");
        if shown.is_empty() { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    // The router has the route still, and the node's default route leads to the router.
    for address in vips::addresses(EXTERNAL) {
        let outcome = pod.run(|| echo(address));
        assert_ne!(outcome, EchoOutcome::Reply, "{address}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_nodes_processes_reach_every_address_with_connected_and_unconnected_sockets() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let a = stage.add_pod("a", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(exposed);
    stage.start(&VXLAN);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    let vips = ALL.map(targets);
    for node in [0, 1] {
        let netns = stage.node(node).netns();
        let node_ports = [stage.node_port(0), stage.node_port(1)];
        for targets in vips.into_iter().chain(node_ports) {
            assert_fate(&format!("node {node}"), netns, &targets, &by(&["a"]));
            for target in targets {
                let answer = netns.run(|| client::ask_udp_unconnected(target));
                let answer =
                    answer.unwrap_or_else(|error| panic!("node {node} to {target}: {error}"));
                assert_eq!(answer.server, "a", "node {node} to {target}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_service_without_endpoints_refuses_everybody_at_every_address() {
    let nobody = |service| {
        let mut service = exposed(service);
        service["spec"]["selector"] = serde_json::json!({"app": "nobody"});
        service
    };
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(nobody);
    stage.start(&VXLAN);
    for vips in ALL {
        stage.route_to(vips, &[0]);
    }
    stage.wait_for_web(&[] as &[IpAddr]);
    for (source, from) in sources(&stage, &client.netns()) {
        for targets in ALL.map(targets).into_iter().chain([stage.node_port(0)]) {
            for target in targets {
                let what = format!("{target} from {source}");
                without_a_circle(&stage, &what, || {
                    assert_fate(&what, from, &[target], &Fate::Refused);
                });
            }
        }
    }
}
