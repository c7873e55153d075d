//! The packet that an ICMP error quotes: its flow, and where its headers are.
//!
//! The lengths that its headers give are of no use: a router quotes as much as it likes, and of a
//! datagram that was fragmented the first part alone.

use maps_schema::{
    address::{Family, Ipv4Wire, Ipv6Wire, Port, Protocol},
    connection::FlowKey,
};

use crate::{
    packet::PacketRead,
    parse::{Facts, ParseFamily, Transport, any_way_to, skip_extensions},
};

/// A quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted<A> {
    /// The flow of the packets that answer it: the key of the entry that can undo its translation.
    pub(crate) answers: FlowKey<A>,
    /// Where it is.
    pub(crate) place: Place,
}

/// Where a quoted packet is. Offsets are from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where the ICMP message begins that quotes it.
    pub(crate) message: u32,
    /// Where its IP header begins.
    pub(crate) network: u32,
    /// Where its transport header begins; 8 bytes of that are there.
    pub(crate) transport: u32,
    /// Where the message ends.
    pub(crate) end: u32,
    /// What it carries.
    pub(crate) carried: Carried,
}

/// What a quoted packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// A TCP segment, or the beginning of one.
    Tcp,
    /// A UDP datagram, or the beginning of one.
    Udp,
    /// An SCTP packet, or the beginning of one.
    Sctp,
    /// An ICMP or ICMPv6 echo request.
    EchoRequest,
    /// An ICMP or ICMPv6 echo reply.
    EchoReply,
}

/// A quoted IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedHeader<A> {
    source: A,
    destination: A,
    protocol: Protocol,
    transport_offset: u32,
}

const ICMP_HEADER: u32 = 8;

/// How much of the transport header the ports, or an echo's identifier, take: routers quote so much
/// at least (RFC 792).
const LEAST_TRANSPORT: u32 = 8;

/// Reads the packet that an ICMP error quotes, if the error is about one, and addressed to its
/// sender.
#[inline(always)]
pub(crate) fn quoted<A: ParseFamily>(
    packet: &impl PacketRead,
    facts: &Facts<A>,
) -> Option<Quoted<A>> {
    let message = any_way_to(packet, facts.transport_offset)?;
    let [kind, _] = packet.load::<2>(message)?;
    if facts.transport != Transport::IcmpError || !is_about_a_packet(A::FAMILY, kind) {
        return None;
    }
    let network = message + ICMP_HEADER;
    let header = A::parse_quoted(packet, network)?;
    let offset = any_way_to(packet, header.transport_offset)?;
    if offset + LEAST_TRANSPORT > facts.end {
        return None;
    }
    if header.source != A::load(packet, A::DESTINATION_OFFSET)? {
        return None;
    }
    let (carried, source_port, destination_port) = match header.protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => {
            let [s0, s1, d0, d1] = packet.load::<4>(offset)?;
            let carried = match header.protocol {
                Protocol::TCP => Carried::Tcp,
                Protocol::UDP => Carried::Udp,
                _ => Carried::Sctp,
            };
            (carried, Port::from_bytes([s0, s1]), Port::from_bytes([d0, d1]))
        }
        protocol if protocol == A::ICMP => {
            let [kind, _, _, _, id0, id1] = packet.load::<6>(offset)?;
            let identifier = Port::from_bytes([id0, id1]);
            match (A::FAMILY, kind) {
                (Family::V4, 8) | (Family::V6, 128) => {
                    (Carried::EchoRequest, identifier, Port::NONE)
                }
                (Family::V4, 0) | (Family::V6, 129) => (Carried::EchoReply, Port::NONE, identifier),
                _ => return None,
            }
        }
        _ => return None,
    };
    let answers = FlowKey::new(
        header.destination,
        destination_port,
        header.source,
        source_port,
        header.protocol,
    );
    let place = Place { message, network, transport: offset, end: facts.end, carried };
    Some(Quoted { answers, place })
}

/// Destination unreachable, time exceeded, parameter problem; packet too big. A redirect is about a
/// packet too, but concerns the neighbour that sent it.
#[inline(always)]
const fn is_about_a_packet(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, 3 | 11 | 12),
        Family::V6 => matches!(kind, 1..=4),
    }
}

#[inline(always)]
pub(crate) fn parse_quoted_ipv4(
    packet: &impl PacketRead,
    offset: u32,
) -> Option<QuotedHeader<Ipv4Wire>> {
    let [version_and_length, _] = packet.load(offset)?;
    let [fragment0, fragment1, _, protocol] = packet.load(offset + 6)?;
    let source = Ipv4Wire::from_bytes(packet.load(offset + 12)?);
    let destination = Ipv4Wire::from_bytes(packet.load(offset + 16)?);
    let header_length = u32::from(version_and_length & 0xf) * 4;
    let is_later_fragment = u16::from_be_bytes([fragment0, fragment1]) & 0x1fff != 0;
    if version_and_length >> 4 != 4 || header_length < 20 || is_later_fragment {
        return None;
    }
    Some(QuotedHeader {
        source,
        destination,
        protocol: Protocol::new(protocol),
        transport_offset: offset + header_length,
    })
}

#[inline(always)]
pub(crate) fn parse_quoted_ipv6(
    packet: &impl PacketRead,
    offset: u32,
) -> Option<QuotedHeader<Ipv6Wire>> {
    let [version, _] = packet.load(offset)?;
    let [next_header, _] = packet.load(offset + 6)?;
    if version >> 4 != 6 {
        return None;
    }
    let (protocol, transport_offset, fragment) = skip_extensions(packet, next_header, offset + 40)?;
    if fragment == Some(Transport::LaterFragment) {
        return None;
    }
    let source = Ipv6Wire::from_bytes(packet.load(offset + 8)?);
    let destination = Ipv6Wire::from_bytes(packet.load(offset + 24)?);
    Some(QuotedHeader { source, destination, protocol, transport_offset })
}
