//! ICMP errors about translated flows: whoever sent a packet is told about that very packet.

use std::net::IpAddr;

use maps_schema::{
    address::{Family, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Port, Protocol},
    clock::CoarseTime,
    connection::{Connection, Direction, FlowKey, FlowOrigin, State},
    drop_reason::DropReason,
    service::ServiceId,
    way::{NodeId, Way},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::strategies::{address, family, tcp, udp};
use crate::{
    answer::Answer,
    parse::{Facts, Parsed, parse},
    refuse::refuse,
    related::related,
    tables::Tables,
    testing::{
        checksum::verify,
        frame::Frame,
        node::NodeFamily,
        packet::{Packet, Transport},
        tables::MemoryTables,
    },
    verdict::Hop,
};

const WAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 77];

/// A packet, and what it is translated to.
#[derive(Clone, Debug)]
struct Translated {
    sent: Packet,
    forwarded: Packet,
}

/// An ICMP error about a translated packet.
#[derive(Clone, Debug)]
struct Error {
    about: Translated,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    /// How many bytes are quoted, from the IP header on.
    quoted: usize,
    /// None: the packet's destination.
    router: Option<IpAddr>,
    options: usize,
    padding: usize,
    hop_limit: u8,
}

impl Error {
    /// The error from `source` about `about`.
    fn packet(&self, source: IpAddr, about: &Packet) -> Packet {
        let bytes = about.bytes();
        let mut body = self.rest.to_vec();
        body.extend(&bytes[14..14 + self.quoted]);
        let transport = Transport::Icmp { kind: self.kind, code: self.code, body };
        let mut packet = Packet::new(source, about.source, transport);
        packet.hop_limit = self.hop_limit;
        packet.padding = self.padding;
        match source {
            IpAddr::V4(_) => packet.options = vec![1; self.options * 4],
            IpAddr::V6(_) => packet.extensions = vec![(60, vec![0; 6]); self.options],
        }
        packet
    }

    /// As the translated packet's destination, or a router on its way, sends it.
    fn reported(&self) -> Packet {
        let destination = self.about.forwarded.destination;
        self.packet(self.router.unwrap_or(destination), &self.about.forwarded)
    }

    /// As it would have been sent had nothing been translated.
    fn wanted(&self) -> Packet {
        let Translated { sent, forwarded } = &self.about;
        let source = match self.router {
            Some(router) if router != forwarded.destination => router,
            _ => sent.destination,
        };
        Packet {
            ether_destination: WAY_MAC,
            hop_limit: self.hop_limit.wrapping_sub(1),
            ..self.packet(source, sent)
        }
    }
}

fn echo(family: Family) -> impl Strategy<Value = Transport> {
    let kinds = match family {
        Family::V4 => [8, 0],
        Family::V6 => [128, 129],
    };
    (0..2_usize, vec(any::<u8>(), 4..40)).prop_map(move |(reply, body)| Transport::Icmp {
        kind: kinds[reply],
        code: 0,
        body,
    })
}

fn with_ports(packet: &Packet, source: u16, destination: u16) -> Transport {
    let mut transport = packet.transport.clone();
    match &mut transport {
        Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port) = (source, destination),
        Transport::Udp(udp) => (udp.source_port, udp.destination_port) = (source, destination),
        Transport::Icmp { body, .. } => body[..2].copy_from_slice(&source.to_be_bytes()),
        Transport::Raw { .. } => {}
    }
    transport
}

fn ports(packet: &Packet) -> (Port, Port) {
    match &packet.transport {
        Transport::Tcp(tcp) => (Port::new(tcp.source_port), Port::new(tcp.destination_port)),
        Transport::Udp(udp) => (Port::new(udp.source_port), Port::new(udp.destination_port)),
        Transport::Icmp { kind, body, .. } => {
            let identifier = Port::from_bytes([body[0], body[1]]);
            if [8, 128].contains(kind) {
                (identifier, Port::NONE)
            } else {
                (Port::NONE, identifier)
            }
        }
        Transport::Raw { .. } => (Port::NONE, Port::NONE),
    }
}

