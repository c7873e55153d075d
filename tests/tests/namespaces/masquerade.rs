//! Pods reach the outside with their node's address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use nix::sys::socket::AddressFamily;
use tests::{
    one_node::TARGET_PORT,
    topology::{DIRECT, Layout, Pod, Topology, VXLAN, addresses, outside_at},
    traffic::{
        Protocol, client, from_port,
        icmp::{self, EchoOutcome, echo, echo_with_hop_limit},
        server::Server,
    },
};

const PORT: u16 = 8080;
const CLIENT_PORT: u16 = 45_678;

/// One node with these pods, and a server outside.
fn stage(pods: &[&str], arguments: &[&str]) -> Option<(Topology, Vec<Pod>, [Server; 2])> {
    let mut stage = Topology::new(Layout::routed(1))?;
    let pods = pods.iter().map(|name| stage.add_pod(name, 0, "client")).collect();
    stage.start(arguments);
    let servers = stage.serve_outside(PORT);
    Some((stage, pods, servers))
}

/// What the outside sees of a pod's requests.
fn seen(pod: &Pod, protocol: Protocol, target: SocketAddr) -> IpAddr {
    let answer = pod.ask(protocol, target);
    answer.unwrap_or_else(|error| panic!("{protocol:?} to {target}: {error}")).client.ip()
}

