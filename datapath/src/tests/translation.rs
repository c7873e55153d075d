//! What a translation writes, and that the reply's undoes it.

use maps_schema::{
    address::{Family, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Port, Protocol},
    connection::FlowKey,
    service::ServiceId,
    way::Way,
};
use proptest::{collection::vec, prelude::*};

use super::strategies::{address, family, packet, packet_and_rewrite};
use crate::{
    apply::apply,
    parse::{Facts, Parsed, parse},
    testing::{
        checksum::verify,
        frame::Frame,
        node::NodeFamily,
        packet::{Packet, Sctp, Transport},
    },
    verdict::{Hop, Translation},
};

fn facts<A: NodeFamily>(frame: &Frame) -> Facts<A> {
    match parse::<A>(frame) {
        Parsed::Facts(facts) => facts,
        other => panic!("{other:?}"),
    }
}

fn translate<A: NodeFamily>(frame: &mut Frame, wanted: &Packet) {
    let facts = facts::<A>(frame);
    let (source_port, destination_port) = ports(wanted);
    let translation = Translation {
        rewritten: FlowKey::new(
            A::from_ip(wanted.source).unwrap(),
            Port::new(source_port),
            A::from_ip(wanted.destination).unwrap(),
            Port::new(destination_port),
            facts.flow.protocol(),
        ),
        way: Way::Pod(PodLink {
            interface: IfIndex::new(9),
            mac: Mac::from_bytes(wanted.ether_destination),
        })
        .into(),
        service: ServiceId(1),
        hop: Hop::Own,
    };
    apply(frame, &facts, &translation).unwrap();
}

fn translate_any(frame: &mut Frame, wanted: &Packet) {
    if wanted.source.is_ipv4() {
        translate::<Ipv4Wire>(frame, wanted);
    } else {
        translate::<Ipv6Wire>(frame, wanted);
    }
}

fn ports(packet: &Packet) -> (u16, u16) {
    match &packet.transport {
        Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port),
        Transport::Udp(udp) => (udp.source_port, udp.destination_port),
        Transport::Sctp(sctp) => (sctp.source_port, sctp.destination_port),
        other => panic!("{other:?} has no ports"),
    }
}

fn with_ports(mut packet: Packet, source: u16, destination: u16) -> Packet {
    match &mut packet.transport {
        Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port) = (source, destination),
        Transport::Udp(udp) => (udp.source_port, udp.destination_port) = (source, destination),
        Transport::Sctp(sctp) => (sctp.source_port, sctp.destination_port) = (source, destination),
        other => panic!("{other:?} has no ports"),
    }
    packet
}

proptest! {
    #[test]
    fn a_translated_packet_is_as_if_it_had_been_made_so(
        (packet, source, destination, source_port, destination_port) in packet_and_rewrite(),
    ) {
        let wanted = Packet {
            source,
            destination,
            ether_destination: [2, 0, 0, 0, 0, 77],
            ..with_ports(packet.clone(), source_port, destination_port)
        };
        let mut frame = Frame::new(packet.bytes());
        translate_any(&mut frame, &wanted);
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
        prop_assert_eq!(frame.bytes(), wanted.bytes());
    }

    #[test]
    fn an_offloaded_packet_keeps_a_correct_pseudo_header_sum(
        (packet, source, destination, source_port, destination_port) in packet_and_rewrite(),
    ) {
        let wanted = Packet {
            source,
            destination,
            padding: 0,
            ether_destination: [2, 0, 0, 0, 0, 77],
            ..with_ports(packet.clone(), source_port, destination_port)
        };
        let mut frame = Packet { padding: 0, ..packet }.offloaded();
        translate_any(&mut frame, &wanted);
        let expected = wanted.offloaded();
        prop_assert_eq!(frame.checksum(), expected.checksum());
        prop_assert_eq!(frame.bytes(), expected.bytes());
        prop_assert_eq!(verify(&frame.completed()), Ok(()));
    }

    #[test]
    fn the_reply_gets_back_the_addresses_that_the_client_knows(
        (packet, _, backend, source_port, backend_port) in packet_and_rewrite(),
        offloaded in any::<bool>(),
    ) {
        let packet = Packet { padding: 0, ether_destination: [2, 0, 0, 0, 0, 77], ..packet };
        let sent = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
        let (_, service_port) = ports(&packet);
        let mut frame = sent.clone();
        let at_backend = Packet {
            destination: backend,
            ..with_ports(packet.clone(), source_port, backend_port)
        };
        translate_any(&mut frame, &at_backend);
        let original = with_ports(packet.clone(), ports(&packet).0, service_port);
        translate_any(&mut frame, &original);
        prop_assert_eq!(frame, sent);
    }

    #[test]
    fn a_datagram_without_checksum_gets_none(
        mut packet in packet(Family::V4).prop_filter("UDP", |packet| packet.protocol() == 17),
        destination in any::<[u8; 4]>(),
    ) {
        if let Transport::Udp(udp) = &mut packet.transport {
            udp.checksum = false;
        }
        let wanted = Packet { destination: destination.into(), ..with_ports(packet.clone(), 1, 2) };
        let mut frame = Frame::new(packet.bytes());
        translate_any(&mut frame, &wanted);
        prop_assert_eq!(frame.bytes(), wanted.bytes());
        let field = packet.transport_offset() + 6;
        prop_assert_eq!(&frame.bytes()[field..field + 2], &[0, 0]);
    }

    #[test]
    fn an_sctp_packet_of_any_length_gets_the_right_checksum(
        (source, destination) in family().prop_flat_map(|family| (address(family), address(family))),
        rest in vec(any::<u8>(), 0..9000),
        (old, new) in any::<((u16, u16), (u16, u16))>(),
    ) {
        let sctp = |(source_port, destination_port)| {
            let rest = rest.clone();
            Transport::Sctp(Sctp { rest, ..Sctp::new(source_port, destination_port, 0) })
        };
        let packet = Packet::new(source, destination, sctp(old));
        let wanted = Packet { transport: sctp(new), ..packet.clone() };
        let mut frame = Frame::new(packet.bytes());
        translate_any(&mut frame, &wanted);
        prop_assert_eq!(frame.bytes(), wanted.bytes());
    }

    #[test]
    fn facts_are_what_the_packet_was_made_of((packet, ..) in packet_and_rewrite()) {
        let frame = Frame::new(packet.bytes());
        let (flow, offset, end) = if packet.source.is_ipv4() {
            let facts = facts::<Ipv4Wire>(&frame);
            let flow = facts.flow;
            prop_assert_eq!(Some(flow.source), Ipv4Wire::from_ip(packet.source));
            prop_assert_eq!(Some(flow.destination), Ipv4Wire::from_ip(packet.destination));
            let ports = (flow.source_port.number(), flow.destination_port.number());
            ((ports, flow.protocol()), facts.transport_offset, facts.end)
        } else {
            let facts = facts::<Ipv6Wire>(&frame);
            let flow = facts.flow;
            prop_assert_eq!(Some(flow.source), Ipv6Wire::from_ip(packet.source));
            prop_assert_eq!(Some(flow.destination), Ipv6Wire::from_ip(packet.destination));
            let ports = (flow.source_port.number(), flow.destination_port.number());
            ((ports, flow.protocol()), facts.transport_offset, facts.end)
        };
        prop_assert_eq!(flow, (ports(&packet), Protocol::new(packet.protocol())));
        prop_assert_eq!(offset as usize, packet.transport_offset());
        prop_assert_eq!(end as usize, frame.bytes().len() - packet.padding);
    }
}