fn flow<A: NodeFamily>(packet: &Packet) -> FlowKey<A> {
    let (source_port, destination_port) = ports(packet);
    FlowKey::new(
        A::from_ip(packet.source).unwrap(),
        source_port,
        A::from_ip(packet.destination).unwrap(),
        destination_port,
        Protocol::new(packet.protocol()),
    )
}

fn translated(family: Family) -> impl Strategy<Value = Translated> {
    let addresses = (address(family), address(family), address(family), address(family));
    let transport = prop_oneof![tcp(), udp(), echo(family)];
    let wrapping = (any::<bool>(), 0..=10_usize, 0..3_usize, any::<bool>(), any::<u8>());
    (addresses, transport, any::<(u16, u16)>(), wrapping).prop_map(
        move |(addresses, mut transport, new_ports, wrapping)| {
            let (source, destination, new_source, new_destination) = addresses;
            let (checksum, options, extensions, fragmented, hop_limit) = wrapping;
            if let Transport::Udp(udp) = &mut transport {
                udp.checksum = checksum;
            }
            let mut sent = Packet::new(source, destination, transport);
            sent.hop_limit = hop_limit;
            sent.fragment = fragmented.then_some((0, true));
            match family {
                Family::V4 => sent.options = vec![1; options * 4],
                Family::V6 => sent.extensions = vec![(60, vec![0; 6]); extensions],
            }
            let forwarded = Packet {
                source: new_source,
                destination: new_destination,
                transport: with_ports(&sent, new_ports.0, new_ports.1),
                ..sent.clone()
            };
            Translated { sent, forwarded }
        },
    )
}

fn error_in(family: Family) -> impl Strategy<Value = Error> {
    let kinds = match family {
        Family::V4 => vec![3_u8, 11, 12],
        Family::V6 => vec![1, 2, 3, 4],
    };
    let router = prop_oneof![Just(None), address(family).prop_map(Some)];
    let quoted = prop_oneof![Just(None), any::<Index>().prop_map(Some)];
    let message = (proptest::sample::select(kinds), any::<u8>(), any::<[u8; 4]>());
    let wrapping = (0..3_usize, 0..20_usize, 2..=255_u8);
    (translated(family), message, router, quoted, wrapping).prop_map(
        |(about, (kind, code, rest), router, quoted, (options, padding, hop_limit))| {
            let least = about.forwarded.transport_offset() - 14 + 8;
            let most = about.forwarded.bytes().len() - 14;
            let mut quoted = quoted.map_or(least, |index| least + index.index(most - least + 1));
            if quoted == least + 9 && about.forwarded.protocol() == 6 {
                quoted += 1; // Half a checksum cannot be corrected.
            }
            Error { about, kind, code, rest, quoted, router, options, padding, hop_limit }
        },
    )
}

fn error() -> impl Strategy<Value = Error> {
    family().prop_flat_map(error_in)
}

