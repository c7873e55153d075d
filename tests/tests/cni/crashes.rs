//! Agents that die, and what the next one makes of it.

use std::{collections::BTreeSet, fs, net::SocketAddr, thread, time::Duration};

use tests::{
    cni::{Container, Runtime, assert_nothing_is_left, attachments, host_ends, leases},
    manifests::ip,
    one_node::{OneNode, TARGET_PORT, web},
    traffic::{client, server::Server},
    wait,
};

#[test]
#[ignore = "needs root"]
fn attachments_live_through_the_agents_death_and_are_known_before_the_next_one_is_ready() {
    let Some(mut stage) = OneNode::with_web(&["a"]) else { return };
    let runtime = Runtime::of(&stage.node);
    let _servers = stage.serve(&["a"]);
    let (container, namespace) = Container::create("c1");
    let result = runtime.add(&container).result();
    let pods = stage.agent.get("pods");
    let connection = namespace.run(|| client::connect(web()[0])).expect("a connection");
    stage.agent.kill9();
    assert_eq!(namespace.run(|| client::ask_tcp(web()[0])).expect("no agent").server, "a");
    stage.agent.start();
    stage.agent.wait_ready();
    assert_eq!(stage.agent.get("pods"), pods);
    assert_eq!(runtime.check(&container, &result).code(), None);
    assert_eq!(runtime.add(&container).code(), Some(101));
    // Nothing of the container was made anew.
    connection.take_error().expect("the connection is there");
    for target in web() {
        assert_eq!(namespace.run(|| client::ask_tcp(target)).expect("a new agent").server, "a");
    }
    drop(connection);
    assert_eq!(runtime.del(&container).code(), None);
}

#[test]
#[ignore = "needs root"]
fn what_was_damaged_is_repaired_with_and_without_an_agent() {
    let Some(mut stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace) = Container::create("c1");
    let result = runtime.add(&container).result();
    let _server = Server::tcp(&namespace, "c1", TARGET_PORT);
    let target = SocketAddr::new(ip("10.244.1.2"), TARGET_PORT);
    let node = stage.node.netns().clone();
    let is_whole = |runtime: &Runtime| {
        wait::until("the attachment to be whole", wait::PATIENCE, || {
            match runtime.check(&container, &result).code() {
                None => Ok(()),
                code => Err(format!("{code:?}")),
            }
        });
        assert_eq!(node.run(|| client::ask_tcp(target)).expect("reached").server, "c1");
    };
    let host_end = host_ends(&stage.node).remove(0);
    node.ip(&format!("link del {host_end}"));
    is_whole(&runtime);
    stage.agent.kill9();
    node.ip(&format!("link del {host_end}"));
    stage.agent.start();
    stage.agent.wait_ready();
    is_whole(&runtime);
}

#[test]
#[ignore = "needs root"]
fn an_agent_killed_among_twenty_adds_leaves_no_address_twice_and_none_lost() {
    let Some(mut stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    for (round, delay) in [30_u64, 120, 250, 500].into_iter().enumerate() {
        let containers: Vec<Container> =
            (0..20).map(|number| Container::create(&format!("c{round}-{number}")).0).collect();
        let first: Vec<_> = thread::scope(|scope| {
            let runtime = &runtime;
            let add = |container| scope.spawn(move || runtime.add(container));
            let threads: Vec<_> = containers.iter().map(add).collect();
            thread::sleep(Duration::from_millis(delay));
            stage.agent.kill9();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        stage.agent.start();
        stage.agent.wait_ready();
        // What was refused is deleted and tried again, as runtimes do it, while all others come too.
        let mut addresses = Vec::new();
        let mut retries = 0;
        for (container, outcome) in containers.iter().zip(first) {
            if outcome.code().is_none() {
                addresses.extend(outcome.addresses());
                continue;
            }
            assert_eq!(outcome.code(), Some(11), "{outcome:?}");
            retries += 1;
            assert_eq!(runtime.del(container).code(), None);
            let again = runtime.add(container);
            assert_eq!(again.code(), None, "{again:?}");
            addresses.extend(again.addresses());
        }
        eprintln!("killed after {delay} ms: {retries} of 20 were tried again");
        let distinct: BTreeSet<_> = addresses.iter().collect();
        assert_eq!((addresses.len(), distinct.len()), (40, 40), "{addresses:?}");
        assert_eq!(leases(&stage.node).len(), 20);
        assert_eq!(attachments(&stage.node).len(), 20);
        assert_eq!(host_ends(&stage.node).len(), 20);
        thread::scope(|scope| {
            for container in &containers {
                scope.spawn(|| assert_eq!(runtime.del(container).code(), None));
            }
        });
        assert_nothing_is_left(&stage.node);
    }
}

#[test]
#[ignore = "needs root"]
fn attachments_of_a_former_boot_keep_their_addresses_until_they_are_needed() {
    let Some(mut stage) = OneNode::prepare(|manifests| {
        let node = tests::manifests::node("node1", &["10.244.1.0/29"], &["172.30.1.2"]);
        manifests.write("node.yaml", &[node]);
    }) else {
        return;
    };
    stage.agent.start();
    stage.agent.wait_ready();
    let runtime = Runtime::of(&stage.node);
    let old: Vec<Container> = ["old1", "old2"].map(|name| Container::create(name).0).into();
    for container in &old {
        runtime.add(container).result();
    }
    // A boot, as far as files tell: all interfaces are gone, and the kernel has another name for
    // the time since.
    stage.agent.kill9();
    for interface in host_ends(&stage.node) {
        stage.node.netns().ip(&format!("link del {interface}"));
    }
    let store = stage.node.run_dir().join("attachments.json");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&store).unwrap().replace(boot_id.trim(), "another-boot");
    fs::write(&store, text).unwrap();
    stage.agent.start();
    stage.agent.wait_ready();
    assert_eq!(stage.agent.source_errors(), [] as [serde_json::Value; 0]);
    assert_eq!(host_ends(&stage.node), [] as [String; 0], "what is gone is not made again");
    assert_eq!(stage.agent.get("pods"), [] as [serde_json::Value; 0]);

    // Five addresses, two of which the old ones keep while others are free.
    let new: Vec<Container> =
        (0..5).map(|number| Container::create(&format!("n{number}")).0).collect();
    let kept = [ip("10.244.1.2"), ip("10.244.1.3")];
    for container in &new[..2] {
        let addresses = runtime.add(container).addresses();
        assert!(addresses.iter().all(|address| !kept.contains(address)), "{addresses:?}");
    }
    // The runtime deletes one of the old ones, as it does after a boot; the other one is forgotten
    // by it, and gives way when there is no other address.
    assert_eq!(runtime.del(&old[0]).code(), None);
    assert_eq!(leases(&stage.node).len(), 3);
    for container in &new[2..] {
        let outcome = runtime.add(container);
        assert_eq!(outcome.code(), None, "{outcome:?}");
    }
    assert_eq!(leases(&stage.node).len(), 5);
    for container in &new {
        assert_eq!(runtime.del(container).code(), None);
    }
    assert_nothing_is_left(&stage.node);
}