#[test]
#[ignore = "needs root"]
fn the_outside_sees_the_nodes_address() {
    for routing in [VXLAN, DIRECT] {
        std::thread::spawn(move || {
            let Some((stage, pods, _servers)) = stage(&["client"], &routing) else { return };
            let families = [AddressFamily::Inet, AddressFamily::Inet6];
            let node = addresses::node(0);
            for ((target, node), family) in outside_at(PORT).into_iter().zip(node).zip(families) {
                for protocol in Protocol::ALL {
                    assert_eq!(seen(&pods[0], protocol, target), node, "{protocol:?}");
                }
                let pod = pods[0].netns();
                let sources = icmp::sources_of_requests(stage.network.outside(), family, || {
                    assert_eq!(pod.run(|| echo(target.ip())), EchoOutcome::Reply, "{target}");
                });
                assert_eq!(sources, BTreeSet::from([node]));
            }
        })
        .join()
        .expect("both modes masquerade");
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_is_kept_where_it_is_free_and_changed_where_it_is_not() {
    let Some((stage, pods, _servers)) = stage(&["a", "b"], &VXLAN) else { return };
    for (target, node) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        let stream = |pod: &Pod| {
            pod.netns().run(|| from_port::stream(CLIENT_PORT, target)).expect("a connection")
        };
        let streams = [stream(&pods[0]), stream(&pods[1])];
        let own = stage.node(0).netns().run(|| from_port::stream(CLIENT_PORT, target));
        let own = own.expect("the node's own connection from the same port");
        let clients = streams
            .each_ref()
            .map(|stream| from_port::ask_on_stream(stream).expect("an answer").client);
        assert_eq!(clients[0], SocketAddr::new(node, CLIENT_PORT));
        assert_eq!(clients[1].ip(), node);
        let own = from_port::ask_on_stream(&own).expect("the node's answer").client;
        assert_eq!(own.ip(), node);
        let all = BTreeSet::from([clients[0], clients[1], own]);
        assert_eq!(all.len(), 3, "{all:?}");
        for (stream, client) in streams.iter().zip(clients) {
            assert_eq!(from_port::ask_on_stream(stream).expect("an answer").client, client);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn pods_and_the_node_have_the_same_port_in_turns() {
    let Some((stage, pods, _servers)) = stage(&["a", "b"], &VXLAN) else { return };
    let node = stage.node(0).netns();
    let [a, b] = [&pods[0], &pods[1]].map(Pod::netns);
    for (target, seen) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        for protocol in Protocol::ALL {
            // Each once: who has closed a connection may not make the same again for a while.
            for from in [&a, node, &b] {
                let answer = from.run(|| from_port::ask(protocol, CLIENT_PORT, target));
                let answer = answer
                    .unwrap_or_else(|error| panic!("{protocol:?} from {}: {error}", from.name()));
                assert_eq!(answer.client.ip(), seen, "{protocol:?} from {}", from.name());
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_takes_no_port_that_a_flow_of_the_node_has() {
    let Some((stage, pods, _servers)) = stage(&["a"], &VXLAN) else { return };
    for (target, node) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        let own = stage.node(0).netns().run(|| from_port::stream(CLIENT_PORT, target));
        let own = own.expect("the node's connection");
        let stream = pods[0].netns().run(|| from_port::stream(CLIENT_PORT, target));
        let stream = stream.expect("the pod's connection");
        let pods_client = from_port::ask_on_stream(&stream).expect("an answer").client;
        assert_eq!(pods_client.ip(), node);
        assert_ne!(pods_client.port(), CLIENT_PORT);
        let own_client = from_port::ask_on_stream(&own).expect("an answer").client;
        assert_eq!(own_client, SocketAddr::new(node, CLIENT_PORT));
    }
}

#[test]
#[ignore = "needs root"]
fn errors_about_masqueraded_packets_reach_the_pod() {
    let Some((_stage, pods, _servers)) = stage(&["client"], &VXLAN) else { return };
    for target in outside_at(PORT + 1) {
        for protocol in Protocol::ALL {
            let error = pods[0].ask(protocol, target).expect_err("nobody listens there");
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{protocol:?}");
        }
    }
    let routers = addresses::node_segment(0).host(1);
    for (target, router) in addresses::outside().into_iter().zip(routers) {
        let pod = pods[0].netns();
        let first = pod.run(|| echo_with_hop_limit(target, 1));
        assert!(matches!(first, EchoOutcome::Expired { .. }), "{target}: {first:?}");
        let second = pod.run(|| echo_with_hop_limit(target, 2));
        assert_eq!(second, EchoOutcome::Expired { from: router });
        assert_eq!(pod.run(|| echo_with_hop_limit(target, 3)), EchoOutcome::Reply);
    }
}

#[test]
#[ignore = "needs root"]
fn other_nodes_see_the_nodes_address_and_the_node_itself_the_pods() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let pod = stage.add_pod("client", 0, "client");
    stage.start(&VXLAN);
    let _servers = [0, 1].map(|node| stage.serve_on_node(node, addresses::NAMES[node], PORT));
    for family in 0..2 {
        for protocol in Protocol::ALL {
            let other = (addresses::node(1)[family], PORT).into();
            assert_eq!(seen(&pod, protocol, other), addresses::node(0)[family]);
        }
        // By TCP: a UDP server on any address answers a pod from the bridge's.
        let own = (addresses::node(0)[family], PORT).into();
        assert_eq!(seen(&pod, Protocol::Tcp, own), pod.addresses[family]);
    }
}

#[test]
#[ignore = "needs root"]
fn without_masquerade_the_outside_sees_the_pod() {
    let arguments = ["--routing", "direct", "--no-masquerade"];
    let Some((stage, pods, _servers)) = stage(&["client"], &arguments) else { return };
    stage.network.announce_pods();
    for (target, pod) in outside_at(PORT).into_iter().zip(pods[0].addresses) {
        for protocol in Protocol::ALL {
            assert_eq!(seen(&pods[0], protocol, target), pod, "{protocol:?} {target}");
        }
        assert_eq!(pods[0].netns().run(|| echo(target.ip())), EchoOutcome::Reply);
    }
}

#[test]
#[ignore = "needs root"]
fn networks_that_are_not_masqueraded_see_the_pod_and_others_the_node() {
    let arguments = ["--non-masquerade-cidrs", "172.31.0.0/16,fd00:172:31::/48"];
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let pod = stage.add_pod("client", 0, "client");
    stage.start(&arguments);
    stage.network.announce_pods();
    let _servers = [stage.serve_outside(PORT), stage.serve_on_node(1, "node01", PORT)];
    for family in 0..2 {
        for protocol in Protocol::ALL {
            let outside = outside_at(PORT)[family];
            assert_eq!(seen(&pod, protocol, outside), pod.addresses[family]);
            let node = (addresses::node(1)[family], PORT).into();
            assert_eq!(seen(&pod, protocol, node), addresses::node(0)[family]);
        }
    }
}

/// From which ports each pod asks in the test of many.
const FIRST_PORT: u16 = 30_000;

/// Asks from each of so many ports of a pod, all sockets open at once; returns what the outside saw
/// each as.
fn ask_from_many(pod: &Pod, ports: u16, target: SocketAddr) -> BTreeMap<(String, u16), SocketAddr> {
    pod.netns().run(|| {
        let sockets: Vec<(u16, UdpSocket)> = (FIRST_PORT..FIRST_PORT + ports)
            .map(|port| (port, from_port::datagrams(port, target).expect("a socket")))
            .collect();
        sockets
            .iter()
            .map(|(port, socket)| {
                let answer = client::ask_on(socket, "who").unwrap_or_else(|error| {
                    panic!("{} port {port} to {target}: {error}", pod.name)
                });
                ((pod.name.clone(), *port), answer.client)
            })
            .collect()
    })
}

#[test]
#[ignore = "needs root"]
fn twenty_thousand_flows_to_one_outside_port_share_the_nodes_address() {
    let names: Vec<String> = (0..20).map(|number| format!("pod-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Some((_stage, pods, _servers)) = stage(&names, &VXLAN) else { return };
    for (target, node) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        let ask = || -> BTreeMap<(String, u16), SocketAddr> {
            pods.iter().flat_map(|pod| ask_from_many(pod, 1000, target)).collect()
        };
        let first = ask();
        assert_eq!(first.len(), 20_000);
        assert!(first.values().all(|client| client.ip() == node));
        let clients: BTreeSet<SocketAddr> = first.values().copied().collect();
        assert_eq!(clients.len(), 20_000, "flows share a port");
        assert!(ask() == first, "a flow has another port than before");
    }
}

#[test]
#[ignore = "needs root"]
fn thousands_of_connections_to_one_outside_port_are_open_at_once() {
    let Some((_stage, pods, _servers)) = stage(&["a", "b", "c", "d"], &VXLAN) else { return };
    let [target, _] = outside_at(PORT);
    let streams: Vec<(u16, TcpStream)> = pods
        .iter()
        .flat_map(|pod| {
            pod.netns().run(|| -> Vec<_> {
                let ports = FIRST_PORT..FIRST_PORT + 500;
                ports.map(|port| (port, from_port::stream(port, target).expect("open"))).collect()
            })
        })
        .collect();
    let clients: BTreeSet<SocketAddr> = streams
        .iter()
        .map(|(_, stream)| from_port::ask_on_stream(stream).expect("an answer").client)
        .collect();
    assert_eq!(clients.len(), streams.len());
    assert!(clients.iter().all(|client| client.ip() == addresses::node(0)[0]));
}

#[test]
#[ignore = "needs root"]
fn when_ports_run_out_what_does_not_fit_is_dropped_and_counted() {
    let arguments = ["--masquerade-ports", "40000-40009"];
    let Some((stage, pods, _servers)) = stage(&["a", "b", "c"], &arguments) else { return };
    for (target, node) in outside_at(PORT).into_iter().zip(addresses::node(0)) {
        let sockets = |pod: &Pod| -> Vec<UdpSocket> {
            pod.netns().run(|| {
                (FIRST_PORT..FIRST_PORT + 20)
                    .map(|port| from_port::datagrams(port, target).expect("a socket"))
                    .collect()
            })
        };
        let ask = |socket: &UdpSocket| client::ask_on(socket, "who").map(|answer| answer.client);
        // The first pod keeps its own ports; the second has to take those of the range, ten.
        let of_a = sockets(&pods[0]);
        let seen_of_a: Vec<SocketAddr> =
            of_a.iter().map(|socket| ask(socket).expect("an own port")).collect();
        let of_b = sockets(&pods[1]);
        let seen_of_b: Vec<SocketAddr> =
            of_b[..10].iter().map(|socket| ask(socket).expect("a port of the range")).collect();
        let ports: BTreeSet<u16> = seen_of_b.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, (40_000..40_010).collect());
        assert!(seen_of_a.iter().chain(&seen_of_b).all(|client| client.ip() == node));

        let before = stage.agent(0).drops("masquerade-ports-exhausted");
        for socket in &of_b[10..] {
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
            let answer = ask(socket);
            assert!(answer.is_err(), "an eleventh flow has a port: {answer:?}");
        }
        let after = stage.agent(0).drops("masquerade-ports-exhausted");
        assert!(after >= before + 10, "{before} before, {after} after");

        let asked_again = |sockets: &[UdpSocket]| -> Vec<SocketAddr> {
            sockets.iter().map(|socket| ask(socket).expect("an existing flow")).collect()
        };
        assert_eq!(asked_again(&of_a), seen_of_a);
        assert_eq!(asked_again(&of_b[..10]), seen_of_b);
        // Another destination has all ports to itself.
        let other = SocketAddr::new(target.ip(), TARGET_PORT + 1);
        let _server = Server::udp(stage.network.outside(), "other", other.port());
        let answer = pods[2].netns().run(|| from_port::ask(Protocol::Udp, FIRST_PORT, other));
        assert_eq!(answer.expect("an answer").client, SocketAddr::new(node, FIRST_PORT));
    }
}
