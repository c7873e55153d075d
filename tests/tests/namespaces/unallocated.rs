//! Addresses of the service ranges that no Service has: from the outside they are dropped by the
//! node that they come to, and from the node and its pods they never reach the wire.

use std::net::SocketAddr;

use serde_json::json;
use tests::{
    manifests::ip,
    one_node::{WEB, web},
    topology::{Layout, Topology, VXLAN},
    traffic::{
        fate::{Fate, assert_fate, by},
        icmp::{EchoOutcome, echo},
    },
    wait,
};

const UNALLOCATED: [&str; 2] = ["10.96.99.99", "fd00:10:96::9999"];

#[test]
#[ignore = "needs root"]
fn what_no_service_has_goes_nowhere_from_anywhere() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let (a, client) = (stage.add_pod("a", 0, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(|service| service);
    let ranges = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/16", "fd00:10:96::/64"]},
    });
    stage.manifests.write("ranges.yaml", &[ranges]);
    stage.start(&VXLAN);
    let _servers = a.serve();
    stage.wait_for_web(&a.addresses);
    for (vips, length) in [(WEB, [32, 128]), (["10.96.0.0", "fd00:10:96::"], [16, 64])] {
        for (vip, length) in vips.iter().zip(length) {
            stage.network.route(&format!("{vip}/{length}"), &[0]);
        }
    }
    let drops = || stage.agent(0).drops("unallocated-service-address");
    let (pod, node) = (client.netns(), stage.node(0).netns());
    for from in [&pod, node, stage.network.outside()] {
        assert_fate("a Service's", from, &web(), &by(&["a"]));
        for address in UNALLOCATED.map(ip) {
            let what = format!("{address} from {}", from.name());
            let (before, wire) = (drops(), stage.network.node(0).counters("eth0").sent_packets);
            assert_fate(&what, from, &[SocketAddr::new(address, 80)], &Fate::Nothing);
            let outcome = from.run(|| echo(address));
            assert!(!matches!(outcome, EchoOutcome::Reply), "{what}: {outcome:?}");
            assert!(drops() > before, "{what}");
            // Neighbours are asked for now and then; a circle would be dozens.
            let sent = stage.network.node(0).counters("eth0").sent_packets - wire;
            assert!(sent <= 6, "{what}: {sent} frames were sent");
        }
    }
    // An address that a Service gets works at once, and one that it gives back does not.
    let moved = |mut service: serde_json::Value| {
        service["spec"]["clusterIP"] = json!(UNALLOCATED[0]);
        service["spec"]["clusterIPs"] = json!(UNALLOCATED);
        service
    };
    stage.write_web(moved);
    let targets = UNALLOCATED.map(|address| SocketAddr::new(ip(address), 80));
    wait::until("the move", wait::PATIENCE, || {
        let shown = stage.agent(0).get("endpoints").len();
        let service = &stage.agent(0).get("services")[0];
        if shown == 4 && service["clusterIPs"] == json!(UNALLOCATED) {
            Ok(())
        } else {
            Err(service.to_string())
        }
    });
    stage.wait_for_web(&a.addresses);
    for from in [&pod, node, stage.network.outside()] {
        assert_fate("allocated now", from, &targets, &by(&["a"]));
        assert_fate("given back", from, &web(), &Fate::Nothing);
    }
}
