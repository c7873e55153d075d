//! From bytes to facts. Headers are copied by value; nothing refers into the packet afterwards.

mod carried;
mod extensions;
mod transport;

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Mac, Protocol},
    connection::FlowKey,
};

use self::carried::parse_carried;
pub use self::transport::{SctpChunk, TcpFlags, Transport};
pub(crate) use self::{
    carried::may_have_ports,
    extensions::{FRAGMENT, MAX_EXTENSIONS, any_way_to, is_skipped, skip_extensions},
};
use crate::{
    family::IpFamily,
    packet::{NETWORK_OFFSET, PacketRead},
    quoted::{QuotedHeader, parse_quoted_ipv4, parse_quoted_ipv6},
};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4: to be parsed as `Ipv4Wire`.
    Ipv4,
    /// IPv6: to be parsed as `Ipv6Wire`.
    Ipv6,
    /// ARP, VLAN, multicast: the kernel's.
    NotOurs,
    /// Less than an Ethernet header.
    Malformed,
}

/// A parsed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<A> {
    /// Its facts.
    Facts(Facts<A>),
    /// Neighbour discovery: the kernel's.
    NotOurs,
    /// A header that contradicts itself, or is not there.
    Malformed,
}

/// What the datapath knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<A> {
    /// The five values that name its flow. Ports are [`Port::NONE`] unless
    /// [`Transport::has_flow`]; an echo's identifier is the source port of a request and the
    /// destination port of a reply.
    pub flow: FlowKey<A>,
    /// What it carries.
    pub transport: Transport,
    /// Where the transport header begins, from the start of the frame.
    pub transport_offset: u32,
    /// Where the IP packet ends, from the start of the frame: padding is beyond.
    pub end: u32,
    /// TTL or hop limit, as it came.
    pub hop_limit: u8,
    /// Whether the transport header is there.
    pub piece: Piece,
}

/// What part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    WithHeader,
    /// The first of its fragments: with the transport header, but not all that it is about.
    First,
    /// A later fragment: without one. Its ports are the first fragment's.
    WithoutHeader,
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// Reads what a frame carries.
#[inline(always)]
pub fn network(packet: &impl PacketRead) -> Network {
    let Some([type0, type1]) = packet.load(12) else {
        return Network::Malformed;
    };
    let Some([first, _]) = packet.load(0) else {
        return Network::Malformed;
    };
    match [type0, type1] {
        _ if first & 1 != 0 => Network::NotOurs, // Multicast and broadcast are the bridge's.
        ETHERTYPE_IPV4 => Network::Ipv4,
        ETHERTYPE_IPV6 => Network::Ipv6,
        _ => Network::NotOurs,
    }
}

/// Reads the facts of a packet that [`network`] has found to be of this family.
#[inline(always)]
pub fn parse<A: ParseFamily>(packet: &impl PacketRead) -> Parsed<A> {
    A::parse(packet).unwrap_or(Parsed::Malformed)
}

/// The family's part of parsing.
pub trait ParseFamily: IpFamily {
    /// Reads the facts; `None` where the packet is malformed.
    fn parse(packet: &impl PacketRead) -> Option<Parsed<Self>>;

    /// Reads the IP header that an ICMP error quotes at `offset`; `None` where there is none, or it
    /// is that of a later fragment.
    fn parse_quoted(packet: &impl PacketRead, offset: u32) -> Option<QuotedHeader<Self>>;
}

impl ParseFamily for Ipv4Wire {
    #[inline(always)]
    fn parse(packet: &impl PacketRead) -> Option<Parsed<Self>> {
        parse_ipv4(packet)
    }

    #[inline(always)]
    fn parse_quoted(packet: &impl PacketRead, offset: u32) -> Option<QuotedHeader<Self>> {
        parse_quoted_ipv4(packet, offset)
    }
}

impl ParseFamily for Ipv6Wire {
    #[inline(always)]
    fn parse(packet: &impl PacketRead) -> Option<Parsed<Self>> {
        parse_ipv6(packet)
    }

    #[inline(always)]
    fn parse_quoted(packet: &impl PacketRead, offset: u32) -> Option<QuotedHeader<Self>> {
        parse_quoted_ipv6(packet, offset)
    }
}

/// Who sent the frame.
#[inline(always)]
pub fn sender(packet: &impl PacketRead) -> Option<Mac> {
    packet.load(6).map(Mac::from_bytes)
}

#[inline(always)]
fn parse_ipv4(packet: &impl PacketRead) -> Option<Parsed<Ipv4Wire>> {
    // At once: each access to a packet has its bounds checked.
    let [length, fragment, rest, source, destination] = packet.load_words(NETWORK_OFFSET)?;
    let [version_and_length, _, total0, total1] = length;
    let [_, _, fragment0, fragment1] = fragment;
    let [hop_limit, protocol, _, _] = rest;
    let (source, destination) = (Ipv4Wire::from_bytes(source), Ipv4Wire::from_bytes(destination));
    let header_length = u32::from(version_and_length & 0xf) * 4;
    if version_and_length >> 4 != 4 || header_length < 20 {
        return None;
    }
    let end = match u32::from(u16::from_be_bytes([total0, total1])) {
        0 => packet.length(), // Segments beyond 64 KiB ("BIG TCP") say nothing here.
        total if total < header_length => return None,
        total => NETWORK_OFFSET + total,
    };
    let transport_offset = NETWORK_OFFSET + header_length;
    if end > packet.length() || transport_offset > end {
        return None;
    }
    let fragment = match u16::from_be_bytes([fragment0, fragment1]) & 0x3fff {
        0 => None,
        0x2000 => Some(Transport::FirstFragment),
        _ => Some(Transport::LaterFragment),
    };
    let protocol = Protocol::new(protocol);
    let carried = parse_carried(packet, protocol, transport_offset, end, fragment)?;
    Some(Parsed::Facts(carried.facts((source, destination), transport_offset, end, hop_limit)))
}

#[inline(always)]
fn parse_ipv6(packet: &impl PacketRead) -> Option<Parsed<Ipv6Wire>> {
    let destination = Ipv6Wire::from_bytes(packet.load(Ipv6Wire::DESTINATION_OFFSET)?);
    let source = Ipv6Wire::from_bytes(packet.load(Ipv6Wire::SOURCE_OFFSET)?);
    let [[version, ..], [payload0, payload1, next_header, hop_limit]] =
        packet.load_words(NETWORK_OFFSET)?;
    if version >> 4 != 6 {
        return None;
    }
    let end = match u32::from(u16::from_be_bytes([payload0, payload1])) {
        0 => packet.length(), // As for IPv4; a packet of no payload at all fails below or is no flow.
        payload => NETWORK_OFFSET + 40 + payload,
    };
    if end > packet.length() {
        return None;
    }
    let (protocol, transport_offset, fragment) =
        skip_extensions(packet, next_header, NETWORK_OFFSET + 40)?;
    if transport_offset > end {
        return None;
    }
    let carried = parse_carried(packet, protocol, transport_offset, end, fragment)?;
    if carried.transport == Transport::Other && carried.protocol == Protocol::ICMPV6 {
        return Some(Parsed::NotOurs); // Neighbour discovery.
    }
    Some(Parsed::Facts(carried.facts((source, destination), transport_offset, end, hop_limit)))
}
