//! Hints keep traffic near: in the node's zone, or on the node.

use serde_json::json;
use tests::{
    one_node::web,
    topology::{Endpoint, Layout, Pod, Topology, VXLAN},
    traffic::{
        Protocol, SOCKET_TIMEOUT,
        fate::{ask, assert_fate, by},
        server::Server,
    },
    wait,
};

/// Pods `a` and `b` of Service `web`, and `client`, on one node in zone `zone1`.
struct Near {
    stage: Topology,
    client: Pod,
    endpoints: [Endpoint; 2],
    _servers: [[Server; 2]; 2],
}

fn near() -> Option<Near> {
    let mut stage = Topology::new(Layout::routed(1))?;
    let pods = ["a", "b"].map(|name| stage.add_pod(name, 0, "web"));
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| service);
    stage.start(&VXLAN);
    let servers = pods.each_ref().map(Pod::serve);
    let endpoints = pods.each_ref().map(|pod| stage.endpoint(pod));
    Some(Near { stage, client, endpoints, _servers: servers })
}

impl Near {
    /// Writes endpoints, and waits until these servers answer and no others.
    fn expect(&self, what: &str, endpoints: &[Endpoint], servers: &[&str]) {
        self.stage.write_endpoints_of("web", endpoints);
        self.wait_for(what, servers);
    }

    fn wait_for(&self, what: &str, servers: &[&str]) {
        let netns = self.client.netns();
        wait::until(what, wait::PATIENCE, || {
            let server =
                |target| ask(Protocol::Udp, target, SOCKET_TIMEOUT).map(|answer| answer.server);
            let asked = || -> std::io::Result<Vec<String>> {
                web().into_iter().cycle().take(32).map(server).collect()
            };
            let mut found = netns.run(asked).map_err(|error| error.to_string())?;
            found.sort();
            found.dedup();
            if found == servers { Ok(()) } else { Err(format!("{found:?}")) }
        });
        for from in [&netns, self.stage.node(0).netns()] {
            assert_fate(what, from, &web(), &by(servers));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn hints_for_zones_count_where_all_have_them_and_one_is_ours() {
    let Some(near) = near() else { return };
    let [a, b] = &near.endpoints;
    let (a, b) = (|| a.clone(), || b.clone());
    near.expect("no hints", &[a(), b()], &["a", "b"]);
    let hinted = [a().for_zones(&["zone1"]), b().for_zones(&["zone2"])];
    near.expect("one each", &hinted, &["a"]);
    near.expect("one without", &[a().for_zones(&["zone1"]), b()], &["a", "b"]);
    let both = [a().for_zones(&["zone2"]), b().for_zones(&["zone2", "zone1"])];
    near.expect("one of several", &both, &["b"]);
    let elsewhere = [a().for_zones(&["zone2"]), b().for_zones(&["zone3"])];
    near.expect("none is ours", &elsewhere, &["a", "b"]);
    // One that is no longer ready has no say, and the last resort knows no zones.
    let leaving = [a().for_zones(&["zone1"]), b().terminating()];
    near.expect("one without leaves", &leaving, &["a"]);
    let both = [a().for_zones(&["zone1"]).terminating(), b().for_zones(&["zone2"]).terminating()];
    near.expect("both leave", &both, &["a", "b"]);
}

#[test]
#[ignore = "needs root"]
fn hints_follow_the_label_of_the_node() {
    let Some(near) = near() else { return };
    let [a, b] = &near.endpoints;
    let hinted = [a.clone().for_zones(&["zone1"]), b.clone().for_zones(&["zone2"])];
    near.expect("in zone1", &hinted, &["a"]);
    let mut node = near.stage.node_manifest(0);
    node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("zone2");
    near.stage.manifests.write("node-controlplane.yaml", &[node.clone()]);
    near.wait_for("in zone2", &["b"]);
    node["metadata"]["labels"] = json!({});
    near.stage.manifests.write("node-controlplane.yaml", &[node]);
    near.wait_for("in no zone", &["a", "b"]);
    near.stage.write_node(0);
    near.wait_for("in zone1 again", &["a"]);
}

#[test]
#[ignore = "needs root"]
fn hints_for_nodes_come_before_those_for_zones() {
    let Some(near) = near() else { return };
    let own = near.stage.node(0).name();
    let [a, b] = &near.endpoints;
    let (a, b) = (|| a.clone(), || b.clone());
    let by_node = [
        a().for_zones_and_nodes(&["zone1"], &["elsewhere"]),
        b().for_zones_and_nodes(&["zone1"], &[own]),
    ];
    near.expect("one is ours", &by_node, &["b"]);
    let elsewhere = [
        a().for_zones_and_nodes(&["zone1"], &["elsewhere"]),
        b().for_zones_and_nodes(&["zone2"], &["elsewhere"]),
    ];
    near.expect("none is ours, but the zone", &elsewhere, &["a"]);
    let one_without = [a().for_zones(&["zone1"]), b().for_zones_and_nodes(&["zone2"], &[own])];
    near.expect("one is for no node, but a zone", &one_without, &["a"]);
}
