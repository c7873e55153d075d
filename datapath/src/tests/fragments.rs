//! Fragments in any order become the fragments of what the whole packet would have become.

mod bounds;

use std::{collections::BTreeMap, net::IpAddr};

use maps_schema::{
    address::{Family, IfIndex, Mac, PodLink, Protocol},
    counters::Program,
    drop_reason::DropReason,
    way::Way,
};
use proptest::prelude::*;

use super::strategies::family;
use crate::testing::{
    frame::Frame,
    node::{Endpoint, Node},
    packet::{Packet, Tcp, Transport, Udp, flags},
    stages::{Action, Hook, run},
};

const CLIENT: u8 = 2;
const OTHER_CLIENT: u8 = 3;
const BACKEND: u8 = 9;
const CLIENT_PORT: u16 = 40000;
/// Bytes in each fragment but the last.
const SIZE: usize = 96;

fn pod(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 244, 0, number].into(),
        Family::V6 => [0xfd00, 0x10, 0, 0, 0, 0, 0, number.into()].into(),
    }
}

fn service(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, 1].into(),
        Family::V6 => [0xfd10, 0, 0, 0, 0, 0, 0, 1].into(),
    }
}

fn elsewhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => [172, 16, 0, 9].into(),
        Family::V6 => [0xfd00, 0x172, 0, 0, 0, 0, 0, 9].into(),
    }
}

fn uplink(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 168, 1, 1].into(),
        Family::V6 => [0xfd00, 0x192, 0, 0, 0, 0, 0, 1].into(),
    }
}

fn link(number: u8) -> PodLink {
    let mac = Mac::from_bytes([2, 0, 0, 0, 1, number]);
    PodLink { interface: IfIndex::new(u32::from(number)), mac }
}

/// A node with three pods, a service of one of them, and an outside that sees one address.
fn node() -> Node {
    let mut node = Node::new(1000);
    for family in [Family::V4, Family::V6] {
        for number in [CLIENT, OTHER_CLIENT, BACKEND] {
            node.add_pod(pod(family, number), link(number));
        }
        let way = Way::Pod(link(BACKEND));
        let backend = Endpoint { address: pod(family, BACKEND), port: 8080, way };
        for protocol in [Protocol::TCP, Protocol::UDP] {
            node.add_service(service(family), 80, protocol, &[backend]);
        }
        match uplink(family) {
            IpAddr::V4(address) => {
                node.uplink.0 = address.into();
                node.add_network([0, 0, 0, 0].into(), 0, Way::Outside);
            }
            IpAddr::V6(address) => {
                node.uplink.1 = address.into();
                node.add_network([0; 16].into(), 0, Way::Outside);
            }
        }
    }
    node
}

fn from_pod(number: u8, destination: IpAddr, transport: Transport) -> Packet {
    let family = if destination.is_ipv4() { Family::V4 } else { Family::V6 };
    Packet {
        ether_source: link(number).mac.bytes(),
        ..Packet::new(pod(family, number), destination, transport)
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap_or(0)).collect()
}

fn udp(source_port: u16, destination_port: u16, length: usize) -> Transport {
    Transport::Udp(Udp::new(source_port, destination_port, payload(length)))
}

fn tcp(source_port: u16, destination_port: u16, length: usize) -> Transport {
    let payload = payload(length);
    Transport::Tcp(Tcp { payload, ..Tcp::new(source_port, destination_port, flags::SYN) })
}

fn echo(family: Family, length: usize) -> Transport {
    let kind = if family == Family::V4 { 8 } else { 128 };
    Transport::Icmp { kind, code: 0, body: [vec![0x12, 0x34, 0, 1], payload(length)].concat() }
}

/// Sends a packet by the hook that its sender's interface has, and what that lets go after it.
/// Returns each with its action.
fn send(node: &Node, packet: &Packet) -> Vec<(Action, Vec<u8>)> {
    let interface = IfIndex::new(packet.ether_source[5].into());
    let hook = Hook { program: Program::TcPodIngress, interface, handed: false };
    let mut pending = vec![Frame::new(packet.bytes())];
    let mut done = Vec::new();
    while !pending.is_empty() {
        let mut frame = pending.remove(0);
        let action = run(&mut frame, node, hook);
        done.push((action, frame.bytes().to_vec()));
        pending.extend(node.fragments.take_released());
    }
    done
}

