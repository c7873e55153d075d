//! Many pods coming and going, and nothing of them left.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tests::{
    cni::{Container, Runtime, assert_nothing_is_left, number_from_environment},
    netns::NetNamespace,
    node::Node,
    one_node::{NODE, NODE_ADDRESSES, POD_CIDRS},
    sandbox::Sandbox,
};

/// How many containers are attached and deleted, where the environment says nothing.
const PAIRS: usize = 1_000;

/// The environment variable that says how many.
const PAIRS_VARIABLE: &str = "SHUNT_CNI_PAIRS";

const CALLERS: usize = 16;

#[test]
#[ignore = "needs root"]
fn nothing_leaks_over_many_adds_and_dels_from_sixteen_callers() {
    let pairs = number_from_environment(PAIRS_VARIABLE, PAIRS);
    let deadline = Duration::from_secs(120 + pairs as u64 / 10);
    let Some(sandbox) = Sandbox::enter_for(deadline) else { return };
    let node = Node::new(&sandbox, NODE);
    let manifests = tests::manifests::ManifestDir::create(&sandbox.root().join("manifests"));
    manifests.write("node.yaml", &[tests::manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES)]);
    let mut agent = node.run_agent(&manifests, &["--log", "warn"]);
    agent.wait_ready();
    let runtime = Runtime::of(&node);
    let namespaces: Vec<NetNamespace> =
        (0..CALLERS).map(|caller| NetNamespace::create(&format!("ns{caller}"))).collect();
    let next = AtomicUsize::new(0);
    let cycle = |namespace: &NetNamespace| {
        let mut longest = Duration::ZERO;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= pairs {
                return longest;
            }
            let path = NetNamespace::path(namespace.name());
            let container = Container::of(&format!("c{number}"), &path);
            let begun = Instant::now();
            let outcome = runtime.add(&container);
            longest = longest.max(begun.elapsed());
            assert_eq!(outcome.code(), None, "{outcome:?}");
            assert_eq!(runtime.del(&container).code(), None);
        }
    };
    let begun = Instant::now();
    let first = agent.memory();
    let longest = thread::scope(|scope| {
        let threads: Vec<_> =
            namespaces.iter().map(|namespace| scope.spawn(|| cycle(namespace))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max()
    });
    let took = begun.elapsed();
    let last = agent.memory();
    eprintln!(
        "{pairs} ADD and DEL from {CALLERS} callers in {took:?}, the slowest ADD {longest:?}, \
         {first} KiB, then {last} KiB"
    );
    assert_nothing_is_left(&node);
    assert!(last < first + 16 * 1024, "{first} KiB, then {last} KiB");
    let status = agent.status();
    assert_eq!(status["ready"], true, "{status}");
}
