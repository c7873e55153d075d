//! Capability `portMappings`: ports of the node that lead to a container.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};
use tests::{
    cni::{Container, Runtime, assert_nothing_is_left},
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::{NODE, NODE_ADDRESSES, OneNode, TARGET_PORT},
    traffic::{client, server::Server},
};

/// As containerd writes it.
fn mapping(host_port: u16, protocol: &str, host_ip: &str) -> Value {
    json!({
        "HostPort": host_port,
        "ContainerPort": TARGET_PORT,
        "Protocol": protocol,
        "HostIP": host_ip,
    })
}

fn with_ports(mappings: &[Value]) -> Value {
    json!({ "runtimeConfig": { "portMappings": mappings } })
}

fn serve(namespace: &NetNamespace, name: &str) -> [Server; 2] {
    [Server::tcp(namespace, name, TARGET_PORT), Server::udp(namespace, name, TARGET_PORT)]
}

fn ask(from: &NetNamespace, address: IpAddr, port: u16, protocol: &str) -> io::Result<String> {
    let target = SocketAddr::new(address, port);
    let answer = from.run(|| match protocol {
        "udp" => client::ask_udp_connected(target),
        _ => client::ask_tcp(target),
    });
    answer.map(|answer| answer.server)
}

#[test]
#[ignore = "needs root"]
fn ports_of_the_node_lead_to_a_container_until_it_is_deleted() {
    let Some(mut stage) = OneNode::start(|manifests| {
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
    }) else {
        return;
    };
    let runtime = Runtime::of(&stage.node);
    let client = stage.pod("client");
    let node = stage.node.netns().clone();
    let (container, namespace) = Container::create("c1");
    let _servers = serve(&namespace, "c1");
    let ports = with_ports(&[mapping(8080, "tcp", ""), mapping(8080, "udp", "")]);
    assert_eq!(runtime.add_with(&container, &ports).code(), None);
    let is_reached = || {
        for address in NODE_ADDRESSES.map(ip) {
            for protocol in ["tcp", "udp"] {
                let answer = ask(&client, address, 8080, protocol);
                assert_eq!(answer.expect("from a pod"), "c1", "{address} {protocol}");
                let answer = ask(&namespace, address, 8080, protocol);
                assert_eq!(answer.expect("from itself"), "c1", "{address} {protocol}");
                let answer = ask(&node, address, 8080, protocol);
                assert_eq!(answer.expect("from the node"), "c1", "{address} {protocol}");
            }
        }
        let answer = ask(&node, ip("127.0.0.1"), 8080, "tcp");
        assert_eq!(answer.expect("from the node to its loopback"), "c1");
    };
    is_reached();
    let pods = stage.agent.get("pods");
    let shown = pods.iter().find(|pod| pod["name"] == "c1").unwrap();
    let shown = shown["hostPorts"].as_array().unwrap();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown.iter().all(|port| port["hostPort"] == 8080 && port["served"] == true));

    stage.agent.kill9();
    stage.agent.start();
    stage.agent.wait_ready();
    is_reached();
    assert_eq!(runtime.del(&container).code(), None);
    assert!(ask(&client, ip(NODE_ADDRESSES[0]), 8080, "tcp").is_err());

    // The next one has the ports at once, for a socket that was there before, too.
    let (next, namespace) = Container::create("c2");
    let _servers = serve(&namespace, "c2");
    assert_eq!(runtime.add_with(&next, &ports).code(), None);
    for protocol in ["tcp", "udp"] {
        let answer = ask(&client, ip(NODE_ADDRESSES[0]), 8080, protocol);
        assert_eq!(answer.expect("the next container"), "c2", "{protocol}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_that_another_has_is_refused_and_leaves_nothing() {
    let Some(stage) = OneNode::start(|manifests| {
        let mut service = manifests::service("web", &["10.96.1.10"], &[("x", "TCP", 80, 8080)]);
        service = manifests::with_node_ports(service, &[30080]);
        manifests.write("web.yaml", &[service]);
    }) else {
        return;
    };
    let runtime = Runtime::of(&stage.node);
    let [a, b, c] = ["a", "b", "c"].map(|name| Container::create(name).0);
    let taken = |container: &Container, mappings: &[Value]| {
        let outcome = runtime.add_with(container, &with_ports(mappings));
        assert_eq!(outcome.code(), Some(103), "{outcome:?}");
        outcome.stdout["msg"].as_str().unwrap().to_owned()
    };
    let message = taken(&a, &[mapping(30080, "tcp", "")]);
    assert!(message.contains("30080"), "{message}");
    assert_nothing_is_left(&stage.node);

    let held = with_ports(&[mapping(8080, "tcp", "172.30.1.2")]);
    assert_eq!(runtime.add_with(&a, &held).code(), None);
    let message = taken(&b, &[mapping(9090, "tcp", ""), mapping(8080, "tcp", "")]);
    assert!(message.contains("8080"), "{message}");
    assert_eq!(stage.agent.source_errors(), [] as [Value; 0], "what was refused is forgotten");
    // The same port by another protocol, or at another address of the node, is another one; so is
    // the one that was refused with the other.
    let other = with_ports(&[mapping(8080, "udp", ""), mapping(8080, "tcp", "fd00:172:30:1::2")]);
    assert_eq!(runtime.add_with(&b, &other).code(), None);
    assert_eq!(runtime.add_with(&c, &with_ports(&[mapping(9090, "tcp", "")])).code(), None);
    for container in [&a, &b, &c] {
        assert_eq!(runtime.del(container).code(), None);
    }
    assert_nothing_is_left(&stage.node);
}

#[test]
#[ignore = "needs root"]
fn mappings_that_are_none_are_refused_with_their_field() {
    let Some(stage) = OneNode::start(|_| ()) else { return };
    let runtime = Runtime::of(&stage.node);
    let (container, _namespace) = Container::create("c1");
    let outcome = runtime.add_with(&container, &with_ports(&[mapping(0, "tcp", "")]));
    assert_eq!(outcome.code(), Some(7), "{outcome:?}");
    let message = outcome.stdout["msg"].as_str().unwrap();
    assert!(message.contains("runtimeConfig.portMappings[0].hostPort"), "{message}");
    assert_nothing_is_left(&stage.node);
}
