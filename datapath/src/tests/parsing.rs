//! Parsing survives anything.

use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, PodLink, Protocol},
    service::ServiceId,
    way::Way,
};
use proptest::{collection::vec, prelude::*};

use super::strategies::any_packet;
use crate::{
    answer::Answer,
    packet::PacketRead,
    parse::{Network, Parsed, network, parse},
    refuse::refuse,
    testing::{
        frame::Frame,
        node::{Endpoint, Node, NodeFamily},
        stages::{bridge_egress, pod_ingress},
    },
};

/// A frame that begins like IP, so that parsing gets somewhere.
fn likely_frame() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just([8, 0, 0x45]), Just([8, 0, 0x4f]), Just([0x86, 0xdd, 0x60])];
    let protocol = prop::sample::select(vec![0_u8, 1, 6, 17, 43, 44, 58, 132]);
    (header, protocol, vec(any::<u8>(), 0..160)).prop_map(|(header, protocol, mut rest)| {
        let place = if header[0] == 8 { 8 } else { 5 };
        if let Some(byte) = rest.get_mut(place) {
            *byte = protocol;
        }
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        bytes.extend(header);
        bytes.extend(rest);
        bytes
    })
}

/// A real packet with a few bytes changed or the end missing.
fn damaged_frame() -> impl Strategy<Value = Vec<u8>> {
    (
        any_packet(),
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(packet, damage, end)| {
            let mut bytes = packet.bytes();
            for (index, byte) in damage {
                let place = 12 + index.index(bytes.len() - 12);
                bytes[place] = byte;
            }
            if end.index(2) == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
}

fn require_facts_within<A: NodeFamily>(frame: &Frame) {
    if let Parsed::Facts(facts) = parse::<A>(frame) {
        assert!(facts.end <= frame.length());
        assert!(facts.transport_offset <= facts.end);
        if facts.transport.has_ports() {
            assert!(facts.transport_offset + 8 <= facts.end);
        }
        let mut answer = frame.clone();
        let _ = refuse(&mut answer, &facts, Answer::Refused, A::from_slot([0; 16]));
    }
}

fn node_that_knows_everything() -> Node {
    let mut node = Node::new(8);
    let link = PodLink { interface: IfIndex::new(3), ..PodLink::default() };
    for (service, pod) in [("10.96.0.1", "10.244.0.2"), ("fd10::1", "fd00:10::2")] {
        let (service, address) = (service.parse().unwrap(), pod.parse().unwrap());
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            node.add_service(
                service,
                80,
                protocol,
                &[Endpoint { address, port: 8080, way: Way::Pod(link) }],
            );
        }
    }
    assert_eq!(node.v4.arrays.services.len(), 6);
    assert!(node.v4.arrays.services.contains_key(&ServiceId(6)));
    node
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_are_too_strange(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), likely_frame(), damaged_frame()],
    ) {
        let frame = Frame::new(bytes);
        match network(&frame) {
            Network::Ipv4 => require_facts_within::<Ipv4Wire>(&frame),
            Network::Ipv6 => require_facts_within::<Ipv6Wire>(&frame),
            Network::Malformed => prop_assert!(frame.length() < 14),
            Network::NotOurs => {}
        }
        // Whatever the header says, both parsers must cope.
        require_facts_within::<Ipv4Wire>(&frame);
        require_facts_within::<Ipv6Wire>(&frame);
    }

    #[test]
    fn whole_programs_survive_any_bytes(
        bytes in prop_oneof![likely_frame(), damaged_frame()],
        to_service in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if to_service && bytes.len() >= 54 {
            match bytes[12] {
                8 => bytes[30..34].copy_from_slice(&[10, 96, 0, 1]),
                _ => bytes[38..54]
                    .copy_from_slice(&[0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            }
        }
        let node = node_that_knows_everything();
        pod_ingress(&mut Frame::new(bytes.clone()), &node, IfIndex::new(5));
        bridge_egress(&mut Frame::new(bytes), &node);
        prop_assert_eq!(node.require_whole_pairs::<Ipv4Wire>(), Ok(()));
        prop_assert_eq!(node.require_whole_pairs::<Ipv6Wire>(), Ok(()));
    }
}
