//! Answers are well-formed, whatever they answer.

use std::net::IpAddr;

use maps_schema::address::{Family, Ipv4Wire, Ipv6Wire};
use proptest::{collection::vec, prelude::*};

use super::strategies::{address, any_packet, family};
use crate::{
    answer::Answer,
    parse::{Parsed, parse},
    refuse::{Unanswered, refuse},
    testing::{
        checksum::verify,
        frame::Frame,
        node::NodeFamily,
        packet::{Packet, Sctp, Tcp, Transport, chunks, flags},
    },
};

/// The address that routers answer from.
fn router(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 244, 0, 1]),
        Family::V6 => IpAddr::from([0xfd, 0, 0, 0x10, 2, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    }
}

fn answer_in<A: NodeFamily>(frame: &mut Frame, answer: Answer) -> Result<(), Unanswered> {
    match parse::<A>(frame) {
        Parsed::Facts(facts) => {
            refuse(frame, &facts, answer, A::from_ip(router(A::FAMILY)).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn answer_with(packet: &Packet, frame: &mut Frame, answer: Answer) -> Result<(), Unanswered> {
    if packet.source.is_ipv4() {
        answer_in::<Ipv4Wire>(frame, answer)
    } else {
        answer_in::<Ipv6Wire>(frame, answer)
    }
}

fn answer(packet: &Packet, frame: &mut Frame) -> Result<(), Unanswered> {
    answer_with(packet, frame, Answer::Refused)
}

/// Whether both addresses may be one host's.
fn is_from_host_to_host(packet: &Packet) -> bool {
    [packet.source, packet.destination].into_iter().all(|address| match address {
        IpAddr::V4(address) => (1..224).contains(&address.octets()[0]) && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
    })
}

/// The most of a packet that is quoted.
const MAX_QUOTED: usize = 160;

/// What an answer quotes: as much as it may of what it answers, without padding, in whole words.
fn quotable<'a>(packet: &Packet, bytes: &'a [u8]) -> &'a [u8] {
    let length = (bytes.len() - 14 - packet.padding).min(MAX_QUOTED) & !1;
    &bytes[14..14 + length]
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

/// What a router tells the sender of a packet of these bytes, by RFC 792, RFC 1191 and RFC 4443.
fn expected_error(packet: &Packet, bytes: &[u8], answer: Answer) -> Packet {
    let family = if packet.source.is_ipv4() { Family::V4 } else { Family::V6 };
    let mtu = match answer {
        Answer::TooBig { mtu } => mtu,
        _ => 0,
    };
    let (kind, code) = match family {
        Family::V4 => match answer {
            Answer::Refused => (3, 3),
            Answer::NoRoute => (3, 0),
            Answer::TooBig { .. } => (3, 4),
            Answer::HopLimitExceeded => (11, 0),
        },
        Family::V6 => match answer {
            Answer::Refused => (1, 4),
            Answer::NoRoute => (1, 0),
            Answer::TooBig { .. } => (2, 0),
            Answer::HopLimitExceeded => (3, 0),
        },
    };
    let mut body = u32::from(mtu).to_be_bytes().to_vec();
    body.extend(quotable(packet, bytes));
    let transport = Transport::Icmp { kind, code, body };
    Packet {
        ether_source: packet.ether_destination,
        ether_destination: packet.ether_source,
        hop_limit: 64,
        traffic_class: if family == Family::V4 { 0xc0 } else { 0 },
        identification: 0,
        ..Packet::new(router(family), packet.source, transport)
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
        if is_rst(&packet) || !is_from_host_to_host(&packet) {
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
    fn what_is_not_tcp_is_answered_by_port_unreachable_that_quotes_it(
        packet in any_packet(),
        offloaded in any::<bool>(),
    ) {
        prop_assume!(packet.protocol() != 6 && is_from_host_to_host(&packet));
        let is_last_word = matches!(
            &packet.transport,
            Transport::Sctp(Sctp { chunk: chunks::ABORT | chunks::SHUTDOWN_COMPLETE, .. })
        );
        prop_assume!(!is_last_word);
        let mut frame = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
        let before = frame.bytes().to_vec();
        prop_assert_eq!(answer(&packet, &mut frame), Ok(()));
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
        let icmp = icmp_offset(&packet);
        let expected = if packet.source.is_ipv4() { [3, 3] } else { [1, 4] };
        prop_assert_eq!(&frame.bytes()[icmp..icmp + 2], &expected);
        prop_assert_eq!(&frame.bytes()[icmp + 8..], quotable(&packet, &before));
    }

    #[test]
    fn the_last_word_of_an_association_is_refused_in_silence(
        (source, destination) in family().prop_flat_map(|family| (address(family), address(family))),
        chunk in prop_oneof![Just(chunks::ABORT), Just(chunks::SHUTDOWN_COMPLETE)],
    ) {
        let transport = Transport::Sctp(Sctp::new(1, 2, chunk));
        let packet = Packet::new(source, destination, transport);
        let mut frame = Frame::new(packet.bytes());
        prop_assert_eq!(answer(&packet, &mut frame), Err(Unanswered));
        prop_assert_eq!(frame.bytes(), packet.bytes());
    }

    #[test]
    fn a_router_answers_what_it_cannot_forward(
        packet in any_packet(),
        offloaded in any::<bool>(),
        fragmented in any::<bool>(),
        mtu in any::<u16>(),
        number in 0..3_usize,
    ) {
        let offloaded = offloaded && !fragmented;
        let fragment = fragmented.then_some((0, true));
        let packet = Packet { fragment, ..packet };
        let mut frame = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
        let before = frame.clone();
        let wanted = [Answer::HopLimitExceeded, Answer::TooBig { mtu }, Answer::NoRoute][number];
        let answered = answer_with(&packet, &mut frame, wanted);
        if !is_from_host_to_host(&packet) {
            prop_assert_eq!(answered, Err(Unanswered));
            prop_assert_eq!(frame, before);
            return Ok(());
        }
        prop_assert_eq!(answered, Ok(()));
        prop_assert_eq!(frame.bytes(), expected_error(&packet, before.bytes(), wanted).bytes());
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
            Transport::Raw { protocol: 253, bytes }
        };
        let packet = Packet::new(source, destination, transport);
        prop_assume!(is_from_host_to_host(&packet));
        let before = packet.bytes();
        let mut frame = Frame::new(before.clone());
        prop_assert_eq!(answer(&packet, &mut frame), Ok(()));
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
        let quoted = &frame.bytes()[icmp_offset(&packet) + 8..];
        prop_assert_eq!(quoted, quotable(&packet, &before));
    }

    #[test]
    fn errors_and_later_fragments_are_never_answered(
        (source, destination) in family().prop_flat_map(|family| (address(family), address(family))),
        kind in prop_oneof![Just(3_u8), Just(4), Just(5), Just(11), Just(12)],
        later in any::<bool>(),
        number in 0..4_usize,
    ) {
        let kind = if source.is_ipv4() { kind } else { kind % 4 + 1 };
        let (transport, fragment) = if later {
            (Transport::Raw { protocol: 17, bytes: vec![0; 40] }, Some((100, false)))
        } else {
            (Transport::Icmp { kind, code: 0, body: vec![0; 40] }, None)
        };
        let packet = Packet { fragment, ..Packet::new(source, destination, transport) };
        let mut frame = Frame::new(packet.bytes());
        let too_big = Answer::TooBig { mtu: 1280 };
        let answers = [Answer::Refused, Answer::HopLimitExceeded, too_big, Answer::NoRoute];
        let answered = answer_with(&packet, &mut frame, answers[number]);
        prop_assert_eq!(answered, Err(Unanswered));
        prop_assert_eq!(frame.bytes(), packet.bytes());
    }
}
