//! What Services and the agent's flags ask for beyond addresses and endpoints, switched while
//! packets flow: session affinity, source ranges, node ports' addresses, ranges of cluster IPs.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    manifests::{self, ip},
    one_node::{NODE_ADDRESSES, OneNode, web, web_service, write_web},
    topology::{Layout, NODE_PORT, Topology, VXLAN},
    traffic::{Answer, Protocol, client},
    wait,
};

const LOAD_BALANCER: [&str; 2] = ["172.29.0.10", "fd00:172:29::10"];
const BACKENDS: [&str; 3] = ["a", "b", "c"];
/// How long a client waits that is not to be answered.
const IMPATIENCE: Duration = Duration::from_millis(300);

/// One node with Service `web`, changed, and an agent with these arguments.
fn stage(change: impl Fn(Value) -> Value, arguments: &[&str]) -> Option<OneNode> {
    let mut stage = OneNode::prepare(|manifests| {
        write_web(manifests, &BACKENDS);
        manifests.write("web.yaml", &[change(web_service())]);
    })?;
    stage.agent = stage.node.run_agent(&stage.manifests, arguments);
    stage.agent.wait_ready();
    Some(stage)
}

fn with_affinity(mut service: Value, seconds: u32) -> Value {
    service["spec"]["sessionAffinity"] = json!("ClientIP");
    service["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    service
}

fn with_ranges(service: Value, ranges: &[&str]) -> Value {
    let mut service = manifests::with_load_balancer(service, &LOAD_BALANCER);
    service["spec"]["loadBalancerSourceRanges"] = json!(ranges);
    service
}

fn load_balancer() -> [SocketAddr; 2] {
    LOAD_BALANCER.map(|address| SocketAddr::new(ip(address), 80))
}

fn node_ports(addresses: [&str; 2]) -> [SocketAddr; 2] {
    addresses.map(|address| SocketAddr::new(ip(address), NODE_PORT))
}

fn pod_asks(stage: &OneNode, target: SocketAddr) -> io::Result<Answer> {
    stage.pod("client").run(|| client::ask_within(Protocol::Tcp, target, IMPATIENCE))
}

fn node_asks(stage: &OneNode, target: SocketAddr) -> io::Result<Answer> {
    stage.node.netns().run(|| client::ask_within(Protocol::Tcp, target, IMPATIENCE))
}

/// Waits until a client is answered, or until it is not.
fn wait_until(what: &str, is_answered: bool, ask: impl Fn() -> io::Result<Answer>) {
    wait::until(what, wait::PATIENCE, || {
        let answer = ask();
        if answer.is_ok() == is_answered { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// Who answers so many new connections.
fn servers(times: usize, ask: impl Fn() -> io::Result<Answer>) -> BTreeSet<String> {
    (0..times).map(|_| ask().expect("an answer").server).collect()
}

#[test]
#[ignore = "needs root"]
fn a_client_stays_with_its_endpoint_by_every_address_until_affinity_is_switched_off() {
    let exposed = |service| {
        manifests::with_node_ports(
            manifests::with_load_balancer(service, &LOAD_BALANCER),
            &[NODE_PORT, NODE_PORT],
        )
    };
    let Some(stage) = stage(|service| exposed(with_affinity(service, 10_800)), &[]) else { return };
    let _servers = stage.serve(&BACKENDS);
    for family in 0..2 {
        let targets = [web(), load_balancer(), node_ports(NODE_ADDRESSES)].map(|it| it[family]);
        for ask in [pod_asks, node_asks] {
            let met: BTreeSet<String> =
                targets.iter().flat_map(|&target| servers(8, || ask(&stage, target))).collect();
            assert_eq!(met.len(), 1, "{targets:?}: {met:?}");
        }
    }
    stage.manifests.write("web.yaml", &[exposed(web_service())]);
    for target in web() {
        wait::until("other endpoints", wait::PATIENCE, || {
            let met = servers(10, || pod_asks(&stage, target));
            if met.len() > 1 { Ok(()) } else { Err(format!("{met:?}")) }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn affinity_ends_when_its_time_is_over() {
    let Some(stage) = stage(|service| with_affinity(service, 1), &[]) else { return };
    let _servers = stage.serve(&BACKENDS);
    let target = web()[0];
    assert_eq!(servers(10, || pod_asks(&stage, target)).len(), 1);
    let later = servers(10, || {
        thread::sleep(Duration::from_millis(1200));
        pod_asks(&stage, target)
    });
    assert!(later.len() > 1, "{later:?}");
    // Another timeout holds for what is remembered already.
    stage.manifests.write("web.yaml", &[with_affinity(web_service(), 60)]);
    wait::until("the other timeout", wait::PATIENCE, || {
        let services = stage.agent.get("services");
        let web = services.iter().find(|service| service["name"] == "web").expect("web is there");
        let seconds = &web["sessionAffinityTimeoutSeconds"];
        if *seconds == 60 { Ok(()) } else { Err(seconds.to_string()) }
    });
    let later = servers(4, || {
        thread::sleep(Duration::from_millis(1200));
        pod_asks(&stage, target)
    });
    assert_eq!(later.len(), 1);
}

#[test]
#[ignore = "needs root"]
fn source_ranges_come_and_go_while_the_cluster_ip_serves_everybody() {
    let others = ["203.0.113.0/24", "fd00:113::/64"];
    let Some(mut stage) = stage(|service| with_ranges(service, &others), &[]) else { return };
    let _servers = stage.serve(&BACKENDS);
    let write = |stage: &OneNode, ranges: &[&str]| {
        stage.manifests.write("web.yaml", &[with_ranges(web_service(), ranges)]);
    };
    for (target, cluster_ip) in load_balancer().into_iter().zip(web()) {
        assert!(pod_asks(&stage, target).is_err() && node_asks(&stage, target).is_err());
        pod_asks(&stage, cluster_ip).expect("a cluster IP has no ranges");
    }
    assert!(stage.agent.drops("source-not-allowed") > 0);
    write(&stage, &["203.0.113.0/24", " 10.244.1.007/16", "fd00:10:244::/48"]);
    for target in load_balancer() {
        wait_until("the pod is in a range", true, || pod_asks(&stage, target));
        assert!(node_asks(&stage, target).is_err(), "the node is in none");
    }
    write(&stage, &["172.30.0.0/16", "fd00:172:30::/48"]);
    for target in load_balancer() {
        wait_until("the node is in a range", true, || node_asks(&stage, target));
        wait_until("the pod is in none", false, || pod_asks(&stage, target));
    }
    stage.agent.kill9();
    stage.agent.start();
    stage.agent.wait_ready();
    for target in load_balancer() {
        node_asks(&stage, target).expect("ranges outlive the agent");
        assert!(pod_asks(&stage, target).is_err());
    }
    write(&stage, &["::/0", "203.0.113.0/24"]);
    let [v4, v6] = load_balancer();
    wait_until("all of IPv6 is served", true, || pod_asks(&stage, v6));
    assert!(pod_asks(&stage, v4).is_err() && node_asks(&stage, v4).is_err());
    write(&stage, &[]);
    wait_until("all of IPv4 is served", true, || pod_asks(&stage, v4));
}

#[test]
#[ignore = "needs root"]
fn node_ports_answer_within_a_second_on_addresses_that_come() {
    let with_ports = |service| manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
    let arguments = ["--node-port-addresses", "172.31.0.0/16,172.30.0.0/16"];
    let Some(stage) = stage(with_ports, &arguments) else { return };
    let _servers = stage.serve(&BACKENDS);
    let new = ["172.31.7.1", "fd00:172:31::7"];
    for (address, target) in new.into_iter().zip(node_ports(new)) {
        assert!(pod_asks(&stage, target).is_err());
        let (length, option) = if target.is_ipv4() { (32, "") } else { (128, " nodad") };
        stage.node.netns().ip(&format!("address add {address}/{length} dev lo{option}"));
        let start = Instant::now();
        wait_until("an address that came", true, || pod_asks(&stage, target));
        // Two clients may have waited in vain.
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        node_asks(&stage, target).expect("the node reaches it too");
        stage.node.netns().ip(&format!("address del {address}/{length} dev lo"));
        wait_until("an address that went", false, || pod_asks(&stage, target));
    }
    // Not within the networks; of IPv6 there is none, so all are.
    let other = "172.28.7.1";
    stage.node.netns().ip(&format!("address add {other}/32 dev lo"));
    thread::sleep(Duration::from_secs(1));
    assert!(pod_asks(&stage, SocketAddr::new(ip(other), NODE_PORT)).is_err());
}

#[test]
#[ignore = "needs root"]
fn node_ports_answer_the_nodes_processes_on_loopback_where_that_is_asked_for() {
    let with_ports = |service| manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
    let Some(mut stage) = stage(with_ports, &["--localhost-node-ports"]) else { return };
    let _servers = stage.serve(&BACKENDS);
    let loopback = node_ports(["127.0.0.1", "::1"]);
    stage.pod("client").ip("link set lo up");
    for target in loopback {
        node_asks(&stage, target).expect("a node port on loopback");
        let error = pod_asks(&stage, target).expect_err("a pod's loopback is its own");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
    stage.agent.sigterm();
    stage.agent = stage.node.run_agent(&stage.manifests, &[]);
    stage.agent.wait_ready();
    for target in loopback {
        let error = node_asks(&stage, target).expect_err("nothing listens there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[test]
#[ignore = "needs root"]
fn masquerade_all_hides_pods_from_each_other_by_cluster_ips() {
    let Some(stage) = stage(|service| service, &["--masquerade-all"]) else { return };
    let _servers = stage.serve(&BACKENDS);
    for (target, bridge) in web().into_iter().zip(["10.244.1.1", "fd00:10:244:1::1"]) {
        let answer = pod_asks(&stage, target).expect("an answer");
        assert_eq!(answer.client.ip(), ip(bridge), "{target}");
    }
}

#[test]
#[ignore = "needs root"]
fn where_nobody_is_local_pods_are_held_to_an_external_policy_of_local() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let (a, client) = (stage.add_pod("a", 1, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(|service| {
        let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
        manifests::with_local_external_policy(service)
    });
    stage.network.announce_pods();
    stage.start(&[&VXLAN[..], &["--detect-local", "off"]].concat());
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    for (family, target) in stage.node_port(0).into_iter().enumerate() {
        let ask = |target| move || client::ask_within(Protocol::Tcp, target, IMPATIENCE);
        assert!(client.netns().run(ask(target)).is_err(), "no endpoint is here: {target}");
        let answer = stage.node(0).netns().run(ask(target)).expect("the node reaches all");
        assert_eq!(answer.server, "a");
        let there = client.netns().run(ask(stage.node_port(1)[family]));
        assert_eq!(there.expect("by the node that has one").server, "a");
        let by_cluster_ip = client.netns().run(ask(web()[family])).expect("by the cluster IP");
        assert_eq!(by_cluster_ip.client.ip(), client.addresses[family]);
    }
}

fn service_cidr(name: &str, cidrs: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": cidrs},
    })
}

#[test]
#[ignore = "needs root"]
fn what_no_service_has_is_dropped_while_a_range_says_so() {
    let Some(stage) = stage(|service| service, &["--service-cidrs", "10.97.0.0/16"]) else {
        return;
    };
    let _servers = stage.serve(&BACKENDS);
    let unallocated = ["10.96.99.99", "fd00:10:96::9999"].map(|it| SocketAddr::new(ip(it), 80));
    let drops = || stage.agent.drops("unallocated-service-address");
    let wait_for_ranges = |expected: &[&str]| {
        wait::until("ranges", wait::PATIENCE, || {
            let ranges = stage.agent.status()["serviceCIDRs"].clone();
            if ranges == json!(expected) { Ok(()) } else { Err(ranges.to_string()) }
        });
    };
    wait_for_ranges(&["10.97.0.0/16"]);
    for target in unallocated {
        assert!(pod_asks(&stage, target).is_err());
    }
    assert_eq!(drops(), 0);
    let object = service_cidr("kubernetes", &["10.96.0.0/16", "fd00:10:96::/64"]);
    stage.manifests.write("cidr.yaml", std::slice::from_ref(&object));
    wait_for_ranges(&["10.96.0.0/16", "10.97.0.0/16", "fd00:10:96::/64"]);
    for (target, allocated) in unallocated.into_iter().zip(web()) {
        // A range is known a moment before it is in force.
        wait::until("both are dropped", wait::PATIENCE, || {
            let before = drops();
            assert!(pod_asks(&stage, target).is_err() && node_asks(&stage, target).is_err());
            if drops() >= before + 2 { Ok(()) } else { Err(target.to_string()) }
        });
        pod_asks(&stage, allocated).expect("what a Service has is served");
    }
    let overlapping = service_cidr("bad", &["10.244.0.0/16"]);
    stage.manifests.write("cidr.yaml", &[object, overlapping]);
    wait::until("a refusal", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        let is_it = |error: &&Value| error["kind"] == "ServiceCIDR" && error["name"] == "bad";
        let message = errors.iter().find(is_it).map(|error| error["message"].to_string());
        match message {
            Some(message) if message.contains("10.244.1.0/24 of Node node1") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    stage.manifests.remove("cidr.yaml");
    wait_for_ranges(&["10.97.0.0/16"]);
    let before = drops();
    for target in unallocated {
        assert!(pod_asks(&stage, target).is_err());
    }
    assert_eq!(drops(), before);
}
