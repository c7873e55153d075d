//! Large transfers over a way that carries less than its ends think: the error that says so reaches
//! the end that sends, through every translation.

use std::net::SocketAddr;

use serde_json::Value;
use tests::{
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::{TARGET_PORT, WEB, WEB_PORT, web},
    topology::{DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, outside_at},
    traffic::bulk,
};

/// What the narrow link carries: the least that IPv6 allows.
const NARROW: u32 = 1280;
const PORT: u16 = 8080;
const BYTES: u64 = 5_000_000;

/// Both ways, without a pause.
fn assert_smooth(from: &NetNamespace, target: SocketAddr) {
    let what = format!("{} to {target}", from.name());
    for (transfer, way) in [
        (from.run(|| bulk::send(target, BYTES)), "sending"),
        (from.run(|| bulk::fetch(target, BYTES)), "fetching"),
    ] {
        let what = format!("{what}, {way}");
        transfer.unwrap_or_else(|error| panic!("{what}: {error}")).assert_smooth(BYTES, &what);
    }
}

fn assert_masquerade_is_smooth(routing: [&str; 2]) {
    let Some(mut stage) = Topology::new(Layout::routed(1).narrow_outside(NARROW)) else { return };
    let pods = ["a", "b"].map(|name| stage.add_pod(name, 0, "client"));
    stage.start(&routing);
    let _servers = stage.serve_outside(PORT);
    // The second pod has to learn for itself, or at least not to be harmed by what the first did.
    for pod in &pods {
        for target in outside_at(PORT) {
            assert_smooth(&pod.netns(), target);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn masqueraded_transfers_fit_a_narrow_link() {
    assert_masquerade_is_smooth(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn masqueraded_transfers_fit_a_narrow_link_with_direct_routes() {
    assert_masquerade_is_smooth(DIRECT);
}

fn exposed(service: Value) -> Value {
    manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT])
}

/// With a backend on the second node alone, and the outside behind a narrow link.
fn assert_services_from_outside_are_smooth(routing: [&str; 2]) {
    let Some(mut stage) = Topology::new(Layout::routed(2).narrow_outside(NARROW)) else { return };
    let a = stage.add_pod("a", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(exposed);
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    for (vip, length) in WEB.into_iter().zip([32, 128]) {
        stage.network.route(&format!("{vip}/{length}"), &[0]);
    }
    let outside = stage.network.outside();
    for target in stage.node_port(0).into_iter().chain(stage.node_port(1)).chain(web()) {
        assert_smooth(outside, target);
    }
}

#[test]
#[ignore = "needs root"]
fn transfers_through_node_ports_and_cluster_ips_from_outside_fit_a_narrow_link() {
    assert_services_from_outside_are_smooth(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn transfers_from_outside_fit_a_narrow_link_with_direct_routes() {
    assert_services_from_outside_are_smooth(DIRECT);
}

#[test]
#[ignore = "needs root"]
fn transfers_between_nodes_fit_a_narrow_link_between_them() {
    let layout = Layout::routed(2).narrow_node(1, NARROW);
    let Some(mut stage) = Topology::new(layout) else { return };
    let (a, client) = (stage.add_pod("a", 1, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(exposed);
    stage.network.announce_pods();
    stage.start(&DIRECT);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    for target in web().into_iter().chain(a.at(TARGET_PORT)).chain(stage.node_port(0)) {
        assert_smooth(&client.netns(), target);
    }
}

#[test]
#[ignore = "needs root"]
fn transfers_to_a_service_whose_endpoint_is_outside_fit_a_narrow_link() {
    let Some(mut stage) = Topology::new(Layout::routed(1).narrow_outside(NARROW)) else { return };
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(|mut service| {
        service["spec"]["selector"] = Value::Null;
        service
    });
    let slices = addresses::outside().map(|address| {
        let name = if address.is_ipv4() { "web-4" } else { "web-6" };
        let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
        let mut slice = manifests::slice(name, "web", "", &[&address.to_string()], &ports);
        slice["endpoints"][0]["nodeName"] = Value::Null;
        slice
    });
    stage.manifests.write("slices.yaml", &slices);
    stage.start(&VXLAN);
    stage.wait_for_web(&addresses::outside());
    let _servers = stage.serve_outside(TARGET_PORT);
    for target in WEB.map(|address| SocketAddr::new(ip(address), WEB_PORT)) {
        assert_smooth(&client.netns(), target);
    }
}

#[test]
#[ignore = "needs root"]
fn pods_that_send_more_than_the_tunnel_carries_are_told_what_it_does() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let (a, client) = (stage.add_pod("a", 1, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(|service| service);
    // As large as the uplink's packets, so that nothing is left for the tunnel's headers.
    stage.start(&["--routing", "vxlan", "--pod-mtu", "1500"]);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    let assert_learnt = |pod: &Pod, other: &Pod| {
        for address in other.addresses {
            let route = pod.netns().ip(&format!("route get {address}"));
            assert!(route.contains("mtu 1450"), "{route}");
        }
    };
    for target in a.at(TARGET_PORT) {
        assert_smooth(&client.netns(), target);
    }
    assert_learnt(&client, &a);
    for target in web() {
        assert_smooth(&client.netns(), target);
    }
}
