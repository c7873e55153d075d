//! DEL and GC: everything goes, and nobody is told that it does not.

use std::process::Command;

use serde_json::json;
use tests::{
    cni::{Container, Runtime, assert_nothing_is_left, attachments, host_ends, leases},
    netns::NetNamespace,
    one_node::OneNode,
    process, wait,
};

fn delete_namespace(name: &str) {
    process::must(Command::new("ip").args(["netns", "delete", name]));
}

#[test]
#[ignore = "needs root"]
fn del_succeeds_whatever_is_there() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (never, _) = Container::create("never");
    assert_eq!(runtime.del(&never).code(), None, "never attached");

    let (twice, _namespace) = Container::create("twice");
    runtime.add(&twice).result();
    assert_eq!(runtime.del(&twice).code(), None);
    assert_eq!(runtime.del(&twice).code(), None, "gone already");

    let (container, namespace) = Container::create("gone");
    runtime.add(&container).result();
    drop(namespace);
    delete_namespace("gone");
    assert_eq!(runtime.del(&container).code(), None, "its namespace is gone");

    let (container, namespace) = Container::create("no-link");
    runtime.add(&container).result();
    namespace.ip("link del eth0");
    assert_eq!(runtime.del(&container).code(), None, "its interface is gone");

    let (container, _namespace) = Container::create("unnamed");
    runtime.add(&container).result();
    let unnamed = Container { netns: "".into(), ..container };
    assert_eq!(runtime.del(&unnamed).code(), None, "CNI_NETNS is empty");
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn the_interface_goes_while_processes_still_hold_the_namespace() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace) = Container::create("held");
    runtime.add(&container).result();
    let _server = tests::traffic::server::Server::tcp(&namespace, "held", 8080);
    assert_eq!(runtime.del(&container).code(), None);
    let links = namespace.ip("-o link");
    assert!(!links.contains("eth0"), "{links}");
    // The namespace is the runtime's.
    assert!(NetNamespace::path("held").exists());
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn a_del_without_an_agent_is_carried_out_by_the_next_one() {
    let Some(mut stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (gone, _a) = Container::create("gone");
    let (stays, _b) = Container::create("stays");
    runtime.add(&gone).result();
    let result = runtime.add(&stays).result();
    stage.agent.kill9();
    let outcome = runtime.del(&gone);
    assert_eq!(outcome.code(), None);
    assert!(outcome.stderr.contains("the next agent will remove"), "{outcome:?}");
    assert_eq!(leases(&stage.node).len(), 2);
    let (late, _c) = Container::create("late");
    assert_eq!(runtime.add(&late).code(), Some(11), "it does not wait for an agent");

    stage.agent.start();
    stage.agent.wait_ready();
    assert_eq!(attachments(&stage.node).len(), 1);
    assert_eq!(leases(&stage.node).len(), 1);
    assert_eq!(host_ends(&stage.node).len(), 1);
    assert_eq!(runtime.check(&stays, &result).code(), None);
    assert_eq!(runtime.del(&stays).code(), None);
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn gc_leaves_what_is_valid_and_other_networks() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let names = ["a", "b", "c"];
    let containers = names.map(|name| Container::create(name).0);
    for container in &containers {
        runtime.add(container).result();
    }
    let second = containers[0].with_interface("net1");
    runtime.add(&second).result();
    let (other, _namespace) = Container::create("other");
    runtime.add_with(&other, &json!({ "name": "another-network" })).result();
    // What is gone in part is no hindrance.
    delete_namespace("c");

    let [a, b, _] = &containers;
    let outcome = runtime.gc(&[a]);
    assert_eq!((outcome.code(), outcome.stdout.is_null()), (None, true), "it prints nothing");
    let left = |expected: usize| {
        assert_eq!(attachments(&stage.node).len(), expected);
        assert_eq!(leases(&stage.node).len(), expected);
        assert_eq!(host_ends(&stage.node).len(), expected);
    };
    left(2);
    assert_eq!(runtime.gc(&[a, b]).code(), None, "what is valid need not be there");
    left(2);
    assert_eq!(runtime.gc(&[]).code(), None);
    left(1);
    assert_eq!(runtime.del(&other).code(), None);
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn cleanup_removes_attachments_and_leaves_their_namespaces() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace) = Container::create("c1");
    runtime.add(&container).result();
    let finished = stage.agent.cleanup();
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_nothing_is_left(&stage.node);
    assert!(!stage.node.run_dir().exists(), "the run directory is gone");
    assert!(!namespace.ip("-o link").contains("eth0"));
    assert_eq!(runtime.del(&container).code(), None, "DEL succeeds all the same");
    // That DEL has left word for an agent that will not come; a cleanup takes that too.
    assert_eq!(stage.agent.cleanup().code, 0);
    wait::until("the run directory to go", wait::PATIENCE, || {
        if stage.node.run_dir().exists() { Err("it is there".to_owned()) } else { Ok(()) }
    });
}
