//! The node's own processes reach ClusterIPs, with no default route on the node.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use tests::{
    one_node::{OneNode, web, web_service},
    traffic::{Protocol, client},
};

#[test]
#[ignore = "needs root"]
fn tcp_and_udp_reach_the_service_without_a_default_route() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns();
    assert_eq!(node.ip("route show default") + &node.ip("-6 route show default"), "");
    for protocol in Protocol::ALL {
        for target in web() {
            for _ in 0..20 {
                let answer = node.run(|| client::ask(protocol, target)).expect("an answer");
                assert!(["a", "b"].contains(&answer.server.as_str()), "{answer:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn sockets_call_their_peer_by_the_cluster_ip() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    for target in web() {
        stage.node.netns().run(|| {
            assert_eq!(
                client::connect(target).expect("connecting").peer_addr().expect("getpeername"),
                target
            );
            assert_eq!(
                client::connect_udp(target).expect("connecting").peer_addr().expect("getpeername"),
                target
            );
        });
    }
}

#[test]
#[ignore = "needs root"]
fn unconnected_udp_gets_its_reply_from_the_cluster_ip() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    for target in web() {
        // The client fails where `recvfrom` tells another source than was asked.
        stage.node.netns().run(|| {
            for _ in 0..20 {
                client::ask_udp_unconnected(target).expect("a reply from the ClusterIP");
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn one_unconnected_socket_asks_a_service_and_a_pod_in_turn() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let pod = SocketAddr::new(stage.pod_ips("a")[0], tests::one_node::TARGET_PORT);
    stage.node.netns().run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("binding");
        socket.set_read_timeout(Some(Duration::from_secs(3))).expect("setting a timeout");
        for target in [web()[0], pod, web()[0]] {
            socket.send_to(b"who", target).expect("sending");
            let (_, from) = socket.recv_from(&mut [0; 100]).expect("a reply");
            assert_eq!(from, target);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn an_ipv6_socket_reaches_an_ipv4_service_by_its_mapped_address() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let IpAddr::V4(address) = web()[0].ip() else { panic!("the first address is IPv4") };
    let mapped = SocketAddr::new(address.to_ipv6_mapped().into(), web()[0].port());
    stage.node.netns().run(|| {
        let stream = client::connect(mapped).expect("TCP connects");
        assert_eq!(stream.peer_addr().expect("getpeername"), mapped);
        assert_eq!(client::ask_tcp(mapped).expect("TCP").server, "a");
        assert_eq!(client::ask_udp_connected(mapped).expect("connected UDP").server, "a");
        assert_eq!(client::ask_udp_unconnected(mapped).expect("unconnected UDP").server, "a");
        let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("binding");
        both.set_read_timeout(Some(Duration::from_secs(3))).expect("setting a timeout");
        for target in [mapped, web()[1]] {
            both.send_to(b"who", target).expect("sending");
            let (_, from) = both.recv_from(&mut [0; 100]).expect("a reply");
            assert_eq!(from, target);
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_service_without_endpoints_refuses_the_node() {
    let filled =
        |manifests: &tests::manifests::ManifestDir| manifests.write("web.yaml", &[web_service()]);
    let Some(stage) = OneNode::start(filled) else {
        return;
    };
    for target in web() {
        stage.node.netns().run(|| {
            let error = client::ask_tcp(target).expect_err("nobody serves");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "TCP {target}");
            let error = client::ask_udp_connected(target).expect_err("nobody serves");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "UDP {target}");
        });
    }
}
