//! Addresses of services that do not exist lead nowhere, and the wire leads to none that do.

use maps_schema::{
    address::{IfIndex, PodLink, Protocol},
    counters::Program,
    drop_reason::DropReason,
    way::Way,
};

use crate::testing::{
    frame::Frame,
    node::Node,
    packet::{Packet, Tcp, Transport, Udp, flags},
    stages::{Action, Hook, run},
};

const POD: [u8; 4] = [10, 244, 0, 2];
const NODE: [u8; 4] = [172, 18, 0, 2];
const OUTSIDE: [u8; 4] = [172, 30, 0, 7];
const SERVICE: [u8; 4] = [10, 96, 0, 1];
const UNALLOCATED: [u8; 4] = [10, 96, 7, 7];

fn node() -> Node {
    let mut node = Node::new(100);
    node.add_pod(POD.into(), PodLink::default());
    node.add_own_address(NODE.into());
    node.add_service(SERVICE.into(), 80, Protocol::TCP, &[]);
    node.add_network([10, 96, 0, 0].into(), 16, Way::Nowhere);
    node
}

fn syn() -> Transport {
    Transport::Tcp(Tcp::new(4000, 80, flags::SYN))
}

fn contents() -> [Transport; 5] {
    [
        syn(),
        Transport::Udp(Udp::new(4000, 53, vec![0; 20])),
        Transport::Icmp { kind: 8, code: 0, body: vec![0; 12] },
        Transport::Icmp { kind: 3, code: 3, body: vec![0; 40] },
        Transport::Raw { protocol: 132, bytes: vec![0; 20] },
    ]
}

/// What becomes of a packet, and the packet that it becomes.
fn send(
    node: &Node,
    program: Program,
    source: [u8; 4],
    destination: [u8; 4],
    transport: Transport,
) -> (Action, Vec<u8>) {
    let packet = Packet::new(source.into(), destination.into(), transport);
    let mut frame = Frame::new(packet.bytes());
    let hook = Hook { program, interface: IfIndex::NONE, handed: false };
    (run(&mut frame, node, hook), frame.bytes().to_vec())
}

#[test]
fn whatever_is_sent_to_an_address_that_no_service_has_is_dropped() {
    for (program, source) in [
        (Program::TcPodIngress, POD),
        (Program::TcUplinkIngress, OUTSIDE),
        (Program::TcUplinkEgress, NODE),
    ] {
        for content in contents() {
            let node = node();
            let (action, _) = send(&node, program, source, UNALLOCATED, content.clone());
            assert_eq!(action, Action::Shot, "{program:?} {content:?}");
            assert_eq!(node.drops(program, DropReason::UnallocatedServiceAddress), 1);
        }
    }
}

#[test]
fn what_the_node_sends_to_a_service_by_the_wire_is_answered_by_the_service() {
    for content in contents() {
        let node = node();
        let is_error = matches!(content, Transport::Icmp { kind: 3, .. });
        let program = Program::TcUplinkEgress;
        let (action, bytes) = send(&node, program, NODE, SERVICE, content);
        assert_eq!(node.drops(program, DropReason::UntranslatedService), 1);
        if is_error {
            assert_eq!(action, Action::Shot);
        } else {
            assert_eq!(action, Action::Back(IfIndex::NONE));
            assert_eq!((&bytes[26..30], &bytes[30..34]), (&SERVICE[..], &NODE[..]));
        }
    }
}

#[test]
fn everything_else_that_the_node_sends_passes() {
    let node = node();
    for destination in [OUTSIDE, POD, NODE] {
        for content in contents() {
            let (action, _) = send(&node, Program::TcUplinkEgress, NODE, destination, content);
            assert_eq!(action, Action::Ok);
        }
    }
    assert!(node.drops.borrow().is_empty());
}
