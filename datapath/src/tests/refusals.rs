//! Answers are well-formed, whatever they answer.

use maps_schema::address::{Ipv4Wire, Ipv6Wire};
use proptest::{collection::vec, prelude::*};

use super::strategies::{address, any_packet, family};
use crate::{
    parse::{Parsed, parse},
    refuse::{Answer, Unanswered, refuse},
    testing::{
        checksum::verify,
        frame::Frame,
        node::NodeFamily,
        packet::{Packet, Tcp, Transport, flags},
    },
};

fn answer_in<A: NodeFamily>(frame: &mut Frame) -> Result<(), Unanswered> {
    match parse::<A>(frame) {
        Parsed::Facts(facts) => refuse(frame, &facts, Answer::Refused, A::from_slot([0; 16])),
        other => panic!("{other:?}"),
    }
}

fn answer(packet: &Packet, frame: &mut Frame) -> Result<(), Unanswered> {
    if packet.source.is_ipv4() {
        answer_in::<Ipv4Wire>(frame)
    } else {
        answer_in::<Ipv6Wire>(frame)
    }
}

fn is_rst(packet: &Packet) -> bool {
    matches!(&packet.transport, Transport::Tcp(tcp) if tcp.flags & flags::RST != 0)
}

/// Where the ICMP header of an answer begins.
fn icmp_offset(packet: &Packet) -> usize {
    if packet.source.is_ipv4() { 34 } else { 54 }
}

/// What a RST to this segment is, by RFC 9293 section 3.10.7.1.
fn expected_reset(packet: &Packet, tcp: &Tcp) -> Packet {
    let length = u32::try_from(tcp.payload.len()).unwrap()
        + u32::from(tcp.flags & flags::SYN != 0)
        + u32::from(tcp.flags & flags::FIN != 0);
    let (sequence, acknowledgement, flags) = if tcp.flags & flags::ACK != 0 {
        (tcp.acknowledgement, 0, flags::RST)
    } else {
        (0, tcp.sequence.wrapping_add(length), flags::RST | flags::ACK)
    };
    Packet {
        ether_source: packet.ether_destination,
        ether_destination: packet.ether_source,
        source: packet.destination,
        destination: packet.source,
        hop_limit: 64,
        padding: 0,
        transport: Transport::Tcp(Tcp {
            sequence,
            acknowledgement,
            window: 0,
            ..Tcp::new(tcp.destination_port, tcp.source_port, flags)
        }),
        ..packet.clone()
    }
}

proptest! {
    #[test]
    fn a_segment_is_answered_by_the_reset_that_the_rfc_wants(
        packet in any_packet(),
        offloaded in any::<bool>(),
    ) {
        let Transport::Tcp(tcp) = packet.transport.clone() else { return Ok(()) };
        let mut frame = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
        let before = frame.clone();
        let answered = answer(&packet, &mut frame);
        if is_rst(&packet) {
            prop_assert_eq!(answered, Err(Unanswered));
            prop_assert_eq!(frame, before);
        } else {
            prop_assert_eq!(answered, Ok(()));
            let sent = frame.completed();
            prop_assert_eq!(verify(&sent), Ok(()));
            prop_assert_eq!(sent, expected_reset(&packet, &tcp).bytes());
        }
    }

    #[test]
    fn a_datagram_is_answered_by_port_unreachable_that_quotes_it(
        packet in any_packet(),
        offloaded in any::<bool>(),
    ) {
        prop_assume!(packet.protocol() == 17);
        let mut frame = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
        let before = frame.bytes().to_vec();
        prop_assert_eq!(answer(&packet, &mut frame), Ok(()));
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
        let icmp = icmp_offset(&packet);
        let expected = if packet.source.is_ipv4() { [3, 3] } else { [1, 4] };
        prop_assert_eq!(&frame.bytes()[icmp..icmp + 2], &expected);
        let quoted = &frame.bytes()[icmp + 8..];
        prop_assert_eq!(quoted, &before[14..14 + quoted.len()]);
        // RFC 792: the header and 64 bits of the datagram, at least; nothing of the padding.
        prop_assert!(quoted.len() >= packet.transport_offset() - 14 + 8);
        prop_assert!(quoted.len() <= before.len() - 14 - packet.padding);
    }

    #[test]
    fn queries_and_other_protocols_are_answered_with_right_checksums(
        (source, destination) in family().prop_flat_map(|family| (address(family), address(family))),
        bytes in vec(any::<u8>(), 8..90),
        echo in any::<bool>(),
    ) {
        let transport = if echo {
            let kind = if source.is_ipv4() { 8 } else { 128 };
            Transport::Icmp { kind, code: 0, body: bytes }
        } else {
            Transport::Raw { protocol: 132, bytes }
        };
        let packet = Packet::new(source, destination, transport);
        let mut frame = Frame::new(packet.bytes());
        prop_assert_eq!(answer(&packet, &mut frame), Ok(()));
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
        let quoted = &frame.bytes()[icmp_offset(&packet) + 8..];
        prop_assert_eq!(quoted, &packet.bytes()[14..14 + quoted.len()]);
    }

    #[test]
    fn errors_and_fragments_are_never_answered(
        (source, destination) in family().prop_flat_map(|family| (address(family), address(family))),
        kind in prop_oneof![Just(3_u8), Just(4), Just(5), Just(11), Just(12)],
        fragment in prop_oneof![Just(None), Just(Some((0, true))), Just(Some((100, false)))],
    ) {
        let kind = if source.is_ipv4() { kind } else { kind % 4 + 1 };
        let transport = match fragment {
            None => Transport::Icmp { kind, code: 0, body: vec![0; 40] },
            Some(_) => Transport::Raw { protocol: 17, bytes: vec![0; 40] },
        };
        let packet = Packet { fragment, ..Packet::new(source, destination, transport) };
        let mut frame = Frame::new(packet.bytes());
        let answered = answer(&packet, &mut frame);
        prop_assert_eq!(answered, Err(Unanswered));
        prop_assert_eq!(frame.bytes(), packet.bytes());
    }
}
