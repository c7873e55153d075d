//! Attached containers carry traffic as any other pod of the node.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::Value;
use tests::{
    agent::Agent,
    cni::{Container, Runtime},
    manifests,
    netns::NetNamespace,
    one_node::{NODE, OneNode, TARGET_PORT, WEB_PORT, web, web_service, write_web},
    traffic::{client, server::Server},
};

fn attach(runtime: &Runtime, name: &str) -> (Container, NetNamespace, Vec<IpAddr>) {
    let (container, namespace) = Container::create(name);
    let outcome = runtime.add(&container);
    assert_eq!(outcome.code(), None);
    (container, namespace, outcome.addresses())
}

fn serve(namespace: &NetNamespace, name: &str) -> [Server; 2] {
    [Server::tcp(namespace, name, TARGET_PORT), Server::udp(namespace, name, TARGET_PORT)]
}

/// Slices of Service `web` over these addresses, of both families.
fn slices(addresses: &[IpAddr]) -> Vec<Value> {
    let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
    [true, false]
        .into_iter()
        .map(|is_v4| {
            let of_family = addresses.iter().filter(|address| address.is_ipv4() == is_v4);
            let texts: Vec<String> = of_family.map(ToString::to_string).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let name = if is_v4 { "web-4" } else { "web-6" };
            let mut slice = manifests::slice(name, "web", NODE, &texts, &ports);
            slice["addressType"] = if is_v4 { "IPv4" } else { "IPv6" }.into();
            slice
        })
        .collect()
}

fn wait_for_endpoints(agent: &Agent, addresses: &[IpAddr]) {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for protocol in ["TCP", "UDP"] {
        agent.wait_for_endpoints("web", WEB_PORT, protocol, &texts);
    }
}

#[test]
#[ignore = "needs root"]
fn containers_and_pods_of_manifests_reach_each_other_and_services() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let runtime = Runtime::of(&stage.node);
    let _servers = stage.serve(&["a"]);
    let (_, container, addresses) = attach(&runtime, "c1");
    let _own_servers = serve(&container, "c1");
    let pod = stage.pod("client");
    for target in stage.pod_ips("a") {
        let target = SocketAddr::new(target, TARGET_PORT);
        let answer = container.run(|| client::ask_tcp(target)).expect("to a pod");
        assert_eq!(answer.server, "a");
        assert!(addresses.contains(&answer.client.ip()), "the container's own address");
    }
    for &address in &addresses {
        let target = SocketAddr::new(address, TARGET_PORT);
        assert_eq!(pod.run(|| client::ask_tcp(target)).expect("from a pod").server, "c1");
        let node = stage.node.netns();
        assert_eq!(node.run(|| client::ask_tcp(target)).expect("from the node").server, "c1");
        assert_eq!(container.run(|| client::ask_tcp(target)).expect("to itself").server, "c1");
    }
    for target in web() {
        let tcp = container.run(|| client::ask_tcp(target)).expect("to a ClusterIP");
        assert_eq!(tcp.server, "a");
        let udp = container.run(|| client::ask_udp_unconnected(target)).expect("by UDP");
        assert_eq!(udp.server, "a");
    }
    let (_, other, _) = attach(&runtime, "c2");
    let target = SocketAddr::new(addresses[0], TARGET_PORT);
    assert_eq!(other.run(|| client::ask_tcp(target)).expect("each other").server, "c1");
}

#[test]
#[ignore = "needs root"]
fn a_container_is_an_endpoint_until_it_is_deleted() {
    let Some(stage) = OneNode::start(|manifests| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
    }) else {
        return;
    };
    let runtime = Runtime::of(&stage.node);
    let (container, namespace, addresses) = attach(&runtime, "c1");
    let _servers = serve(&namespace, "c1");
    stage.manifests.write("slices.yaml", &slices(&addresses));
    wait_for_endpoints(&stage.agent, &addresses);
    let clients = [stage.pod("client"), stage.node.netns().clone(), namespace.clone()];
    for client in &clients {
        for target in web() {
            assert_eq!(client.run(|| client::ask_tcp(target)).expect("TCP").server, "c1");
            assert_eq!(client.run(|| client::ask_udp_connected(target)).expect("UDP").server, "c1");
        }
    }

    // The next container gets other addresses; the service follows its slices.
    let (_, second, second_addresses) = attach(&runtime, "c2");
    let _second_servers = serve(&second, "c2");
    stage.manifests.write("slices.yaml", &slices(&second_addresses));
    wait_for_endpoints(&stage.agent, &second_addresses);
    assert_eq!(runtime.del(&container).code(), None);
    for target in web() {
        assert_eq!(clients[0].run(|| client::ask_tcp(target)).expect("TCP").server, "c2");
    }
    assert!(addresses.iter().all(|address| !second_addresses.contains(address)));
}

#[test]
#[ignore = "needs root"]
fn a_container_cannot_send_from_an_address_that_is_not_its_own() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let runtime = Runtime::of(&stage.node);
    let _servers = stage.serve(&["a"]);
    let (_, container, _) = attach(&runtime, "c1");
    let before = stage.agent.drops("spoofed-source");
    container.ip("address add 10.244.1.200/24 dev eth0");
    let target = SocketAddr::new(stage.pod_ips("a")[0], TARGET_PORT);
    container.run(|| {
        let socket = UdpSocket::bind("10.244.1.200:0").expect("binding the other address");
        socket.send_to(b"hello\n", target).expect("sending is no error");
    });
    assert!(stage.agent.drops("spoofed-source") > before);
}

#[test]
#[ignore = "needs root"]
fn sockets_of_containers_are_translated_where_pods_are() {
    let Some(mut stage) = OneNode::prepare(|manifests| write_web(manifests, &["a"])) else {
        return;
    };
    stage.agent = stage.node.run_agent(&stage.manifests, &["--socket-lb", "all"]);
    stage.agent.wait_ready();
    let runtime = Runtime::of(&stage.node);
    let _servers = stage.serve(&["a"]);
    let (_, container, _) = attach(&runtime, "c1");
    let packets = || {
        let services = stage.agent.get("services");
        let web = services.iter().find(|service| service["name"] == "web").unwrap();
        let port = &web["ports"][0];
        (port["connections"].as_u64().unwrap(), port["packets"].as_u64().unwrap())
    };
    let before = packets();
    for target in web() {
        assert_eq!(container.run(|| client::ask_tcp(target)).expect("TCP").server, "a");
    }
    let after = packets();
    assert_eq!(after.0, before.0 + 2, "each connection is counted");
    assert_eq!(after.1, before.1, "and none of their packets has a service's address");
}
