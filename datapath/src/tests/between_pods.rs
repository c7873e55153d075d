//! Flows between pods, beside flows to services of which the same pods are backends.

use std::net::IpAddr;

use maps_schema::{
    address::{Family, IfIndex},
    counters::Program,
    drop_reason::DropReason,
    way::{NodeId, Way},
};

use super::connections::{
    PORT, Received, SERVICE, TARGET_PORT, World, for_both_families, tcp, udp, world_of,
};
use crate::testing::{
    checksum::verify,
    frame::Frame,
    packet::{Packet, Transport, flags},
    stages::{Action, Hook, pod_ingress, run},
};

const CLIENT_PORT: u16 = 4000;
const OTHER_NODE: NodeId = NodeId(7);

fn syn(source: u16, destination: u16) -> Transport {
    tcp(source, destination, flags::SYN)
}

const OPENINGS: [fn(u16, u16) -> Transport; 2] = [udp, syn];

/// A packet of pod 2 to pod 3 itself.
fn direct(world: &World, transport: Transport) -> (Action, Received) {
    world.send(2, world.pod(2), world.pod(3), transport)
}

/// Pod 3 answers what it has received, and the client gets the answer from `from`.
fn assert_answered(
    world: &World,
    received: &Received,
    opening: fn(u16, u16) -> Transport,
    from: (IpAddr, u16),
) {
    let (action, answer) = world.answer(3, received, opening(TARGET_PORT, received.source_port));
    assert_eq!(action, Action::ToPod(IfIndex::new(2)));
    assert_eq!((answer.source, answer.source_port), from);
    assert_eq!((answer.destination, answer.destination_port), (world.pod(2), CLIENT_PORT));
}

#[test]
fn a_backend_is_reached_itself_from_a_port_that_has_a_flow_to_its_service() {
    for_both_families(|world| {
        for opening in OPENINGS {
            let (_, first) = world.request(2, SERVICE, opening(CLIENT_PORT, PORT));
            assert_eq!(first.source_port, CLIENT_PORT);
            let (action, second) = direct(&world, opening(CLIENT_PORT, TARGET_PORT));
            assert_eq!(action, Action::ToPod(IfIndex::new(3)));
            assert_eq!((second.source, second.destination), (world.pod(2), world.pod(3)));
            assert!(second.source_port >= 61000, "{second:?}");
            assert_answered(&world, &second, opening, (world.pod(3), TARGET_PORT));
            assert_answered(&world, &first, opening, (world.service(SERVICE), PORT));
        }
        assert_eq!(world.entries(), 8);
    });
}

#[test]
fn a_service_is_reached_from_a_port_that_has_a_flow_to_its_backend_itself() {
    for_both_families(|world| {
        for opening in OPENINGS {
            let (_, first) = direct(&world, opening(CLIENT_PORT, TARGET_PORT));
            assert_eq!(first.source_port, CLIENT_PORT);
            let (_, second) = world.request(2, SERVICE, opening(CLIENT_PORT, PORT));
            assert_eq!(second.destination, world.pod(3));
            assert!(second.source_port >= 61000, "{second:?}");
            assert_answered(&world, &first, opening, (world.pod(3), TARGET_PORT));
            assert_answered(&world, &second, opening, (world.service(SERVICE), PORT));
        }
        assert_eq!(world.entries(), 8);
    });
}

#[test]
fn a_flow_that_has_ended_leaves_its_port_to_the_next() {
    let to_service = |world: &World| world.request(2, SERVICE, syn(CLIENT_PORT, PORT)).1;
    let to_backend = |world: &World| direct(world, syn(CLIENT_PORT, TARGET_PORT)).1;
    for_both_families(|world| {
        let first = to_service(&world);
        world.answer(3, &first, tcp(TARGET_PORT, CLIENT_PORT, flags::RST));
        assert_eq!(to_backend(&world).source_port, CLIENT_PORT, "it goes as it is");
    });
    for_both_families(|world| {
        let first = to_backend(&world);
        world.answer(3, &first, tcp(TARGET_PORT, CLIENT_PORT, flags::RST));
        assert_eq!(to_service(&world).source_port, CLIENT_PORT, "a flow keeps its port");
    });
}

/// Sends a packet from pod to pod on one bridge; whether not a byte of it has changed.
fn stays(world: &World, from: u8, to: u8, hop_limit: u8, transport: Transport) -> bool {
    let packet = Packet {
        hop_limit,
        ether_destination: World::link(to).mac.bytes(),
        ether_source: World::link(from).mac.bytes(),
        ..Packet::new(world.pod(from), world.pod(to), transport)
    };
    let mut frame = Frame::new(packet.bytes());
    let action = pod_ingress(&mut frame, &world.node, IfIndex::new(u32::from(from)));
    assert_eq!(action, Action::ToPod(IfIndex::new(u32::from(to))));
    frame.bytes() == packet.bytes()
}

