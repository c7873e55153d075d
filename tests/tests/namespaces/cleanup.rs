//! `shunt cleanup` takes back what shunt made, and nothing else.

use std::fs;

use tests::{
    bpf_objects::BpfObjects,
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    node::Node,
    one_node::{OneNode, web, write_web},
    process,
    snapshot::Snapshot,
    traffic::client,
    wait,
};

/// Things on the node that are not shunt's.
fn make_foreign_things(stage: &OneNode) {
    let node = stage.node.netns();
    node.ip("link add foreign0 type veth peer name foreign1");
    for end in ["foreign0", "foreign1"] {
        // No link-local addresses, whose state would change by itself.
        node.ip(&format!("link set {end} addrgenmode none"));
    }
    node.ip("address add 172.30.9.1/24 dev foreign0");
    node.ip("link set foreign0 up");
    node.ip("link set foreign1 up");
    node.ip("route add 10.245.0.0/24 dev foreign0");
    process::must(node.command("tc").args(["qdisc", "add", "dev", "foreign0", "clsact"]));
    NetNamespace::create("foreign");
    fs::create_dir_all("/etc/netns/foreign").unwrap();
    fs::write("/etc/netns/foreign/resolv.conf", "nameserver 10.96.0.10\n").unwrap();
    // The kernel says so a moment after it is so.
    wait::until("the links to be up", wait::PATIENCE, || {
        let links = process::must(node.command("ip").args(["-brief", "link", "show", "up"]));
        let is_up = |end: &str| {
            let mut words = links.lines().map(str::split_whitespace);
            words.any(|mut words| {
                words.next().is_some_and(|name| name.starts_with(end)) && words.next() == Some("UP")
            })
        };
        if ["foreign0@", "foreign1@"].into_iter().all(is_up) { Ok(()) } else { Err(links) }
    });
}

fn wait_until_unloaded(objects: &BpfObjects) {
    wait::until("programs and maps to go", wait::PATIENCE, || match objects.still_loaded() {
        left if left == BpfObjects::default() => Ok(()),
        left => Err(format!("{left:?} of {objects:?} are still there")),
    });
}

/// Runs `leave` on an agent that has served, cleans up twice, and returns the node before and
/// after.
fn cleaned_up(leave: impl FnOnce(&mut OneNode)) -> Option<(Snapshot, Snapshot)> {
    let mut stage = OneNode::prepare(|manifests| write_web(manifests, &["a", "b"]))?;
    make_foreign_things(&stage);
    let before = Snapshot::of(&stage.node);
    stage.agent.start();
    stage.agent.wait_ready();
    let servers = stage.serve(&["a", "b"]);
    for namespace in [&stage.pod("client"), stage.node.netns()] {
        for target in web() {
            namespace.run(|| client::ask_tcp(target)).expect("the service works");
        }
    }
    assert_ne!(before.differences(&Snapshot::of(&stage.node)), "", "the agent has made something");
    let objects = BpfObjects::pinned_below(stage.node.bpffs());
    assert!(!objects.maps.is_empty() && !objects.programs.is_empty(), "{objects:?}");
    drop(servers);
    leave(&mut stage);
    let first = stage.agent.cleanup();
    assert_eq!(first.code, 0, "{first:?}");
    wait_until_unloaded(&objects);
    let after = Snapshot::of(&stage.node);
    let second = stage.agent.cleanup();
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(
        after.differences(&Snapshot::of(&stage.node)),
        "",
        "a second cleanup changes nothing"
    );
    Some((before, after))
}

fn after_sigterm(stage: &mut OneNode) {
    assert_eq!(stage.agent.sigterm().0, 0);
}

#[test]
#[ignore = "needs root"]
fn after_a_sigterm_the_node_is_as_before() {
    let Some((before, after)) = cleaned_up(after_sigterm) else {
        return;
    };
    assert_eq!(before.without_settings().differences(&after.without_settings()), "");
}

#[test]
#[ignore = "needs root"]
fn after_a_kill_the_node_is_as_before() {
    let Some((before, after)) = cleaned_up(|stage| stage.agent.kill9()) else {
        return;
    };
    assert_eq!(before.without_settings().differences(&after.without_settings()), "");
}

#[test]
#[ignore = "needs root"]
fn the_kernels_settings_are_as_before() {
    let Some((before, after)) = cleaned_up(after_sigterm) else {
        return;
    };
    assert_eq!(before.differences(&after), "");
}

#[test]
#[ignore = "needs root"]
fn where_no_agent_ever_ran_nothing_is_done() {
    let Some(stage) = OneNode::prepare(|_| ()) else {
        return;
    };
    make_foreign_things(&stage);
    let before = Snapshot::of(&stage.node);
    let finished = stage.agent.cleanup();
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(before.differences(&Snapshot::of(&stage.node)), "");
}

#[test]
#[ignore = "needs root"]
fn beside_a_running_agent_it_stops_the_agent_and_takes_everything() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let client = stage.pod("client");
    let finished = stage.agent.cleanup();
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(
        client.run(|| client::ask_tcp(web()[0])).is_err(),
        "it says that all is gone, but the service works"
    );
    let finished = stage.agent.shunt(&["get", "pods"]);
    assert_eq!(finished.code, 2, "no agent is left: {finished:?}");
}

#[test]
#[ignore = "needs root"]
fn another_nodes_agent_is_left_alone() {
    let Some(mut stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let other = Node::new(&stage.sandbox, "node2");
    let manifests = ManifestDir::create(&stage.sandbox.root().join("manifests2"));
    manifests.write("node.yaml", &[manifests::node("node2", &["10.244.2.0/24"], &["172.30.2.2"])]);
    manifests.write(
        "pods.yaml",
        &[manifests::pod("p2", "node2", "p2", &[]), manifests::pod("c2", "node2", "c2", &[])],
    );
    manifests
        .write("p2.yaml", &[manifests::service("p2", &["10.96.2.10"], &[("x", "TCP", 80, 8080)])]);
    let mut agent = other.run_agent(&manifests, &[]);
    agent.wait_ready();
    let p2 = tests::one_node::pod("default", "p2");
    let _server = tests::traffic::server::Server::tcp(&p2, "p2", 8080);
    let ask = || {
        tests::one_node::pod("default", "c2")
            .run(|| client::ask_tcp("10.96.2.10:80".parse().unwrap()))
    };
    assert_eq!(ask().expect("the other node serves").server, "p2");
    stage.agent.sigterm();
    assert_eq!(stage.agent.cleanup().code, 0);
    assert_eq!(ask().expect("the other node still serves").server, "p2");
    assert_eq!(agent.status()["ready"], true);
}
