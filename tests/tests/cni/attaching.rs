//! ADD: what it makes, what it prints, what it refuses.

use std::{collections::BTreeSet, net::IpAddr, thread};

use serde_json::{Value, json};
use tests::{
    cni::{self, Container, Runtime, assert_nothing_is_left, host_ends},
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::{NODE, OneNode},
};

/// What `ip -j` prints inside of a namespace.
fn shown(namespace: &NetNamespace, arguments: &str) -> Value {
    serde_json::from_str(&namespace.ip(&format!("-j {arguments}"))).unwrap()
}

#[test]
#[ignore = "needs root"]
fn an_attached_container_has_all_that_its_result_says() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace) = Container::create("c1");
    let result = runtime.add(&container).result();

    assert_eq!(result["cniVersion"], "1.1.0");
    let interfaces = &result["interfaces"];
    assert_eq!(interfaces[0]["name"], "cni0");
    assert_eq!(interfaces[2]["name"], "eth0");
    assert_eq!(interfaces[2]["sandbox"], "/run/netns/c1");
    assert_eq!(interfaces[1].get("sandbox"), None);
    // Each interface is what the kernel says it is.
    let host = stage.node.netns();
    for (index, namespace) in [(0, host), (1, host), (2, &namespace)] {
        let interface = &interfaces[index];
        let name = interface["name"].as_str().unwrap();
        let link = &shown(namespace, &format!("link show dev {name}"))[0];
        assert_eq!(link["address"], interface["mac"], "{name}");
        assert_eq!(link["mtu"], interface["mtu"], "{name}");
        assert!(link["flags"].as_array().unwrap().contains(&json!("UP")), "{name}");
    }
    let host_end = interfaces[1]["name"].as_str().unwrap();
    assert_eq!(shown(host, &format!("link show dev {host_end}"))[0]["master"], "cni0");
    // The way in which the reference plugins find the host end of a pair.
    let peer = shown(&namespace, "link show dev eth0")[0]["link_index"].clone();
    assert_eq!(shown(host, &format!("link show dev {host_end}"))[0]["ifindex"], peer);

    assert_eq!(cni::addresses(&result), [ip("10.244.1.2"), ip("fd00:10:244:1::2")]);
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/24");
    assert_eq!(result["ips"][1]["address"], "fd00:10:244:1::2/64");
    for (ip, route, flag) in [(0, 0, "-4"), (1, 1, "-6")] {
        let (ip, route) = (&result["ips"][ip], &result["routes"][route]);
        assert_eq!(ip["interface"], 2);
        assert_eq!(ip["gateway"], route["gw"]);
        let default = shown(&namespace, &format!("{flag} route show default"));
        assert_eq!(default[0]["gateway"], route["gw"]);
        assert_eq!(default[0]["dev"], "eth0");
    }

    let pods = stage.agent.get("pods");
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0]["namespace"], "default");
    assert_eq!(pods[0]["name"], "c1");
    assert_eq!(pods[0]["node"], NODE);
    assert_eq!(pods[0]["podIPs"], json!(["10.244.1.2", "fd00:10:244:1::2"]));
    assert_eq!(pods[0]["containerID"], "c1");
    assert_eq!(pods[0]["netns"], "/run/netns/c1");
    assert_eq!(pods[0]["hostInterface"], interfaces[1]["name"]);
    assert_eq!(pods[0]["mac"], interfaces[2]["mac"]);
    // No file of the pod is shunt's business.
    assert!(!std::path::Path::new("/etc/netns/c1").exists());
}

