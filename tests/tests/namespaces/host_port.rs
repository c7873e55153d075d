//! Ports of a node that lead to pods of it, as the `portmap` plugin of CNI makes them.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    agent::Agent,
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::TARGET_PORT,
    topology::{DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, bridge},
    traffic::{
        Answer, Protocol, client,
        constant::{ConstantSender, Style},
        server::Server,
    },
    wait,
};

const HOST_PORT: u16 = 8888;
/// Where a node that is asked has no server of this name.
const IMPATIENCE: Duration = Duration::from_millis(500);
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

fn ask(from: &NetNamespace, protocol: Protocol, target: SocketAddr) -> io::Result<Answer> {
    from.run(|| client::ask_within(protocol, target, IMPATIENCE))
}

fn at(addresses: [IpAddr; 2], port: u16) -> [SocketAddr; 2] {
    addresses.map(|address| SocketAddr::new(address, port))
}

/// TCP and UDP of the host port, at all of the node's addresses.
fn both_protocols() -> Value {
    json!([
        {"containerPort": TARGET_PORT, "hostPort": HOST_PORT},
        {"containerPort": TARGET_PORT, "hostPort": HOST_PORT, "protocol": "UDP"},
    ])
}

fn with_both_protocols(pod: Value) -> Value {
    manifests::with_host_ports(pod, both_protocols())
}

fn host_ports(agent: &Agent, pod: &str) -> Vec<Value> {
    let pods = agent.get("pods");
    let found = pods.iter().find(|object| object["name"] == pod);
    found.and_then(|pod| pod["hostPorts"].as_array()).cloned().unwrap_or_default()
}

/// Pod `a` with its host port and pod `client` on the first node, pod `far` on the second.
struct Stage {
    topology: Topology,
    a: Pod,
    client: Pod,
    far: Pod,
}

fn stage(arguments: &[&str]) -> Option<Stage> {
    let mut topology = Topology::new(Layout::routed(2))?;
    let a = topology.add_pod("a", 0, "a");
    topology.write_pod(&a, with_both_protocols);
    let client = topology.add_pod("client", 0, "client");
    let far = topology.add_pod("far", 1, "far");
    topology.network.announce_pods();
    topology.start(arguments);
    Some(Stage { topology, a, client, far })
}

