//! An agent's memory over many changes.

use std::{fs, thread, time::Duration};

use serde_json::Value;
use tests::{agent::Agent, control_plane, control_plane::ControlPlane, manifests, node::Node};

const NODE: &str = "node1";
const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

/// What the agent has in memory, in KiB.
fn memory(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/status", agent.pid());
    let status = fs::read_to_string(path).expect("reading what is known of the agent");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.trim().split(' ').next()).expect("the kernel tells");
    size.parse().expect("a number")
}

fn service(number: u32) -> Value {
    let address = format!("10.96.{}.{}", 8 + number / 200, number % 200 + 1);
    manifests::service(&format!("s-{number}"), &[&address], &[("http", "TCP", 80, 8080)])
}

fn slice(number: u32, endpoint: u32) -> Value {
    let (name, service) = (format!("s-{number}-1"), format!("s-{number}"));
    let address = format!("10.244.2.{}", endpoint % 250 + 1);
    manifests::slice(&name, &service, "node2", &[&address], &[("http", "TCP", 8080)])
}

#[test]
#[ignore = "needs root"]
fn memory_does_not_grow_with_the_number_of_changes() {
    const SERVICES: u32 = 100;
    /// So many changes at a time, of as many slices.
    const STEP: u32 = 50;
    // A real server takes a millisecond or more for each.
    let changes = if control_plane::is_real() { 10_000 } else { 100_000 };
    let Some(sandbox) = ControlPlane::sandbox() else { return };
    let node = Node::new(&sandbox, NODE);
    let control_plane = ControlPlane::start(&sandbox, node.netns());
    control_plane.apply(&[manifests::node(NODE, &POD_CIDRS, &["172.30.1.2"])]);
    let objects: Vec<Value> =
        (0..SERVICES).flat_map(|number| [service(number), slice(number, 0)]).collect();
    control_plane.apply_all(&objects);
    let kubeconfig = control_plane.write_kubeconfig(sandbox.root()).display().to_string();
    let mut agent = Agent::of_source(&node, ["--kubeconfig", &kubeconfig], &[]);
    agent.start();
    agent.wait_ready();
    let change = |changes: std::ops::Range<u32>| {
        for first in changes.clone().step_by(STEP as usize) {
            let numbers = first..first + STEP;
            let slices: Vec<Value> =
                numbers.map(|number| slice(number % SERVICES, number / SERVICES)).collect();
            control_plane.apply_all(&slices);
            thread::sleep(Duration::from_millis(5));
        }
        let last = (changes.end - 1) / SERVICES % 250 + 1;
        let endpoint = format!("10.244.2.{last}");
        agent.wait_for_endpoints("s-0", 80, "TCP", &[&endpoint]);
        memory(&agent)
    };
    let after_few = change(0..changes / 10);
    let after_all = change(changes / 10..changes);
    eprintln!("{after_few} KiB, then {after_all} KiB");
    assert!(after_all < after_few + 4096, "{after_few} KiB, then {after_all} KiB");
}