#[test]
#[ignore = "needs root"]
fn every_version_of_the_specification_attaches_checks_and_deletes() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let runtime = Runtime::of(&stage.node).with_version(version);
        let (container, _namespace) = Container::create(&format!("c-{version}"));
        let result = runtime.add(&container).result();
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["ips"].as_array().unwrap().len(), 2, "{version}");
        let has_versions = result["ips"][0]["version"] == "4" && result["ips"][1]["version"] == "6";
        assert_eq!(has_versions, version.starts_with('0'), "{version}: {result}");
        let expected = if version < "0.4.0" { Some(1) } else { None };
        assert_eq!(runtime.check(&container, &result).code(), expected, "{version}");
        let expected = if version < "1.1.0" { Some(1) } else { None };
        assert_eq!(runtime.status().code(), expected, "{version}");
        assert_eq!(runtime.gc(&[&container]).code(), expected, "{version}");
        assert_eq!(runtime.del(&container).code(), None, "{version}");
    }
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_attached_is_refused_and_leaves_nothing() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace) = Container::create("c1");

    let gone = Container::of("gone", &NetNamespace::path("gone"));
    assert_eq!(runtime.add(&gone).code(), Some(8));
    let file = stage.sandbox.root().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(runtime.add(&Container::of("file", &file)).code(), Some(8));
    let node = Container::of("node", &NetNamespace::path(NODE));
    let refused = runtime.add(&node);
    assert_eq!(refused.code(), Some(8), "{refused:?}");

    // An interface of that name is somebody else's: it stays, and nothing is beside it.
    namespace.ip("link add eth0 type veth peer name other");
    let refused = runtime.add(&container);
    assert_eq!(refused.code(), Some(104), "{refused:?}");
    assert!(refused.stdout["msg"].as_str().unwrap().contains("eth0"), "{refused:?}");
    assert_nothing_is_left(&stage.node);
    namespace.ip("link show dev eth0");

    // A second attachment of the same container is another one; the same again is refused.
    let second = container.with_interface("net1");
    assert_eq!(runtime.add(&second).code(), None);
    let again = runtime.add(&second);
    assert_eq!(again.code(), Some(101), "{again:?}");
    assert_eq!(host_ends(&stage.node).len(), 1, "what was there stays");
    namespace.ip("link del eth0");
    assert_eq!(runtime.add(&container).code(), None);
    assert_eq!(host_ends(&stage.node).len(), 2);
    for container in [&container, &second] {
        assert_eq!(runtime.del(container).code(), None);
    }
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn twenty_at_once_share_the_addresses_with_pods_of_manifests() {
    let Some(stage) = OneNode::start(|manifests| {
        manifests.write("a.yaml", &[manifests::pod("a", NODE, "a", &[])]);
        manifests.write("b.yaml", &[manifests::pod("b", NODE, "b", &["10.244.1.7"])]);
    }) else {
        return;
    };
    let runtime = Runtime::of(&stage.node);
    let containers: Vec<Container> =
        (0..20).map(|number| Container::create(&format!("c{number}")).0).collect();
    let results: Vec<cni::Outcome> = thread::scope(|scope| {
        let runtime = &runtime;
        let add = |container| scope.spawn(move || runtime.add(container));
        let threads: Vec<_> = containers.iter().map(add).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<IpAddr> = results
        .into_iter()
        .flat_map(|outcome| {
            assert_eq!(outcome.code(), None);
            outcome.addresses()
        })
        .collect();
    assert_eq!(all.len(), 40);
    all.extend(["a", "b"].iter().flat_map(|pod| stage.pod_ips(pod)));
    let distinct: BTreeSet<&IpAddr> = all.iter().collect();
    assert_eq!(distinct.len(), 43, "20 of each family, and three of pods: {all:?}");
    // A pod of a manifest that comes later gets another one yet.
    stage.manifests.write("late.yaml", &[manifests::pod("late", NODE, "late", &[])]);
    assert!(stage.pod_ips("late").iter().all(|address| !all.contains(address)));
    assert_eq!(stage.agent.get("pods").len(), 23);
}

#[test]
#[ignore = "needs root"]
fn a_node_without_a_free_address_says_so_and_has_room_again_after_a_del() {
    let Some(stage) = OneNode::prepare(|manifests| {
        let node = manifests::node(NODE, &["10.244.1.0/29"], &["172.30.1.2"]);
        manifests.write("node.yaml", &[node]);
    }) else {
        return;
    };
    let mut stage = stage;
    stage.agent.start();
    stage.agent.wait_ready();
    let runtime = Runtime::of(&stage.node);
    let containers: Vec<Container> =
        (0..6).map(|number| Container::create(&format!("c{number}")).0).collect();
    for container in &containers[..5] {
        assert_eq!(runtime.add(container).code(), None);
    }
    let full = runtime.add(&containers[5]);
    assert_eq!(full.code(), Some(102), "{full:?}");
    assert!(full.stdout["msg"].as_str().unwrap().contains("10.244.1.0/29"), "{full:?}");
    assert_eq!(host_ends(&stage.node).len(), 5);
    assert_eq!(runtime.del(&containers[2]).code(), None);
    assert_eq!(runtime.add(&containers[5]).addresses(), [ip("10.244.1.4")]);
}
