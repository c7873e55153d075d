//! The topology harness by itself, without shunt.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use nix::sys::socket::AddressFamily;
use tests::{
    manifests::ip,
    netns::NetNamespace,
    process,
    topology::{
        Layout, Topology, addresses, card, outside_at,
        plain_vxlan::{self, PlainPeer},
    },
    traffic::{
        Protocol, bulk, client, from_port,
        icmp::{self, EchoOutcome, echo, echo_of, echo_with_hop_limit},
        server::Server,
    },
};

const PORT: u16 = 8080;

fn assert_reached(from: &NetNamespace, own: [IpAddr; 2], to: [IpAddr; 2]) {
    for (own, to) in own.into_iter().zip(to) {
        from.run(|| {
            for protocol in Protocol::ALL {
                let answer = client::ask(protocol, (to, PORT).into()).expect("an answer");
                assert_eq!(answer.client.ip(), own, "{protocol:?} to {to}");
            }
            assert_eq!(echo(to), EchoOutcome::Reply, "{to}");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn nodes_and_the_outside_reach_each_other_in_every_shape() {
    for layout in [
        Layout::one_link(3),
        Layout::routed(3),
        Layout::routed(2).narrow_outside(1280).narrow_node(1, 1280),
        Layout::routed(2).cards(),
        Layout::one_link(2).cards(),
    ] {
        // A sandbox each: one thread enters one.
        std::thread::spawn(move || {
            let Some(stage) = Topology::new(layout) else { return };
            let last = stage.network.nodes() - 1;
            let _servers: Vec<[Server; 2]> = (0..=last)
                .map(|node| stage.serve_on_node(node, "node", PORT))
                .chain([stage.serve_outside(PORT)])
                .collect();
            let outside = stage.network.outside();
            let (first, last) = (0, last);
            let netns = |node: usize| stage.network.node(node);
            assert_reached(netns(first), addresses::node(first), addresses::node(last));
            assert_reached(netns(last), addresses::node(last), addresses::node(first));
            assert_reached(netns(last), addresses::node(last), addresses::outside());
            assert_reached(outside, addresses::outside(), addresses::node(last));
        })
        .join()
        .expect("the shape works");
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_leads_out_of_the_simulation() {
    let Some(stage) = Topology::new(Layout::routed(1).narrow_outside(1280)) else { return };
    for address in ["192.0.2.1", "2001:db8::1"] {
        for netns in [stage.network.outside(), stage.network.node(0)] {
            let outcome = netns.run(|| echo(ip(address)));
            assert!(
                matches!(outcome, EchoOutcome::Unreachable { .. }),
                "{}: {address}: {outcome:?}",
                netns.name()
            );
        }
        let route = process::finish(
            stage.network.router().command("ip").args(["route", "get", address]),
            Duration::from_secs(5),
        );
        assert_ne!(route.code, 0, "the router knows a way to {address}: {route:?}");
    }
    for netns in ["router", "outside", "hop-outside", "controlplane"] {
        let links = NetNamespace::open(netns).expect("it is there").ip("-o -d link show");
        for link in links.lines().filter(|link| !link.contains("LOOPBACK")) {
            assert!(link.contains(" veth ") || link.contains(" bridge "), "{netns}: {link}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_narrow_link_tells_senders_what_fits() {
    let Some(stage) = Topology::new(Layout::routed(1).narrow_outside(1280)) else { return };
    let _servers = [stage.serve_outside(PORT), stage.serve_on_node(0, "node", PORT)];
    let bytes = 3_000_000;
    let node = stage.network.node(0);
    for target in outside_at(PORT) {
        assert_eq!(path_mtu(node, target.ip()), None);
        node.run(|| bulk::send(target, bytes)).expect("sent").assert_smooth(bytes, "sent");
        assert_eq!(path_mtu(node, target.ip()), Some(1280), "{target}");
        node.run(|| bulk::fetch(target, bytes)).expect("fetched").assert_smooth(bytes, "fetched");
        // The first answer over IPv6 may be what teaches the outside, and is lost then.
        let ask = || client::ask_udp_of(target, 5000);
        let answer = node.run(|| ask().or_else(|_| ask())).expect("all fragments");
        assert_eq!(answer.line.len(), 5000);
        assert_eq!(node.run(|| echo_of(target.ip(), 4000)), EchoOutcome::Reply);
    }
}

/// What the kernel of a namespace has learnt about the path to an address.
fn path_mtu(netns: &NetNamespace, address: IpAddr) -> Option<u64> {
    let text = netns.ip(&format!("-j route get {address}"));
    let routes: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON");
    routes.pointer("/0/metrics/0/mtu").and_then(serde_json::Value::as_u64)
}

#[test]
#[ignore = "needs root"]
fn a_link_that_loses_everything_is_seen_as_a_pause() {
    let Some(stage) = Topology::new(Layout::routed(1)) else { return };
    let _servers = stage.serve_outside(PORT);
    let node = stage.network.node(0);
    let router = stage.network.router().clone();
    let [target, _] = outside_at(PORT);
    let breaker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        router.ip("link set to-outside down");
        std::thread::sleep(Duration::from_millis(1500));
        router.ip("link set to-outside up");
    });
    let transfer = node.run(|| bulk::send(target, 1_000_000_000));
    breaker.join().expect("the breaker ends");
    // Either the pause shows, or it was one that ended the transfer.
    let paused = transfer.map_or(Duration::MAX, |transfer| transfer.longest_pause);
    assert!(paused > Duration::from_millis(900), "{paused:?}");
}

#[test]
#[ignore = "needs root"]
fn prefixes_are_routed_to_nodes_over_hops_too_and_spread_over_several() {
    let Some(stage) = Topology::new(Layout::routed(3).narrow_node(1, 1280)) else { return };
    let nodes: Vec<_> = (0..3).map(|node| stage.network.node(node)).collect();
    let vips = ["10.96.1.10", "fd00:10:96::1:10"];
    for node in &nodes {
        for vip in vips {
            node.ip(&format!("address add {vip} dev lo"));
        }
    }
    let _servers: Vec<_> =
        (0..3).map(|node| stage.serve_on_node(node, addresses::NAMES[node], PORT)).collect();
    let ask = |vip| {
        let target = (ip(vip), PORT).into();
        let answer = stage.network.outside().run(|| client::ask_tcp(target)).expect("an answer");
        assert_eq!(answer.client.ip(), addresses::of_family(addresses::outside(), ip(vip)));
        answer.server
    };
    for (vip, prefix) in vips.into_iter().zip(["10.96.0.0/16", "fd00:10:96::/64"]) {
        stage.network.route(prefix, &[1]);
        assert_eq!(ask(vip), "node01");
        stage.network.route(prefix, &[0, 2]);
        let servers: BTreeSet<String> = (0..40).map(|_| ask(vip)).collect();
        assert_eq!(servers, BTreeSet::from(["controlplane".to_owned(), "node02".to_owned()]));
        stage.network.unroute(prefix);
    }
}

#[test]
#[ignore = "needs root"]
fn clients_choose_their_port_and_echo_requests_show_their_source() {
    let Some(stage) = Topology::new(Layout::one_link(2)) else { return };
    let _servers = stage.serve_on_node(1, "node", PORT);
    let (from, to) = (stage.network.node(0), stage.network.node(1));
    let families = [AddressFamily::Inet, AddressFamily::Inet6];
    for ((own, target), family) in
        addresses::node(0).into_iter().zip(addresses::node(1)).zip(families)
    {
        for protocol in Protocol::ALL {
            let answer = from
                .run(|| from_port::ask(protocol, 4321, (target, PORT).into()))
                .expect("an answer");
            assert_eq!(answer.client, (own, 4321).into());
        }
        let sources = icmp::sources_of_requests(to, family, || {
            assert_eq!(from.run(|| echo(target)), EchoOutcome::Reply);
        });
        assert_eq!(sources, BTreeSet::from([own]));
        assert_eq!(
            from.run(|| echo_with_hop_limit(addresses::of_family(addresses::outside(), target), 1)),
            EchoOutcome::Expired {
                from: if target.is_ipv4() { ip("172.30.0.1") } else { ip("fd00:172:30::1") }
            }
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_card_sends_finished_segments_that_fit() {
    let Some(stage) = Topology::new(Layout::routed(1).cards()) else { return };
    let _servers = stage.serve_outside(PORT);
    let node = stage.network.node(0);
    let before = node.counters("eth0");
    let [target, _] = outside_at(PORT);
    node.run(|| bulk::send(target, 3_000_000)).expect("sent").assert_smooth(3_000_000, "sent");
    let after = node.counters("eth0");
    let packets = after.sent_packets - before.sent_packets;
    assert!((after.sent_bytes - before.sent_bytes) / packets <= 1514, "{before:?} {after:?}");
    assert_eq!(card::sent_back(node, "eth0") + card::redirected(node, "eth0"), 0);
}

#[test]
#[ignore = "needs root"]
fn two_plain_vxlan_peers_reach_each_others_pods() {
    let Some(stage) = Topology::new(Layout::routed(2)) else { return };
    let peers =
        [0, 1].map(|node| PlainPeer::set_up_as(&stage, node, &plain_vxlan::mac_of_overlay(node)));
    let _servers =
        [Server::tcp(&peers[1].pod, "plain", PORT), Server::udp(&peers[1].pod, "plain", PORT)];
    assert_reached(&peers[0].pod, peers[0].addresses, peers[1].addresses);
}
