//! CHECK and STATUS: whether everything is as it was made.

use std::fs;

use serde_json::{Value, json};
use tests::{
    cni::{Container, Runtime},
    manifests,
    netns::NetNamespace,
    one_node::{NODE, NODE_ADDRESSES, OneNode, POD_CIDRS},
    process, wait,
};

fn attach(runtime: &Runtime, name: &str) -> (Container, NetNamespace, Value) {
    let (container, namespace) = Container::create(name);
    let result = runtime.add(&container).result();
    (container, namespace, result)
}

#[test]
#[ignore = "needs root"]
fn what_is_missing_is_named() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let missing = |container: &Container, result: &Value, what: &str| {
        let outcome = runtime.check(container, result);
        assert_eq!(outcome.code(), Some(100), "{what}: {outcome:?}");
        let message = outcome.stdout["msg"].as_str().unwrap();
        assert!(message.contains(what), "{what}: {message}");
    };
    let (never, _) = Container::create("never");
    let result = json!({ "interfaces": [{ "name": "eth0", "sandbox": "/run/netns/never" }] });
    missing(&never, &result, "not attached");

    let (container, namespace, result) = attach(&runtime, "address");
    assert_eq!(runtime.check(&container, &result).code(), None);
    namespace.ip("address del 10.244.1.2/24 dev eth0");
    missing(&container, &result, "10.244.1.2/24");

    let (container, namespace, result) = attach(&runtime, "route");
    namespace.ip("-6 route del default");
    missing(&container, &result, "::/0");

    let (container, namespace, result) = attach(&runtime, "down");
    namespace.ip("link set eth0 down");
    missing(&container, &result, "eth0");

    let (container, _namespace, result) = attach(&runtime, "program");
    let host_end = result["interfaces"][1]["name"].as_str().unwrap();
    let pins = process::must(
        std::process::Command::new("find")
            .arg(stage.node.bpffs())
            .args(["-name", &format!("tc_pod_ingress@{host_end}")]),
    );
    fs::remove_file(pins.trim()).unwrap();
    missing(&container, &result, "program");

    let (container, _namespace, mut result) = attach(&runtime, "other");
    result["ips"][0]["address"] = "10.244.1.200/24".into();
    missing(&container, &result, "10.244.1.200");
    result["interfaces"][2]["sandbox"] = "/run/netns/another".into();
    missing(&container, &result, "prevResult has no interface");
}

#[test]
#[ignore = "needs root"]
fn what_later_plugins_add_is_none_of_our_business() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace, mut result) = attach(&runtime, "c1");
    namespace.ip("link add ifb0 type veth peer name ifb1");
    namespace.ip("route add 172.16.0.0/16 via 10.244.1.1 dev eth0");
    result["interfaces"].as_array_mut().unwrap().push(json!({ "name": "bwp0" }));
    result["ips"].as_array_mut().unwrap().push(json!({ "address": "172.16.0.2/16" }));
    assert_eq!(runtime.check(&container, &result).code(), None);
}

#[test]
#[ignore = "needs root"]
fn status_is_0_only_while_the_node_is_ready() {
    let Some(mut stage) = OneNode::prepare(|manifests| manifests.remove("node.yaml")) else {
        return;
    };
    let runtime = Runtime::of(&stage.node);
    assert_eq!(runtime.status().code(), Some(50), "no agent");
    stage.agent.start();
    wait::until("an agent that waits for its Node", wait::PATIENCE, || {
        let outcome = runtime.status();
        assert_eq!(outcome.code(), Some(50));
        let message = outcome.stdout["msg"].as_str().unwrap().to_owned();
        if message.contains("waiting for the Node object") { Ok(()) } else { Err(message) }
    });
    let (container, _namespace) = Container::create("c1");
    let refused = runtime.add(&container);
    assert_eq!(refused.code(), Some(11), "{refused:?}");
    let node = manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES);
    stage.manifests.write("node.yaml", &[node]);
    stage.agent.wait_ready();
    assert_eq!(runtime.status().code(), None);
    assert_eq!(runtime.add(&container).code(), None);
    stage.agent.sigterm();
    assert_eq!(runtime.status().code(), Some(50));
}
