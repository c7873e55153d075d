//! The Node that an agent is on: it may come late, go, and come again.

use serde_json::{Value, json};
use tests::wait;

use crate::stage::{Stage, Traffic};

fn wait_for_reason(stage: &Stage, reason: &str) {
    wait::until(reason, wait::PATIENCE, || {
        let status = stage.agent.status();
        let says = status["reason"].as_str().unwrap_or_default();
        if says.contains(reason) { Ok(()) } else { Err(format!("{says:?}, {status}")) }
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
    let Some(stage) = Stage::start() else { return };
    let traffic = Traffic::start(&stage);
    for _ in 0..3 {
        stage.control_plane.delete(&[stage.node()]);
        wait_for_reason(&stage, "waiting for the Node object");
        traffic.goes_on();
        stage.control_plane.apply(&[without_pod_cidrs(stage.node())]);
        wait_for_reason(&stage, "spec.podCIDRs is empty");
        traffic.goes_on();
        stage.control_plane.apply(&[stage.node()]);
        wait::until("the node to be ready", wait::PATIENCE, || {
            let status = stage.agent.status();
            if status["ready"] == true { Ok(()) } else { Err(status.to_string()) }
        });
        traffic.goes_on();
    }
    traffic.assert_flawless();
}

#[test]
#[ignore = "needs root"]
fn what_changes_while_the_node_is_gone_is_in_force_when_it_is_back() {
    let Some(stage) = Stage::start() else { return };
    stage.control_plane.delete(&[stage.node()]);
    wait_for_reason(&stage, "waiting for the Node object");
    stage.set_endpoints(&["c"]);
    let mut node = stage.node();
    node["spec"] = json!({"podCIDR": "10.244.77.0/24", "podCIDRs": ["10.244.77.0/24"]});
    stage.control_plane.apply(&[node]);
    wait::until("the other gateway", wait::PATIENCE, || {
        let addresses = stage.netns().ip("-br -4 address show dev cni0");
        if addresses.contains("10.244.77.1/24") { Ok(()) } else { Err(addresses) }
    });
    stage.wait_for_server("c");
}
