//! The Node that an agent is on: it may come late, go, and come again.

use serde_json::{Value, json};
use tests::wait;

use crate::stage::{Stage, Traffic};

fn wait_for_reason(stage: &Stage, reason: &str) {
    wait::until(reason, wait::PATIENCE, || {
        let finished = stage.agent.shunt(&["status", "-o", "json"]);
        let status: Value = serde_json::from_str(&finished.stdout).unwrap_or_default();
        let says = status["reason"].as_str().unwrap_or_default();
        if says.contains(reason) { Ok(()) } else { Err(format!("{says:?}, {finished:?}")) }
    });
}

fn without_pod_cidrs(mut node: Value) -> Value {
    node["spec"] = json!({});
    node
}

#[test]
#[ignore = "needs root"]
fn a_node_and_its_pod_cidrs_may_come_late() {
    let Some(mut stage) = Stage::prepare() else { return };
    stage.agent.start();
    wait_for_reason(&stage, "waiting for the Node object of this node: the kubelet registers it");
    stage.control_plane.apply(&[without_pod_cidrs(stage.node())]);
    wait_for_reason(&stage, "spec.podCIDRs is empty");
    stage.control_plane.apply(&[stage.node()]);
    stage.agent.wait_ready();
    let traffic = Traffic::start(&stage);
    traffic.assert_flawless();
}

#[test]
#[ignore = "needs root"]
fn a_node_that_goes_and_comes_again_disturbs_no_packet() {
    let Some(mut stage) = Stage::start() else { return };
    let traffic = Traffic::start(&stage);
    for _ in 0..3 {
        stage.control_plane.delete(&[stage.node()]);
        wait_for_reason(&stage, "waiting for the Node object");
        traffic.goes_on();
        stage.control_plane.apply(&[without_pod_cidrs(stage.node())]);
        wait_for_reason(&stage, "spec.podCIDRs is empty");
        traffic.goes_on();
        stage.control_plane.apply(&[stage.node()]);
        stage.agent.wait_ready();
        traffic.goes_on();
    }
    traffic.assert_flawless();
}

#[test]
#[ignore = "needs root"]
fn what_changes_while_the_node_is_gone_is_in_force_when_it_is_back() {
    let Some(mut stage) = Stage::start() else { return };
    stage.control_plane.delete(&[stage.node()]);
    wait_for_reason(&stage, "waiting for the Node object");
    stage.set_endpoints(&["c"]);
    let mut node = stage.node();
    let cidrs = ["192.168.77.0/24", "fd00:10:244:77::/64"];
    node["spec"] = json!({"podCIDR": cidrs[0], "podCIDRs": cidrs});
    // The other node learns of it, too: answers of its pods go there.
    stage.topology.manifests.write("node-controlplane.yaml", std::slice::from_ref(&node));
    stage.control_plane.apply(&[node]);
    wait::until("the other gateway", wait::PATIENCE, || {
        let addresses = stage.netns().ip("-br -4 address show dev cni0");
        if addresses.contains("192.168.77.1/24") { Ok(()) } else { Err(addresses) }
    });
    stage.agent.wait_ready();
    stage.wait_for_server("c");
}
