//! ICMP errors about translated flows: whoever sent a packet is told about that very packet.

use std::net::IpAddr;

use maps_schema::{
    address::{Family, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Protocol},
    clock::CoarseTime,
    connection::{Connection, Direction, FlowKey, FlowOrigin, State},
    drop_reason::DropReason,
    service::ServiceId,
    way::{NodeId, Way},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    quoting::{Error, Translated, WAY_MAC, error, error_in, ports, translated, with_ports},
    strategies::{address, family},
};
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
    let answer = |bytes: Vec<u8>| {
        let mut frame = Frame::new(bytes);
        let facts = facts::<A>(&frame);
        refuse(&mut frame, &facts, Answer::TooBig { mtu }, router).map(|()| frame)
    };
    let (Ok(direct), Ok(mut translated)) =
        (answer(about.sent_as_quoted()), answer(about.forwarded.bytes()))
    else {
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