/// All that went on, sorted.
fn arrived(results: &[(Action, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut arrived: Vec<_> = results
        .iter()
        .filter(|(action, _)| *action != Action::Shot)
        .map(|(action, bytes)| (format!("{action:?}"), bytes.clone()))
        .collect();
    arrived.sort();
    arrived
}

/// What the fragments of a packet must become, if the whole becomes `translated`.
fn expected(action: Action, translated: &Packet) -> Vec<(String, Vec<u8>)> {
    let fragments = translated.fragments(SIZE);
    let mut expected: Vec<_> =
        fragments.iter().map(|fragment| (format!("{action:?}"), fragment.bytes())).collect();
    expected.sort();
    expected
}

/// A packet, and what it becomes.
type Case = (Packet, Action, Packet);

fn to_service(family: Family, client: u8, transport: fn(u16, u16, usize) -> Transport) -> Case {
    let packet = from_pod(client, service(family), transport(CLIENT_PORT, 80, 500));
    let translated = Packet {
        destination: pod(family, BACKEND),
        ether_destination: link(BACKEND).mac.bytes(),
        hop_limit: packet.hop_limit - 1,
        transport: transport(CLIENT_PORT, 8080, 500),
        ..packet.clone()
    };
    (packet, Action::ToPod(link(BACKEND).interface), translated)
}

fn to_outside(family: Family, transport: Transport) -> Case {
    let packet = from_pod(CLIENT, elsewhere(family), transport);
    let translated =
        Packet { source: uplink(family), hop_limit: packet.hop_limit - 1, ..packet.clone() };
    (packet, Action::Routed, translated)
}

fn to_pod(family: Family) -> Case {
    let packet = from_pod(CLIENT, pod(family, BACKEND), udp(CLIENT_PORT, 53, 500));
    (packet.clone(), Action::ToPod(link(BACKEND).interface), packet)
}

fn cases(family: Family) -> Vec<Case> {
    vec![
        to_service(family, CLIENT, udp),
        to_service(family, CLIENT, tcp),
        to_outside(family, udp(CLIENT_PORT, 53, 500)),
        to_outside(family, tcp(CLIENT_PORT, 53, 500)),
        to_outside(family, echo(family, 500)),
        to_pod(family),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (family(), any::<prop::sample::Index>()).prop_map(|(family, index)| {
        let cases = cases(family);
        cases[index.index(cases.len())].clone()
    })
}

fn shuffled_case() -> impl Strategy<Value = (Case, Vec<Packet>)> {
    case().prop_flat_map(|case| {
        let fragments = case.0.fragments(SIZE);
        (Just(case), Just(fragments).prop_shuffle())
    })
}

/// The same datagram of two clients, whose fragments come in any order, with one identification.
fn two_clients() -> impl Strategy<Value = ([Case; 2], Vec<Packet>)> {
    family().prop_flat_map(|family| {
        let cases = [CLIENT, OTHER_CLIENT].map(|client| to_service(family, client, udp));
        let [one, other] = &cases;
        let fragments = [one.0.fragments(SIZE), other.0.fragments(SIZE)].concat();
        (Just(cases), Just(fragments).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn fragments_in_any_order_become_those_of_the_translated_packet(
        ((_, action, translated), fragments) in shuffled_case(),
    ) {
        let node = node();
        let results: Vec<_> = fragments.iter().flat_map(|packet| send(&node, packet)).collect();
        prop_assert_eq!(arrived(&results), expected(action, &translated));
        prop_assert_eq!(node.fragments.held(), 0);
        prop_assert!(node.drops.borrow().is_empty(), "{:?}", node.drops);
    }

    #[test]
    fn one_identification_of_two_clients_is_two_datagrams(
        ([one, other], fragments) in two_clients(),
    ) {
        let node = node();
        let results: Vec<_> = fragments.iter().flat_map(|packet| send(&node, packet)).collect();
        let mut both = [expected(one.1, &one.2), expected(other.1, &other.2)].concat();
        both.sort();
        prop_assert_eq!(arrived(&results), both);
    }

    #[test]
    fn duplicates_are_as_the_first_of_them(
        ((_, action, translated), fragments) in shuffled_case(),
    ) {
        let node = node();
        let twice = fragments.iter().flat_map(|packet| [packet, packet]);
        let results: Vec<_> = twice.flat_map(|packet| send(&node, packet)).collect();
        let mut both = [expected(action, &translated), expected(action, &translated)].concat();
        both.sort();
        prop_assert_eq!(arrived(&results), both);
    }
}

#[test]
fn the_first_fragment_goes_before_those_that_have_waited() {
    for (packet, _, translated) in cases(Family::V4).into_iter().chain(cases(Family::V6)) {
        let node = node();
        let fragments = packet.fragments(SIZE);
        let (first, later) = fragments.split_first().unwrap();
        for fragment in later.iter().rev() {
            assert_eq!(send(&node, fragment), [(Action::Shot, fragment.bytes())]);
        }
        let results = send(&node, first);
        assert_eq!(results.len(), fragments.len());
        assert_eq!(results[0].1, translated.fragments(SIZE)[0].bytes());
        assert!(node.drops.borrow().is_empty());
    }
}

#[test]
fn replies_in_fragments_come_from_the_service() {
    for family in [Family::V4, Family::V6] {
        let node = node();
        let (request, _, _) = to_service(family, CLIENT, udp);
        for fragment in request.fragments(SIZE) {
            send(&node, &fragment);
        }
        let reply = from_pod(BACKEND, pod(family, CLIENT), udp(8080, CLIENT_PORT, 700));
        let translated = Packet {
            source: service(family),
            ether_destination: link(CLIENT).mac.bytes(),
            hop_limit: reply.hop_limit - 1,
            transport: udp(80, CLIENT_PORT, 700),
            ..reply.clone()
        };
        let mut fragments = reply.fragments(SIZE);
        fragments.rotate_left(1);
        let results: Vec<_> = fragments.iter().flat_map(|packet| send(&node, packet)).collect();
        let action = Action::ToPod(link(CLIENT).interface);
        assert_eq!(arrived(&results), expected(action, &translated));
    }
}

#[test]
fn a_refused_datagram_is_answered_once() {
    for family in [Family::V4, Family::V6] {
        let node = node();
        let packet = from_pod(CLIENT, service(family), udp(CLIENT_PORT, 81, 500));
        let fragments = packet.fragments(SIZE);
        let mut actions = BTreeMap::new();
        for (action, _) in fragments.iter().rev().flat_map(|fragment| send(&node, fragment)) {
            *actions.entry(format!("{action:?}")).or_insert(0) += 1;
        }
        let back = format!("{:?}", Action::Back(link(CLIENT).interface));
        let later = fragments.len() - 1;
        assert_eq!(actions, BTreeMap::from([(back, 1), ("Shot".into(), 2 * later)]));
        let refused = node.drops(Program::TcPodIngress, DropReason::NoSuchServicePort);
        assert_eq!(refused, u64::try_from(fragments.len()).unwrap());
    }
}

#[test]
fn what_the_node_sends_is_never_held() {
    for family in [Family::V4, Family::V6] {
        let node = node();
        let (request, _, _) = to_service(family, CLIENT, udp);
        send(&node, &request);
        let answer =
            Packet::new(pod(family, BACKEND), pod(family, CLIENT), udp(8080, CLIENT_PORT, 500));
        let fragments = answer.fragments(SIZE);
        let hook =
            Hook { program: Program::TcBridgeEgress, interface: IfIndex::NONE, handed: false };
        let mut early = Frame::new(fragments[1].bytes());
        assert_eq!(run(&mut early, &node, hook), Action::Ok);
        assert_eq!(early.bytes(), fragments[1].bytes());
        let ether_destination = link(CLIENT).mac.bytes();
        let transport = udp(80, CLIENT_PORT, 500);
        let translated = Packet { source: service(family), ether_destination, transport, ..answer };
        for (fragment, wanted) in fragments.iter().zip(translated.fragments(SIZE)) {
            let mut frame = Frame::new(fragment.bytes());
            assert_eq!(run(&mut frame, &node, hook), Action::Ok);
            assert_eq!(frame.bytes()[14..], wanted.bytes()[14..]);
        }
    }
}

#[test]
fn protocols_without_ports_are_not_held() {
    for family in [Family::V4, Family::V6] {
        let node = node();
        let transport = Transport::Raw { protocol: 50, bytes: payload(400) };
        let packet = from_pod(CLIENT, pod(family, BACKEND), transport);
        for fragment in packet.fragments(SIZE).iter().rev() {
            let action = Action::ToPod(link(BACKEND).interface);
            assert_eq!(send(&node, fragment), [(action, fragment.bytes())]);
        }
    }
}

#[test]
fn a_pod_cannot_speak_for_another_in_fragments() {
    let node = node();
    let (packet, _, _) = to_service(Family::V4, CLIENT, udp);
    let spoofed = Packet { ether_source: link(OTHER_CLIENT).mac.bytes(), ..packet };
    for fragment in spoofed.fragments(SIZE) {
        assert_eq!(send(&node, &fragment)[0].0, Action::Shot);
    }
    assert_eq!((node.fragments.held(), node.fragments.firsts()), (0, 0));
}