#[test]
fn what_pods_of_one_bridge_send_each_other_is_not_touched() {
    for_both_families(|world| {
        for hop_limit in [1, 64] {
            for (to, answer) in [
                (udp(7, 9), udp(9, 7)),
                (syn(7, 9), tcp(9, 7, flags::SYN | flags::ACK)),
                (tcp(7, 9, flags::ACK), tcp(9, 7, flags::FIN | flags::ACK)),
            ] {
                assert!(stays(&world, 2, 3, hop_limit, to.clone()), "{to:?}");
                assert!(stays(&world, 3, 2, hop_limit, answer.clone()), "{answer:?}");
            }
        }
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn a_flow_that_gets_another_port_on_its_bridge_is_not_routed_either() {
    for_both_families(|world| {
        world.request(2, SERVICE, udp(CLIENT_PORT, PORT));
        let packet = Packet {
            hop_limit: 1,
            ether_source: World::link(2).mac.bytes(),
            ..Packet::new(world.pod(2), world.pod(3), udp(CLIENT_PORT, TARGET_PORT))
        };
        let mut frame = Frame::new(packet.bytes());
        let action = pod_ingress(&mut frame, &world.node, IfIndex::new(2));
        assert_eq!(action, Action::ToPod(IfIndex::new(3)));
        let received = Received::read(world.family, frame.bytes());
        assert!(received.source_port >= 61000, "{received:?}");
        assert_eq!(verify(frame.bytes()), Ok(()));
    });
}

#[test]
fn a_segment_in_mid_stream_without_entries_goes_on_without() {
    for_both_families(|world| {
        assert!(stays(&world, 2, 3, 64, tcp(7, 9, flags::ACK)));
        assert_eq!(world.entries(), 0);
    });
}

#[test]
fn a_full_table_holds_up_no_flow_between_pods() {
    for family in [Family::V4, Family::V6] {
        for capacity in [0, 1, 2, 3] {
            let world = world_of(family, capacity);
            for port in [7, 8, 9] {
                for _ in 0..2 {
                    assert!(stays(&world, 2, 3, 64, udp(port, 9)), "{capacity}");
                    assert!(stays(&world, 3, 2, 64, udp(9, port)), "{capacity}");
                }
            }
            assert_eq!(world.entries(), capacity / 2 * 2);
            let full = world.node.drops(Program::TcPodIngress, DropReason::ConnectionTableFull);
            assert_eq!(full, 0);
        }
    }
}

/// The world, in which pod 100 and above are on another node.
fn with_another_node(world: &mut World) {
    let network = world.pod(100);
    let length = if world.family == Family::V4 { 30 } else { 126 };
    world.node.add_network(network, length, Way::Tunnel(OTHER_NODE));
}

/// Sends a packet of pod 100 to a pod of this node.
fn arrives(world: &World, to: u8, transport: Transport) -> (Action, Vec<u8>, Packet) {
    let packet = Packet::new(world.pod(100), world.pod(to), transport);
    let mut frame = Frame::new(packet.bytes());
    let hook =
        Hook { program: Program::TcOverlayIngress, interface: IfIndex::new(50), handed: false };
    let action = run(&mut frame, &world.node, hook);
    (action, frame.bytes().to_vec(), packet)
}

#[test]
fn what_pods_of_two_nodes_send_each_other_is_routed_and_keeps_its_ends() {
    for family in [Family::V4, Family::V6] {
        let mut world = world_of(family, 100);
        with_another_node(&mut world);
        for opening in OPENINGS {
            for _ in 0..2 {
                let (action, sent) =
                    world.send(2, world.pod(2), world.pod(100), opening(CLIENT_PORT, PORT));
                assert_eq!(action, Action::Tunnelled(OTHER_NODE));
                assert_eq!((sent.source, sent.source_port), (world.pod(2), CLIENT_PORT));
                let (action, frame, packet) = arrives(&world, 2, opening(PORT, CLIENT_PORT));
                assert_eq!(action, Action::ToPod(IfIndex::new(2)));
                let routed = Packet {
                    hop_limit: packet.hop_limit - 1,
                    ether_destination: World::link(2).mac.bytes(),
                    ..packet
                };
                assert_eq!(frame, routed.bytes());
            }
        }
        // Pod 2 has a SYN of pod 100 from the port that it has itself connected to: they are one.
        assert_eq!(world.entries(), 4);
    }
}

#[test]
fn a_flow_of_another_nodes_pod_is_told_from_one_of_its_servers_own() {
    for family in [Family::V4, Family::V6] {
        let mut world = world_of(family, 100);
        with_another_node(&mut world);
        let (action, ..) = arrives(&world, 2, udp(TARGET_PORT, CLIENT_PORT));
        assert_eq!(action, Action::ToPod(IfIndex::new(2)));
        assert_eq!(world.entries(), 2);
        let (action, answer) =
            world.send(2, world.pod(2), world.pod(100), udp(CLIENT_PORT, TARGET_PORT));
        assert_eq!(action, Action::Tunnelled(OTHER_NODE));
        assert_eq!((answer.source_port, answer.destination), (CLIENT_PORT, world.pod(100)));
        assert_eq!(world.entries(), 2, "the answer belongs to it");
    }
}