/// Everybody reaches the pod, which sees who they are.
fn everybody_reaches_the_pod(arguments: &[&str]) {
    let Some(Stage { topology, a, client, far }) = stage(arguments) else { return };
    let _servers = a.serve();
    let nodes = [0, 1].map(|node| topology.node(node).netns().clone());
    let outside = topology.network.outside();
    let (own, gateway) = (addresses::node(0), bridge(0));
    for family in 0..2 {
        let seen = |addresses: [IpAddr; 2]| Some(addresses[family]);
        let cases = [
            ("the outside", outside, own, seen(addresses::outside())),
            ("a pod of the node", &client.netns(), own, seen(client.addresses)),
            ("the same by the bridge", &client.netns(), gateway, seen(client.addresses)),
            ("a pod of another node", &far.netns(), own, seen(addresses::node(1))),
            ("the pod itself", &a.netns(), own, seen(gateway)),
            ("another node", &nodes[1], own, seen(addresses::node(1))),
            // Which of its addresses the node takes for a pod's is its kernel's choice.
            ("the node", &nodes[0], own, None),
            ("the same by loopback", &nodes[0], LOOPBACK.map(ip), None),
        ];
        for (who, from, to, seen) in cases {
            let target = at(to, HOST_PORT)[family];
            for protocol in Protocol::ALL {
                for _ in 0..3 {
                    let what = format!("{who}: {protocol:?} to {target}");
                    let answer = ask(from, protocol, target)
                        .unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(answer.server, "a", "{what}");
                    assert!(seen.is_none_or(|it| answer.client.ip() == it), "{what}: {answer:?}");
                }
            }
        }
        for from in [&a.netns(), &client.netns()] {
            let target = at(LOOPBACK.map(ip), HOST_PORT)[family];
            let error = ask(from, Protocol::Tcp, target).expect_err("a pod's loopback is its own");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    }
    let ports = host_ports(topology.agent(0), "a");
    for (port, protocol) in ports.iter().zip(["TCP", "UDP"]) {
        assert_eq!(port["hostPort"], HOST_PORT);
        assert_eq!(port["containerPort"], TARGET_PORT);
        assert_eq!(port["protocol"], protocol);
        assert_eq!(port["served"], true);
        // Eight clients of each family, three times each; those of the node send no packets here.
        assert_eq!(port["connections"], 48, "{port}");
        assert!(port["packets"].as_u64() > Some(36), "{port}");
    }
    assert_eq!(ports.len(), 2);
    assert_eq!(host_ports(topology.agent(0), "client"), Vec::<Value>::new());
    let is_right = |row: &&Value| {
        let destination = row["destination"].as_str().is_some_and(|it| it.ends_with(":8888"));
        destination && row["backend"].as_str().is_some_and(|it| it.ends_with(":8080"))
    };
    let connections = topology.agent(0).get("connections");
    assert!(connections.iter().filter(is_right).count() >= 12, "{connections:#?}");
}

#[test]
#[ignore = "needs root"]
fn everybody_reaches_the_pod_through_the_overlay() {
    everybody_reaches_the_pod(&VXLAN);
}

#[test]
#[ignore = "needs root"]
fn everybody_reaches_the_pod_by_direct_routes() {
    everybody_reaches_the_pod(&DIRECT);
}

#[test]
#[ignore = "needs root"]
fn one_host_port_of_several_addresses_and_protocols_is_several_pods() {
    // As `validates that there is no conflict between pods with same hostPort but different hostIP
    // and protocol` of Kubernetes' test/e2e/network/hostport.go.
    let Some(mut topology) = Topology::new(Layout::routed(1)) else { return };
    let node = topology.node(0).netns().clone();
    let mut pods = Vec::new();
    for (family, own) in addresses::node(0).into_iter().enumerate() {
        let loopback = ip(LOOPBACK[family]);
        for (name, host_ip, protocol) in
            [("loopback", loopback, "TCP"), ("tcp", own, "TCP"), ("udp", own, "UDP")]
        {
            let pod = topology.add_pod(&format!("{name}-{family}"), 0, "x");
            let port = json!({"containerPort": TARGET_PORT, "hostPort": 54323,
                              "hostIP": host_ip, "protocol": protocol});
            topology.write_pod(&pod, |pod| manifests::with_host_ports(pod, json!([port])));
            pods.push(pod);
        }
    }
    topology.start(&VXLAN);
    assert_eq!(topology.agent(0).source_errors(), Vec::<Value>::new());
    let names = ["loopback", "tcp", "udp"];
    let _servers: Vec<[Server; 2]> = pods.iter().map(Pod::serve).collect();
    let outside = topology.network.outside();
    for (family, own) in addresses::node(0).into_iter().enumerate() {
        let own = SocketAddr::new(own, 54323);
        let loopback = SocketAddr::new(ip(LOOPBACK[family]), 54323);
        let [by_loopback, by_tcp, by_udp] = names.map(|name| format!("{name}-{family}"));
        let server = |from: &NetNamespace, protocol, target| {
            ask(from, protocol, target).map(|answer| answer.server)
        };
        assert_eq!(server(&node, Protocol::Tcp, loopback).expect("loopback"), by_loopback);
        for from in [&node, outside] {
            assert_eq!(server(from, Protocol::Tcp, own).expect("TCP"), by_tcp);
            assert_eq!(server(from, Protocol::Udp, own).expect("UDP"), by_udp);
        }
        let error = server(&node, Protocol::Udp, loopback).expect_err("it is TCP's alone");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // No other address of the node is among them.
        let gateway = SocketAddr::new(bridge(0)[family], 54323);
        let error = server(&node, Protocol::Tcp, gateway).expect_err("nothing listens there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
#[ignore = "needs root"]
fn a_host_port_goes_with_its_pod_and_the_port_is_the_nodes_again() {
    let Some(Stage { topology, a, .. }) = stage(&VXLAN) else { return };
    let _servers = a.serve();
    let outside = topology.network.outside();
    let targets = at(addresses::node(0), HOST_PORT);
    for target in targets {
        assert_eq!(ask(outside, Protocol::Tcp, target).expect("the pod").server, "a");
    }
    topology.remove_pod("a");
    for target in targets {
        for protocol in Protocol::ALL {
            wait::until("the host port's end", wait::PATIENCE, || {
                match ask(outside, protocol, target) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
    }
    let _node = topology.serve_on_node(0, "node", HOST_PORT);
    for target in targets.into_iter().chain(at(LOOPBACK.map(ip), HOST_PORT)) {
        for protocol in Protocol::ALL {
            let from = if target.ip().is_loopback() { topology.node(0).netns() } else { outside };
            assert_eq!(ask(from, protocol, target).expect("the node").server, "node");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn connections_by_a_host_port_outlive_the_agent() {
    let Some(Stage { mut topology, a, client, .. }) = stage(&VXLAN) else { return };
    let _servers = a.serve();
    let [target, _] = at(addresses::node(0), HOST_PORT);
    let outside = topology.network.outside().clone();
    let sender = ConstantSender::start(&outside, Style::Connected, target);
    sender.wait_for_server("a");
    topology.agent_mut(0).kill9();
    assert_eq!(ask(&outside, Protocol::Tcp, target).expect("without an agent").server, "a");
    topology.agent_mut(0).start();
    topology.agent_mut(0).wait_ready();
    for from in [&outside, &client.netns(), topology.node(0).netns()] {
        assert_eq!(ask(from, Protocol::Tcp, target).expect("with another agent").server, "a");
    }
    sender.wait_for_server("a");
    let report = sender.stop();
    assert_eq!((report.lost(), report.refused), (0, 0), "{:?}", report.gaps());
    assert!(host_ports(topology.agent(0), "a").iter().all(|port| port["served"] == true));
}

/// A pod with the host port is made anew under another name, in one step; the former one goes.
fn datagrams_go_to_the_next_pod(family: usize) {
    let Some(Stage { topology, a, .. }) = stage(&VXLAN) else { return };
    let mut servers = vec![a.serve()];
    let target = at(addresses::node(0), HOST_PORT)[family];
    let loopback = at(LOOPBACK.map(ip), HOST_PORT)[family];
    let (outside, node) = (topology.network.outside(), topology.node(0).netns());
    let senders = [
        ("the outside", ConstantSender::start(outside, Style::Connected, target)),
        ("the node", ConstantSender::start(node, Style::Unconnected, target)),
        ("the node, connected", ConstantSender::start(node, Style::Connected, loopback)),
    ];
    let have_come_to = |name: &str| {
        for (_, sender) in &senders {
            sender.wait_for_server(name);
        }
    };
    have_come_to("a");
    let mut former = with_both_protocols(topology.pod_manifest(&a, "a"));
    for number in 0..3_u8 {
        let next = Pod {
            name: format!("next-{number}"),
            node: 0,
            addresses: addresses::pod_segment(0).host(100 + number),
        };
        // It is there and serves; then the host port passes to it with the other's end.
        let object = topology.pod_manifest(&next, "next");
        topology.manifests.write("pod-a.yaml", &[former, object.clone()]);
        servers.push(next.serve());
        former = with_both_protocols(object);
        topology.manifests.write("pod-a.yaml", std::slice::from_ref(&former));
        have_come_to(&next.name);
    }
    for (who, sender) in senders {
        let report = sender.stop();
        let (sent, lost, refused) = (report.sent, report.lost(), report.refused);
        let story = format!("{who}: of {sent} {lost} lost, {refused} refused: {:?}", report.gaps());
        // Each change costs one datagram at most.
        assert!(sent > 100 && lost + refused <= 3, "{story}");
    }
}

#[test]
#[ignore = "needs root"]
fn datagrams_go_to_the_next_pod_v4() {
    datagrams_go_to_the_next_pod(0);
}

#[test]
#[ignore = "needs root"]
fn datagrams_go_to_the_next_pod_v6() {
    datagrams_go_to_the_next_pod(1);
}

/// Waits until exactly these objects are in conflict, by the fields that are.
fn wait_for_conflicts(agent: &Agent, expected: &[(&str, &str, &str)]) {
    wait::until("the conflicts", wait::PATIENCE, || {
        let errors = agent.source_errors();
        let found: Vec<_> = errors
            .iter()
            .map(|error| ["kind", "name", "field"].map(|key| error[key].as_str().unwrap_or("")))
            .collect();
        let expected: Vec<_> = expected.iter().map(|&(a, b, c)| [a, b, c]).collect();
        if found == expected { Ok(()) } else { Err(format!("{errors:#?}")) }
    });
}

fn created(mut object: Value, day: u8) -> Value {
    object["metadata"]["creationTimestamp"] = json!(format!("2026-01-{day:02}T00:00:00Z"));
    object
}

#[test]
#[ignore = "needs root"]
fn of_two_that_want_one_port_of_a_node_the_older_has_it() {
    let Some(mut topology) = Topology::new(Layout::routed(1)) else { return };
    let pods = ["web", "a", "b"].map(|name| topology.add_pod(name, 0, name));
    let ports = json!([
        {"containerPort": TARGET_PORT, "hostPort": NODE_PORT},
        {"containerPort": TARGET_PORT, "hostPort": HOST_PORT},
    ]);
    let with_ports = |day: u8, ports: &Value| {
        let ports = ports.clone();
        move |pod: Value| created(manifests::with_host_ports(pod, ports), day)
    };
    topology.write_pod(&pods[1], with_ports(3, &ports));
    let web = |service| manifests::with_node_ports(created(service, 2), &[NODE_PORT, NODE_PORT]);
    topology.write_web(web);
    topology.start(&VXLAN);
    let _servers: Vec<[Server; 2]> = pods.iter().map(Pod::serve).collect();
    let outside = topology.network.outside();
    let [node_port, _] = at(addresses::node(0), NODE_PORT);
    let [host_port, _] = at(addresses::node(0), HOST_PORT);
    // What is in conflict is known a moment before it is in force.
    let becomes = |target, name: &str| {
        wait::until(name, wait::PATIENCE, || match ask(outside, Protocol::Tcp, target) {
            Ok(answer) if answer.server == name => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    let lost = "spec.containers[].ports[].hostPort";

    wait_for_conflicts(topology.agent(0), &[("Pod", "a", lost)]);
    let errors = topology.agent(0).source_errors();
    let message = errors[0]["message"].as_str().expect("a message");
    assert!(message.contains("Service default/web, which is older"), "{message}");
    becomes(node_port, "web");
    becomes(host_port, "a");
    let ports_of_a = host_ports(topology.agent(0), "a");
    assert_eq!(ports_of_a[0]["served"], false);
    assert_eq!(ports_of_a[1]["served"], true);

    // An older pod takes it from the Service.
    topology.write_pod(&pods[2], with_ports(1, &json!([ports[0]])));
    wait_for_conflicts(
        topology.agent(0),
        &[("Pod", "a", lost), ("Service", "web", "spec.ports[0].nodePort")],
    );
    becomes(node_port, "b");
    becomes(host_port, "a");

    // The Service has it again, and then the pod that has waited.
    topology.write_pod(&pods[2], |pod| pod);
    wait_for_conflicts(topology.agent(0), &[("Pod", "a", lost)]);
    becomes(node_port, "web");
    topology.manifests.remove("web.yaml");
    wait_for_conflicts(topology.agent(0), &[]);
    becomes(node_port, "a");

    // An address that is not the node's.
    let elsewhere = json!([{"containerPort": 1, "hostPort": 1, "hostIP": "172.30.9.9"}]);
    topology.write_pod(&pods[2], with_ports(1, &elsewhere));
    let field = "spec.containers[].ports[].hostIP";
    wait_for_conflicts(topology.agent(0), &[("Pod", "b", field)]);
    assert!(topology.agent(0).log().contains("172.30.9.9 is no address of this node"));
}
