//! `xdp_ingress` does what `tc_uplink_ingress` would, where it does anything.

use std::time::Duration;

use datapath::testing::{
    frame::Frame,
    packet::{Packet, Tcp, Transport, Udp, flags},
    stages::{self, Action, Hook},
};
use maps_schema::{
    address::{Family, IfIndex, Protocol},
    counters::Program,
};
use tests::{
    packets::{
        fixture::Memory,
        machine::{Machine as _, hex},
        native::NativeMachine,
        uplink::{INGRESS, Uplink, XdpAction},
        uplink_world::{
            Backend, HOP_MAC, OVERLAY_MAC, OWN_MAC, RESTRICTED_PORT, SECOND_MAC, STICKY_BACKENDS,
            STICKY_PORT, TARGET_PORT, answer, bridge, client, datagram, from_outside, group, init,
            node, on_link, own, request, request_to, syn,
        },
    },
    sandbox::Sandbox,
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const VXLAN_PORT: u16 = 8472;

/// What XDP does with a new flow to this backend.
const fn wanted(backend: Backend) -> XdpAction {
    match backend {
        Backend::Routed
        | Backend::RoutedKept
        | Backend::Tunnelled
        | Backend::TunnelledV6
        | Backend::Handed
        | Backend::Elsewhere => XdpAction::Tx,
        Backend::ElsewhereBySecond => XdpAction::Redirect,
        Backend::ElsewhereByNone
        | Backend::Silent
        | Backend::Local
        | Backend::Own
        | Backend::Absent => XdpAction::Pass,
    }
}

/// What TC makes of a frame.
fn native(machine: &NativeMachine, program: Program, frame: &[u8]) -> (Action, Vec<u8>) {
    let mut frame = Frame::new(frame.to_vec());
    let hook = Hook { program, interface: IfIndex::new(1), handed: false };
    let action = stages::run(&mut frame, &machine.0, hook);
    (action, frame.bytes().to_vec())
}

/// The frame in VXLAN, as the node sends it.
fn wrapped(inner: &[u8], family: Family, network: u8, source_port: u16, class: u8) -> Packet {
    let mut payload = vec![8, 0, 0, 0, 0, 0, network, 0];
    payload.extend(inner);
    let mut udp = Udp::new(source_port, VXLAN_PORT, payload);
    udp.checksum = false;
    Packet {
        ether_source: OWN_MAC,
        ether_destination: HOP_MAC,
        hop_limit: 64,
        traffic_class: class,
        identification: 0,
        ..Packet::new(own(family), on_link(family, 3), Transport::Udp(udp))
    }
}

/// A frame that another node sends in VXLAN.
fn arriving(inner: &[u8], family: Family, network: u8, class: u8) -> Vec<u8> {
    let packet = wrapped(inner, family, network, 55555, class);
    Packet {
        ether_source: HOP_MAC,
        ether_destination: OWN_MAC,
        source: on_link(family, 3),
        destination: own(family),
        ..packet
    }
    .bytes()
}

/// Sees to it that a frame left as TC would have sent it.
fn assert_sent(place: &str, input: &Packet, out: &[u8], (action, native): (Action, Vec<u8>)) {
    match action {
        Action::Routed => {
            assert_eq!(hex(&out[..6]), hex(&HOP_MAC), "{place}: receiver");
            assert!([OWN_MAC, SECOND_MAC].iter().any(|mac| out[6..12] == *mac), "{place}: sender");
            assert_eq!(hex(&out[12..]), hex(&native[12..]), "{place}");
        }
        Action::Tunnelled(node) | Action::Handed(node) => {
            let family = if node.0 == 1 { Family::V4 } else { Family::V6 };
            let offset = if node.0 == 1 { 34 } else { 54 };
            let network = if matches!(action, Action::Handed(_)) { 2 } else { 1 };
            let port = u16::from_be_bytes([out[offset], out[offset + 1]]);
            assert!(port >= 32768, "{place}: source port {port}");
            let mut inner = native;
            inner[..6].copy_from_slice(&OVERLAY_MAC);
            let class = input.traffic_class;
            let expected = wrapped(&inner, family, network, port, class).bytes();
            assert_eq!(hex(out), hex(&expected), "{place}");
        }
        other => panic!("{place}: TC would have done {other:?}"),
    }
}

/// Both machines, without flows.
fn fresh(uplink: &mut Uplink) -> NativeMachine {
    uplink.machine.reset();
    NativeMachine(node())
}

fn assert_same_tables(place: &str, uplink: &Uplink, native: &NativeMachine) {
    let sorted = |mut entries: Vec<String>| {
        entries.sort();
        entries
    };
    assert_eq!(sorted(uplink.machine.entries()), sorted(native.entries()), "{place}");
    assert_eq!(sorted(uplink.machine.regulars()), sorted(native.regulars()), "{place}");
    assert_eq!(uplink.machine.counters(), native.counters(), "{place}");
    assert_eq!(uplink.machine.drops(), native.drops(), "{place}");
}

fn assert_passes(uplink: &mut Uplink, place: &str, frame: &[u8]) {
    let (action, out) = uplink.run(INGRESS, frame);
    assert_eq!(action, XdpAction::Pass, "{place}");
    assert_eq!(hex(&out), hex(frame), "{place}: the bytes have changed");
}

#[test]
#[ignore = "needs root"]
fn flows_to_other_machines_are_handled_as_tc_would_and_no_others() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        for backend in Backend::ALL {
            for transport in [syn(40000), datagram(40000, 100), datagram(40000, 0), init(40000)] {
                let tc = fresh(&mut uplink);
                let mut packet = request(family, backend, transport);
                packet.traffic_class = 0xb8;
                let place = format!("{backend:?} {family:?} {:?}", packet.protocol());
                if wanted(backend) == XdpAction::Pass {
                    assert_passes(&mut uplink, &place, &packet.bytes());
                    // An address that nobody knows yet will be known: the flow stays.
                    let entries = if backend == Backend::Silent { 2 } else { 0 };
                    assert_eq!(uplink.machine.entries().len(), entries, "{place}");
                    assert!(uplink.machine.drops().is_empty(), "{place}: TC counts");
                    continue;
                }
                // The first packet of the flow, and the second.
                for _ in 0..2 {
                    let (action, out) = uplink.run(INGRESS, &packet.bytes());
                    assert_eq!(action, wanted(backend), "{place}");
                    let expected = native(&tc, Program::TcUplinkIngress, &packet.bytes());
                    assert_sent(&place, &packet, &out, expected);
                    assert_same_tables(&place, &uplink, &tc);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn clients_stay_with_their_backends_and_those_that_tc_has_are_left_to_it() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        for backend in STICKY_BACKENDS {
            for transport in [syn(40000), datagram(40000, 100)] {
                let mut tc = fresh(&mut uplink);
                let packet = request_to(family, STICKY_PORT, transport);
                let place = format!("{backend:?} {family:?} {:?}", packet.protocol());
                let memory = Memory {
                    client: client(family),
                    group: group(Protocol::new(packet.protocol())),
                    endpoint: (backend.address(family), TARGET_PORT).into(),
                    age: Duration::from_secs(50),
                };
                uplink.machine.remember(&memory);
                tc.remember(&memory);
                if wanted(backend) == XdpAction::Pass {
                    assert_passes(&mut uplink, &place, &packet.bytes());
                    assert_same_tables(&place, &uplink, &tc);
                    continue;
                }
                let (action, out) = uplink.run(INGRESS, &packet.bytes());
                assert_eq!(action, wanted(backend), "{place}");
                let expected = native(&tc, Program::TcUplinkIngress, &packet.bytes());
                assert_sent(&place, &packet, &out, expected);
                assert_same_tables(&place, &uplink, &tc);
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn clients_that_are_not_served_are_left_to_tc() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        for transport in [syn(40000), datagram(40000, 100)] {
            let tc = fresh(&mut uplink);
            let packet = request_to(family, RESTRICTED_PORT, transport);
            let place = format!("{family:?} {:?}", packet.protocol());
            assert_passes(&mut uplink, &place, &packet.bytes());
            assert_same_tables(&place, &uplink, &tc);
            let (action, _) = native(&tc, Program::TcUplinkIngress, &packet.bytes());
            assert_eq!(action, Action::Shot, "{place}");
            let neighbour = Packet { source: on_link(family, 1), ..packet };
            let (action, _) = uplink.run(INGRESS, &neighbour.bytes());
            assert_eq!(action, XdpAction::Tx, "{place}: a neighbour is served");
        }
    }
}

/// What the backend answers a request, as it sends it.
fn backends_answer(family: Family, backend: Backend, request: &Packet) -> Packet {
    let mut received = request.clone();
    received.destination = backend.address(family);
    received.source = match backend {
        Backend::RoutedKept => client(family),
        Backend::Tunnelled | Backend::TunnelledV6 => bridge(family),
        _ => own(family),
    };
    match &mut received.transport {
        Transport::Tcp(tcp) => tcp.destination_port = TARGET_PORT,
        Transport::Udp(udp) => udp.destination_port = TARGET_PORT,
        Transport::Sctp(sctp) => sctp.destination_port = TARGET_PORT,
        Transport::Icmp { .. } | Transport::Raw { .. } => {}
    }
    answer(&received)
}

#[test]
#[ignore = "needs root"]
fn answers_of_other_machines_reach_the_client_from_the_address_it_asked() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        for backend in Backend::ALL {
            if wanted(backend) != XdpAction::Tx || backend == Backend::Handed {
                continue;
            }
            for transport in [syn(40000), datagram(40000, 100), init(40000)] {
                let tc = fresh(&mut uplink);
                let packet = request(family, backend, transport);
                let place = format!("{backend:?} {family:?} {:?}", packet.protocol());
                let (action, _) = uplink.run(INGRESS, &packet.bytes());
                assert_eq!(action, XdpAction::Tx, "{place}");
                native(&tc, Program::TcUplinkIngress, &packet.bytes());

                let answer = backends_answer(family, backend, &packet);
                let (frame, program) = match backend {
                    Backend::Tunnelled => {
                        let frame = arriving(&answer.bytes(), Family::V4, 1, 0);
                        (frame, Program::TcOverlayIngress)
                    }
                    Backend::TunnelledV6 => {
                        let frame = arriving(&answer.bytes(), Family::V6, 1, 0);
                        (frame, Program::TcOverlayIngress)
                    }
                    _ => (answer.bytes(), Program::TcUplinkIngress),
                };
                let (action, out) = uplink.run(INGRESS, &frame);
                assert_eq!(action, XdpAction::Tx, "{place}: the answer");
                let expected = native(&tc, program, &answer.bytes());
                assert_sent(&place, &answer, &out, expected);
                assert_same_tables(&place, &uplink, &tc);
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn what_needs_more_than_sending_on_is_left_as_it_is() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        let ask = |backend| request(family, backend, datagram(40000, 100));
        let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
        let routed = ask(Backend::Routed);
        cases.push(("hop limit", Packet { hop_limit: 1, ..routed.clone() }.bytes()));
        let another = Packet { ether_destination: [2, 0, 0, 0, 9, 9], ..routed.clone() };
        cases.push(("another's frame", another.bytes()));
        let group = Packet { ether_destination: [0xff; 6], ..routed.clone() };
        cases.push(("broadcast", group.bytes()));
        let first = Packet { fragment: Some((0, true)), dont_fragment: false, ..routed.clone() };
        cases.push(("first fragment", first.bytes()));
        let later = Packet { fragment: Some((8, false)), dont_fragment: false, ..routed.clone() };
        cases.push(("later fragment", later.bytes()));
        let echo = Transport::Icmp { kind: 8, code: 0, body: vec![0; 12] };
        cases.push(("echo", from_outside(client(family), own(family), echo).bytes()));
        let middle = Transport::Tcp(Tcp::new(40000, 0, flags::ACK));
        cases.push(("unknown flow", request(family, Backend::Routed, middle).bytes()));
        let large = request(family, Backend::Tunnelled, datagram(40000, 1440));
        cases.push(("too big for the tunnel", large.bytes()));
        let mut tagged = routed.bytes();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        cases.push(("tagged", tagged));
        let mut arp = routed.bytes();
        arp[12..14].copy_from_slice(&[8, 6]);
        cases.push(("ARP", arp));
        for length in [14, 15, 20, 33, 34, 41, 53, 54, 61] {
            cases.push(("cut", routed.bytes()[..length].to_vec()));
        }
        for (name, frame) in cases {
            uplink.machine.reset();
            assert_passes(&mut uplink, &format!("{name}, {family:?}"), &frame);
            assert!(uplink.machine.drops().is_empty(), "{name}: TC counts");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn of_what_comes_in_vxlan_only_answers_to_clients_outside_are_taken() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let mut uplink = Uplink::new();
    for family in FAMILIES {
        uplink.machine.reset();
        let packet = request(family, Backend::Tunnelled, datagram(40000, 100));
        assert_eq!(uplink.run(INGRESS, &packet.bytes()).0, XdpAction::Tx);
        let answer = backends_answer(family, Backend::Tunnelled, &packet).bytes();
        let mut stranger = backends_answer(family, Backend::Tunnelled, &packet);
        stranger.source = on_link(family, 200);
        let mut dying = backends_answer(family, Backend::Tunnelled, &packet);
        dying.hop_limit = 1;
        let mut not_valid = arriving(&answer, Family::V4, 1, 0);
        not_valid[42] = 0;
        let mut not_ours = arriving(&answer, Family::V4, 1, 0);
        not_ours.splice(30..34, [172, 18, 0, 77]);
        for (name, frame) in [
            ("another network", arriving(&answer, Family::V4, 3, 0)),
            ("handed over", arriving(&answer, Family::V4, 2, 0)),
            ("congestion", arriving(&answer, Family::V4, 1, 3)),
            ("no flow", arriving(&stranger.bytes(), Family::V4, 1, 0)),
            ("hop limit", arriving(&dying.bytes(), Family::V4, 1, 0)),
            ("no identifier", not_valid),
            ("for another node", not_ours),
            ("cut", arriving(&answer[..30], Family::V4, 1, 0)),
        ] {
            assert_passes(&mut uplink, &format!("{name}, {family:?}"), &frame);
        }
        let taken = uplink.run(INGRESS, &arriving(&answer, Family::V4, 1, 0)).0;
        assert_eq!(taken, XdpAction::Tx, "the answer itself, {family:?}");
    }
}
