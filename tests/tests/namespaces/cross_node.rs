//! Pods of different nodes reach each other, and nobody changes their addresses.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use tests::{
    one_node::{TARGET_PORT, web},
    process::{Process, finish, installed},
    topology::{DIRECT, Layout, Pod, Topology, VXLAN, addresses, plain_vxlan::PlainPeer},
    traffic::{
        Protocol, client,
        hammer::{Hammer, Style},
        icmp::{EchoOutcome, echo},
        server::Server,
    },
    wait,
};

use crate::bulk::{assert_offloaded, counters, iperf3};

/// A pod on each node.
struct Cluster {
    stage: Topology,
    pods: Vec<Pod>,
    _servers: Vec<[Server; 2]>,
}

fn cluster(layout: Layout, routing: [&str; 2]) -> Option<Cluster> {
    let mut stage = Topology::new(layout)?;
    let pods: Vec<Pod> = (0..stage.network.nodes())
        .map(|node| stage.add_pod(&format!("pod-{node}"), node, "web"))
        .collect();
    stage.write_web(|service| service);
    stage.network.announce_pods();
    stage.start(&routing);
    let servers = pods.iter().map(Pod::serve).collect();
    Some(Cluster { stage, pods, _servers: servers })
}

/// Pods reach each other by TCP, UDP and ICMP, and see each other's addresses.
fn assert_reached(from: &Pod, to: &Pod) {
    for target in to.at(TARGET_PORT) {
        for protocol in Protocol::ALL {
            let what = format!("{} to {} ({target}, {protocol:?})", from.name, to.name);
            let answer =
                from.ask(protocol, target).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.server, to.name, "{what}");
            assert_eq!(answer.client.ip(), from.address_like(target), "{what}");
        }
        assert_eq!(from.netns().run(|| echo(target.ip())), EchoOutcome::Reply, "{target}");
    }
}