fn facts<A: NodeFamily>(frame: &Frame) -> Facts<A> {
    match parse::<A>(frame) {
        Parsed::Facts(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// Both entries of the flow, with a pod at its end.
fn tables_of<A: NodeFamily>(about: &Translated) -> MemoryTables<A> {
    let tables = MemoryTables::new(4);
    let (sent, forwarded) = (flow::<A>(&about.sent), flow::<A>(&about.forwarded));
    let origin = FlowOrigin { service: ServiceId(1), born: CoarseTime::default() };
    let back = Way::Pod(PodLink { interface: IfIndex::new(9), mac: Mac::from_bytes(WAY_MAC) });
    let there = Way::Tunnel(NodeId(3));
    let reply = Connection::new(&sent.reverse(), back, origin, Direction::Reply, State::NONE);
    tables.insert_connection(&forwarded.reverse(), &reply).unwrap();
    let entry = Connection::new(&forwarded, there, origin, Direction::Forward, State::NONE);
    // A flow that is its own answer has one entry.
    let _ = tables.insert_connection(&sent, &entry);
    tables
}

fn relate_in<A: NodeFamily>(
    frame: &mut Frame,
    known: Option<&Translated>,
    hop: Hop,
) -> Result<Option<Way>, DropReason> {
    let tables = known.map_or_else(|| MemoryTables::new(4), tables_of::<A>);
    match parse::<A>(frame) {
        Parsed::Facts(facts) => related(frame, &facts, &tables, hop),
        Parsed::NotOurs | Parsed::Malformed => Ok(None),
    }
}

fn relate(
    frame: &mut Frame,
    family: Family,
    known: Option<&Translated>,
    hop: Hop,
) -> Result<Option<Way>, DropReason> {
    match family {
        Family::V4 => relate_in::<Ipv4Wire>(frame, known, hop),
        Family::V6 => relate_in::<Ipv6Wire>(frame, known, hop),
    }
}

fn family_of(packet: &Packet) -> Family {
    if packet.source.is_ipv4() { Family::V4 } else { Family::V6 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_error_is_as_if_nothing_had_been_translated(error in error()) {
        let reported = error.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&error.about), Hop::Forwarded);
        prop_assert!(matches!(way, Ok(Some(Way::Pod(_)))), "{way:?}");
        prop_assert_eq!(frame.bytes(), error.wanted().bytes());
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
    }

    #[test]
    fn an_error_of_the_nodes_own_keeps_its_hop_limit(error in error()) {
        let reported = error.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&error.about), Hop::Own);
        prop_assert!(matches!(way, Ok(Some(Way::Pod(_)))), "{way:?}");
        let wanted = Packet { hop_limit: error.hop_limit, ..error.wanted() };
        prop_assert_eq!(frame.bytes(), wanted.bytes());
    }

    #[test]
    fn an_error_about_a_reply_reaches_the_server(error in error()) {
        // The server's packets are those that the client's become, turned around.
        let turned = |packet: &Packet| {
            let (source_port, destination_port) = ports(packet);
            let identifier_or_port = match packet.transport {
                Transport::Icmp { .. } => ports(packet).0.number().max(ports(packet).1.number()),
                _ => destination_port.number(),
            };
            let mut transport = with_ports(packet, identifier_or_port, source_port.number());
            if let Transport::Icmp { kind, .. } = &mut transport {
                *kind ^= if *kind >= 128 { 1 } else { 8 };
            }
            let (source, destination) = (packet.destination, packet.source);
            Packet { source, destination, transport, ..packet.clone() }
        };
        let Translated { sent, forwarded } = &error.about;
        let answer = Translated { sent: turned(forwarded), forwarded: turned(sent) };
        prop_assume!(forwarded.source != forwarded.destination);
        let known = error.about.clone();
        let about_answer = Error { about: answer, ..error };
        let reported = about_answer.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&known), Hop::Forwarded);
        prop_assert_eq!(way, Ok(Some(Way::Tunnel(NodeId(3)))));
        let wanted = Packet {
            ether_destination: reported.ether_destination,
            ..about_answer.wanted()
        };
        prop_assert_eq!(frame.bytes(), wanted.bytes());
        prop_assert_eq!(verify(frame.bytes()), Ok(()));
    }

    #[test]
    fn an_error_about_no_known_flow_is_left_alone(error in error()) {
        let reported = error.reported();
        let mut frame = Frame::new(reported.bytes());
        prop_assert_eq!(relate(&mut frame, family_of(&reported), None, Hop::Forwarded), Ok(None));
        prop_assert_eq!(frame.bytes(), reported.bytes());
    }

    #[test]
    fn an_error_to_another_than_the_sender_of_what_it_quotes_is_left_alone(
        (error, other) in family()
            .prop_flat_map(|family| (error_in(family), address(family))),
    ) {
        prop_assume!(other != error.about.forwarded.source);
        let misled = Packet { destination: other, ..error.reported() };
        let mut frame = Frame::new(misled.bytes());
        let way = relate(&mut frame, family_of(&misled), Some(&error.about), Hop::Forwarded);
        prop_assert_eq!(way, Ok(None));
        prop_assert_eq!(frame.bytes(), misled.bytes());
    }

    #[test]
    fn an_error_whose_hop_limit_is_used_up_goes_no_further(error in error(), hop_limit in 0..=1_u8) {
        let reported = Packet { hop_limit, ..error.reported() };
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&error.about), Hop::Forwarded);
        prop_assert_eq!(way, Err(DropReason::HopLimitExceeded));
    }

    #[test]
    fn other_messages_are_left_alone(error in error(), kind in any::<u8>()) {
        let family = family_of(&error.about.sent);
        let is_error = match family {
            Family::V4 => [3, 11, 12].contains(&kind),
            Family::V6 => (1..=4).contains(&kind),
        };
        prop_assume!(!is_error);
        let reported = Error { kind, ..error.clone() }.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family, Some(&error.about), Hop::Forwarded);
        prop_assert_eq!(way, Ok(None));
        prop_assert_eq!(frame.bytes(), reported.bytes());
    }

    #[test]
    fn an_error_about_a_later_fragment_is_left_alone(error in error(), offset in 1..0x1fff_u16) {
        let later = |packet: &Packet| Packet { fragment: Some((offset, false)), ..packet.clone() };
        let about = Translated {
            sent: later(&error.about.sent),
            forwarded: later(&error.about.forwarded),
        };
        let quoted = about.forwarded.bytes().len() - 14;
        let reported = Error { about, quoted, ..error.clone() }.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&error.about), Hop::Forwarded);
        prop_assert_eq!(way, Ok(None));
        prop_assert_eq!(frame.bytes(), reported.bytes());
    }

    #[test]
    fn an_error_that_quotes_too_little_is_left_alone(error in error(), less in any::<Index>()) {
        let least = error.about.forwarded.transport_offset() - 14 + 8;
        let short = Error { quoted: less.index(least), ..error.clone() };
        let reported = short.reported();
        let mut frame = Frame::new(reported.bytes());
        let way = relate(&mut frame, family_of(&reported), Some(&error.about), Hop::Forwarded);
        prop_assert_eq!(way, Ok(None));
        prop_assert_eq!(frame.bytes(), reported.bytes());
    }

    #[test]
    fn any_quoted_bytes_and_any_cut_are_survived(
        error in error(),
        noise in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in any::<Index>(),
    ) {
        let family = family_of(&error.about.sent);
        let mut bytes = error.reported().bytes();
        for (place, byte) in noise {
            let place = place.index(bytes.len() - 14) + 14;
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let before = bytes.clone();
        let mut frame = Frame::new(bytes);
        let way = relate(&mut frame, family, Some(&error.about), Hop::Forwarded);
        if way == Ok(None) {
            prop_assert_eq!(frame.bytes(), before);
        }
        prop_assert_ne!(way, Err(DropReason::RewriteFailed));
    }

    #[test]
    fn a_routers_answer_to_a_translated_packet_is_as_if_it_had_not_been(
        about in family().prop_flat_map(translated),
        mtu in any::<u16>(),
    ) {
        match family_of(&about.sent) {
            Family::V4 => answers_alike::<Ipv4Wire>(&about, mtu, [10, 9, 8, 7].into())?,
            Family::V6 => {
                let router = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
                answers_alike::<Ipv6Wire>(&about, mtu, router.into())?;
            }
        }
    }
}

/// Whether the answer to the forwarded packet, translated, is the answer to the packet as sent.
fn answers_alike<A: NodeFamily>(
    about: &Translated,
    mtu: u16,
    router: IpAddr,
) -> Result<(), TestCaseError> {
    let router = A::from_ip(router).unwrap();
    let answer = |packet: &Packet| {
        let mut frame = Frame::new(packet.bytes());
        let facts = facts::<A>(&frame);
        refuse(&mut frame, &facts, Answer::TooBig { mtu }, router).map(|()| frame)
    };
    let (Ok(direct), Ok(mut translated)) = (answer(&about.sent), answer(&about.forwarded)) else {
        return Ok(()); // An address that no host has.
    };
    let tables = tables_of::<A>(about);
    let facts = facts::<A>(&translated);
    let way = related(&mut translated, &facts, &tables, Hop::Own);
    prop_assert!(matches!(way, Ok(Some(Way::Pod(_)))), "{way:?}");
    prop_assert_eq!(&translated.bytes()[6..], &direct.bytes()[6..]);
    prop_assert_eq!(verify(translated.bytes()), Ok(()));
    Ok(())
}
