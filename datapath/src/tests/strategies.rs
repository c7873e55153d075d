//! Packets at random.

use std::net::IpAddr;

use maps_schema::address::Family;
use proptest::{collection::vec, prelude::*};

use crate::testing::packet::{Packet, Sctp, Tcp, Transport, Udp};

pub(super) fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

/// An address, now and then one that makes sums come out as all zeros or all ones.
pub(super) fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => prop_oneof![
            8 => any::<[u8; 4]>(),
            1 => Just([0xff; 4]),
            1 => Just([0, 0, 0, 1]),
        ]
        .prop_map(IpAddr::from)
        .boxed(),
        Family::V6 => prop_oneof![
            8 => any::<[u8; 16]>(),
            1 => Just([0xff; 16]),
            1 => Just([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ]
        .prop_map(IpAddr::from)
        .boxed(),
    }
}

pub(super) fn tcp() -> impl Strategy<Value = Transport> {
    let numbers = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u8>());
    (numbers, 0..=10_usize, vec(any::<u8>(), 0..60)).prop_map(
        |((source_port, destination_port, sequence, acknowledgement, flags), words, payload)| {
            Transport::Tcp(Tcp {
                sequence,
                acknowledgement,
                options: vec![1; words * 4],
                payload,
                ..Tcp::new(source_port, destination_port, flags)
            })
        },
    )
}

pub(super) fn udp() -> impl Strategy<Value = Transport> {
    (any::<u16>(), any::<u16>(), vec(any::<u8>(), 0..60)).prop_map(
        |(source_port, destination_port, payload)| {
            Transport::Udp(Udp::new(source_port, destination_port, payload))
        },
    )
}

pub(super) fn sctp() -> impl Strategy<Value = Transport> {
    (any::<u16>(), any::<u16>(), any::<u32>(), 0..=16_u8, vec(any::<u8>(), 0..60)).prop_map(
        |(source_port, destination_port, tag, chunk, rest)| {
            Transport::Sctp(Sctp { tag, rest, ..Sctp::new(source_port, destination_port, chunk) })
        },
    )
}

/// A TCP, UDP or SCTP packet without extensions, or with.
pub(super) fn packet(family: Family) -> impl Strategy<Value = Packet> {
    let transport = prop_oneof![tcp(), udp(), sctp()];
    let wrapping = (0..=10_usize, 0..3_usize, 0..20_usize);
    (address(family), address(family), transport, wrapping).prop_map(
        move |(source, destination, transport, (options, extensions, padding))| {
            let mut packet = Packet::new(source, destination, transport);
            packet.padding = padding;
            match family {
                Family::V4 => packet.options = vec![1; options * 4],
                Family::V6 => packet.extensions = vec![(60, vec![0; 6]); extensions],
            }
            packet
        },
    )
}

pub(super) fn any_packet() -> impl Strategy<Value = Packet> {
    family().prop_flat_map(packet)
}

/// Two ports and two addresses that differ from those of `packet` or not.
pub(super) fn packet_and_rewrite() -> impl Strategy<Value = (Packet, IpAddr, IpAddr, u16, u16)> {
    family().prop_flat_map(|family| {
        (packet(family), address(family), address(family), any::<u16>(), any::<u16>())
    })
}