fn assert_all_reached(pods: &[Pod]) {
    for from in pods {
        for to in pods.iter().filter(|to| *to != from) {
            assert_reached(from, to);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn pods_of_two_nodes_reach_each_other_through_the_overlay() {
    let Some(cluster) = cluster(Layout::routed(2), VXLAN) else { return };
    assert_all_reached(&cluster.pods);
}

#[test]
#[ignore = "needs root"]
fn pods_of_two_nodes_reach_each_other_by_routes_of_the_agents() {
    let Some(cluster) = cluster(Layout::one_link(2), DIRECT) else { return };
    assert_all_reached(&cluster.pods);
}

#[test]
#[ignore = "needs root"]
fn pods_of_two_nodes_reach_each_other_by_routes_that_others_announce() {
    let Some(cluster) = cluster(Layout::routed(2), DIRECT) else { return };
    assert_all_reached(&cluster.pods);
}

#[test]
#[ignore = "needs root"]
fn three_nodes_reach_each_other_and_a_service_over_all_of_them() {
    let Some(cluster) = cluster(Layout::routed(3), VXLAN) else { return };
    assert_all_reached(&cluster.pods);
    let all: Vec<IpAddr> = cluster.pods.iter().flat_map(|pod| pod.addresses).collect();
    cluster.stage.wait_for_web(&all);
    for from in &cluster.pods {
        for target in web() {
            let mut servers: Vec<String> = (0..40)
                .map(|_| {
                    let answer = from.ask(Protocol::Udp, target).expect("an answer");
                    if answer.server != from.name {
                        assert_eq!(answer.client.ip(), from.address_like(target));
                    }
                    answer.server
                })
                .collect();
            servers.sort();
            servers.dedup();
            assert_eq!(servers, ["pod-0", "pod-1", "pod-2"], "{} to {target}", from.name);
        }
    }
}

/// curl and iperf3, which know nothing of shunt, and whose segments nobody cuts on the way.
fn assert_curl_and_iperf3(layout: Layout, routing: [&str; 2]) {
    let Some(cluster) = cluster(layout, routing) else { return };
    for program in ["curl", "iperf3"] {
        assert!(installed(program), "this test needs {program}: run `cargo xtask setup`");
    }
    let [from, to] = cluster.pods.as_slice() else { panic!("two pods") };
    let (client, server) = (from.netns(), to.netns());
    let _server = Process::start(
        server.command("iperf3").args(["--server", "--forceflush"]),
        "Server listening",
    );
    for target in to.at(TARGET_PORT) {
        let mut curl = client.command("curl");
        let url = format!("http://{target}/");
        curl.args(["--silent", "--show-error", "--globoff", "--max-time", "3", &url]);
        let finished = finish(&mut curl, Duration::from_secs(5));
        assert_eq!(finished.code, 0, "{url}: {finished:?}");
        let seen = from.address_like(target).to_string();
        assert!(finished.stdout.contains(&seen), "{finished:?} without {seen}");

        let target = SocketAddr::new(target.ip(), 5201);
        let before = counters(&client, &server);
        let sent = iperf3(&client, target, &["--bytes", "100M"]);
        assert!(sent >= 100_000_000, "{target}: {sent} bytes");
        assert_offloaded(&target.to_string(), before, counters(&client, &server));
        let back = iperf3(&client, target, &["--bytes", "100M", "--reverse"]);
        assert!(back >= 100_000_000, "{target}: {back} bytes");
    }
}

#[test]
#[ignore = "needs root"]
fn curl_and_iperf3_pass_the_overlay() {
    assert_curl_and_iperf3(Layout::routed(2), VXLAN);
}

#[test]
#[ignore = "needs root"]
fn curl_and_iperf3_pass_direct_routes() {
    assert_curl_and_iperf3(Layout::one_link(2), DIRECT);
}

fn assert_node_comes_and_goes(layout: Layout, routing: [&str; 2]) {
    let Some(mut stage) = Topology::new(layout) else { return };
    stage.remove_node(2);
    let pods: Vec<Pod> =
        (0..3).map(|node| stage.add_pod(&format!("pod-{node}"), node, "web")).collect();
    stage.start_nodes(&[0, 1], &routing);
    let mut servers: Vec<[Server; 2]> = pods[..2].iter().map(Pod::serve).collect();
    assert_all_reached(&pods[..2]);

    let [_, target] = pods[1].at(TARGET_PORT);
    let hammer = Hammer::start(&pods[0].netns(), Protocol::Tcp, Style::OneConversation, target);
    stage.write_node(2);
    stage.start_nodes(&[2], &routing);
    servers.push(pods[2].serve());
    for from in &pods[..2] {
        wait_until_reached(from, &pods[2]);
    }
    assert_all_reached(&pods);

    stage.agent_mut(2).sigterm();
    stage.remove_node(2);
    wait::until("the node's leave", wait::PATIENCE, || {
        let ask = || {
            client::ask_within(
                Protocol::Udp,
                pods[2].at(TARGET_PORT)[0],
                Duration::from_millis(200),
            )
        };
        match pods[0].netns().run(ask) {
            Ok(answer) => Err(format!("{answer:?}")),
            Err(_) => Ok(()),
        }
    });
    assert_all_reached(&pods[..2]);
    hammer.stop().assert_flawless("a conversation beside it");
}

fn wait_until_reached(from: &Pod, to: &Pod) {
    wait::until(&format!("{} from {}", to.name, from.name), wait::PATIENCE, || {
        let [target, _] = to.at(TARGET_PORT);
        from.ask(Protocol::Udp, target).map_err(|error| error.to_string())
    });
}

#[test]
#[ignore = "needs root"]
fn a_node_joins_and_leaves_the_overlay() {
    assert_node_comes_and_goes(Layout::routed(3), VXLAN);
}

#[test]
#[ignore = "needs root"]
fn a_node_joins_and_leaves_a_link_with_direct_routes() {
    assert_node_comes_and_goes(Layout::one_link(3), DIRECT);
}

#[test]
#[ignore = "needs root"]
fn a_plain_linux_vxlan_endpoint_is_a_peer() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let pod = stage.add_pod("pod", 0, "web");
    let peer = PlainPeer::set_up(&stage, 1);
    stage.write_web(|service| service);
    stage.start_nodes(&[0], &VXLAN);
    let _servers = [
        pod.serve(),
        [
            Server::tcp(&peer.pod, "plain", TARGET_PORT),
            Server::udp(&peer.pod, "plain", TARGET_PORT),
        ],
    ];
    for ((own, plain), service) in pod.addresses.into_iter().zip(peer.addresses).zip(web()) {
        for protocol in Protocol::ALL {
            let answer = pod.ask(protocol, (plain, TARGET_PORT).into()).expect("the peer's pod");
            assert_eq!((answer.server.as_str(), answer.client.ip()), ("plain", own));
            let back = || client::ask(protocol, (own, TARGET_PORT).into());
            let answer = peer.pod.run(back).expect("shunt's pod");
            assert_eq!((answer.server.as_str(), answer.client.ip()), ("pod", plain));
            // The node itself, and its services, reach the peer's pods too.
            let node = stage.node(0).netns();
            let own_process = || client::ask(protocol, (plain, TARGET_PORT).into());
            assert_eq!(node.run(own_process).expect("the peer's pod").server, "plain");
            assert_eq!(pod.ask(protocol, service).expect("the service").server, "pod");
        }
        assert_eq!(pod.netns().run(|| echo(plain)), EchoOutcome::Reply);
        assert_eq!(peer.pod.run(|| echo(own)), EchoOutcome::Reply);
    }
}

#[test]
#[ignore = "needs root"]
fn the_nodes_own_processes_reach_pods_and_services_of_other_nodes() {
    for routing in [VXLAN, DIRECT] {
        std::thread::spawn(move || {
            let Some(mut stage) = Topology::new(Layout::one_link(2)) else { return };
            let server = stage.add_pod("a", 1, "web");
            stage.write_web(|service| service);
            stage.start(&routing);
            let _servers = server.serve();
            stage.wait_for_web(&server.addresses);
            for target in server.at(TARGET_PORT).into_iter().chain(web()) {
                for node in 0..2 {
                    for protocol in Protocol::ALL {
                        let answer = stage.node(node).netns().run(|| client::ask(protocol, target));
                        let answer = answer.unwrap_or_else(|error| {
                            panic!("{routing:?}: node {node}, {target}: {error}")
                        });
                        assert_eq!(answer.server, "a");
                        let outside = addresses::outside();
                        assert!(!outside.contains(&answer.client.ip()), "{answer:?}");
                    }
                }
            }
        })
        .join()
        .expect("both modes work");
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_that_sends_from_an_address_not_its_own_is_dropped() {
    let Some(cluster) = cluster(Layout::routed(2), VXLAN) else { return };
    let [from, to] = cluster.pods.as_slice() else { panic!("two pods") };
    let netns = from.netns();
    netns.ip("address add 192.168.0.99/32 dev eth0");
    // Not preferred, or the pod would send from it whatever it is asked to send.
    netns.ip("address add fd00:10:244:0::99/128 dev eth0 preferred_lft 0 nodad");
    let spoofed = addresses::pod_segment(0).host(99);
    for (target, source) in to.at(TARGET_PORT).into_iter().chain(web()).zip(spoofed.repeat(2)) {
        let before = cluster.stage.agent(0).drops("spoofed-source");
        let received = netns.run(|| {
            let socket = UdpSocket::bind((source, 0)).expect("binding the pod's second address");
            socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            socket.send_to(b"who", target).expect("sending");
            socket.recv_from(&mut [0; 200])
        });
        assert!(received.is_err(), "{source} to {target}: {received:?}");
        let after = cluster.stage.agent(0).drops("spoofed-source");
        assert!(after > before, "{source} to {target}: {before} drops before, {after} after");
    }
    assert_reached(from, to);
}
