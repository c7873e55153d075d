//! An agent that follows an API server.

use std::{thread, time::Duration};

use serde_json::Value;
use tests::{agent::Agent, api_server::ApiServer, manifests, node::Node, sandbox::Sandbox};

const NODE: &str = "node1";
const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

/// One node, whose agent follows an API server that is on it.
struct Stage {
    /// First, because fields are dropped in order.
    agent: Agent,
    server: ApiServer,
    _node: Node,
    _sandbox: Sandbox,
}

impl Stage {
    /// Starts both, and waits until the agent is ready. None without root.
    fn start(objects: &[Value]) -> Option<Self> {
        let sandbox = Sandbox::enter()?;
        let node = Node::new(&sandbox, NODE);
        let server = node.netns().run(|| ApiServer::start("127.0.0.1:6443".parse().unwrap()));
        server.store().apply(&[manifests::node(NODE, &POD_CIDRS, &["172.30.1.2"])]);
        server.store().apply(objects);
        let kubeconfig = server.write_kubeconfig(sandbox.root()).display().to_string();
        let mut agent = Agent::of_source(&node, ["--kubeconfig", &kubeconfig], &[]);
        agent.start();
        agent.wait_ready();
        Some(Self { agent, server, _node: node, _sandbox: sandbox })
    }
}

fn service(number: u32) -> Value {
    let address = format!("10.96.{}.{}", number / 200, number % 200 + 1);
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
    const CHANGES: u32 = 100_000;
    let objects: Vec<Value> =
        (0..SERVICES).flat_map(|number| [service(number), slice(number, 0)]).collect();
    let Some(stage) = Stage::start(&objects) else { return };
    let change = |changes: std::ops::Range<u32>| {
        for number in changes.clone() {
            stage.server.store().apply(&[slice(number % SERVICES, number / SERVICES)]);
            if number % 50 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let last = (changes.end - 1) / SERVICES % 250 + 1;
        let endpoint = format!("10.244.2.{last}");
        stage.agent.wait_for_endpoints("s-0", 80, "TCP", &[&endpoint]);
        stage.agent.memory()
    };
    let after_few = change(0..CHANGES / 10);
    let after_all = change(CHANGES / 10..CHANGES);
    eprintln!("{after_few} KiB, then {after_all} KiB");
    assert!(after_all < after_few + 4096, "{after_few} KiB, then {after_all} KiB");
}
