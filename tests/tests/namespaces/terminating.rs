//! Where no endpoint is ready, those that still serve on their way out do, and each list of
//! endpoints falls back on its own.

use std::net::SocketAddr;

use tests::{
    manifests::{self, ip},
    one_node::{TARGET_PORT, WEB_PORT, web},
    topology::{Endpoint, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses},
    traffic::{
        fate::{Fate, assert_fate, by},
        server::Server,
    },
};

/// Service `near`, with Local policies.
const NEAR: [&str; 2] = ["10.96.1.20", "fd00:10:96::1:20"];
const NEAR_NODE_PORT: u16 = NODE_PORT + 1;

fn near() -> serde_json::Value {
    let (port, target) = (u32::from(WEB_PORT), u32::from(TARGET_PORT));
    let ports = [("http", "TCP", port, target), ("ask", "UDP", port, target)];
    let service = manifests::service("near", &NEAR, &ports);
    let service = manifests::with_node_ports(service, &[NEAR_NODE_PORT, NEAR_NODE_PORT]);
    manifests::with_local_internal_policy(manifests::with_local_external_policy(service))
}

/// Endpoint `a` is on the first node, by which all is asked, `b` on the second. What the two lists
/// then are: of the whole cluster, and of the first node.
fn states(a: &Endpoint, b: &Endpoint) -> [(&'static str, [Endpoint; 2], Fate, Fate); 6] {
    let (a, b) = (|| a.clone(), || b.clone());
    [
        ("both are ready", [a(), b()], by(&["a", "b"]), by(&["a"])),
        ("the local one leaves", [a().terminating(), b()], by(&["b"]), by(&["a"])),
        ("both leave", [a().terminating(), b().terminating()], by(&["a", "b"]), by(&["a"])),
        ("the local one has left", [a().ending(), b().terminating()], by(&["b"]), Fate::Nothing),
        ("the local one starts", [a().starting(), b()], by(&["b"]), Fate::Nothing),
        ("both have left", [a().ending(), b().ending()], Fate::Refused, Fate::Refused),
    ]
}

#[test]
#[ignore = "needs root"]
fn endpoints_on_their_way_out_serve_where_none_is_ready() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let (a, b) = (stage.add_pod("a", 0, "web"), stage.add_pod("b", 1, "web"));
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(|web| manifests::with_node_ports(web, &[NODE_PORT, NODE_PORT]));
    stage.manifests.write("near.yaml", &[near()]);
    stage.start(&VXLAN);
    let _servers: Vec<[Server; 2]> = [&a, &b].into_iter().map(Pod::serve).collect();
    let (a, b) = (stage.endpoint(&a), stage.endpoint(&b));
    let (pod, node, outside) =
        (client.netns(), stage.node(0).netns().clone(), stage.network.outside());
    let near = NEAR.map(|address| SocketAddr::new(ip(address), WEB_PORT));
    let near_node_port = addresses::node(0).map(|it| SocketAddr::new(it, NEAR_NODE_PORT));
    for (state, endpoints, cluster, local) in states(&a, &b) {
        for service in ["web", "near"] {
            stage.put_endpoints_of(service, &endpoints);
        }
        for inside in [&pod, &node] {
            assert_fate(&format!("{state}, ClusterIP"), inside, &web(), &cluster);
            assert_fate(&format!("{state}, local ClusterIP"), inside, &near, &local);
            // From inside, the external policy does not bind.
            assert_fate(&format!("{state}, node port"), inside, &near_node_port, &cluster);
        }
        let node_port = stage.node_port(0);
        assert_fate(&format!("{state}, node port"), outside, &node_port, &cluster);
        assert_fate(&format!("{state}, local node port"), outside, &near_node_port, &local);
    }
}
