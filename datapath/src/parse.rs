//! From bytes to facts. Headers are copied by value; nothing refers into the packet afterwards.

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Mac, Port, Protocol},
    connection::{FlowKey, State},
};

use crate::{
    family::IpFamily,
    fragment::transport_behind,
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

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment, with its flags.
    Tcp(TcpFlags),
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo request.
    EchoRequest,
    /// An ICMP or ICMPv6 echo reply.
    EchoReply,
    /// Another ICMP or ICMPv6 message that may be answered by an error.
    IcmpQuery,
    /// An ICMP or ICMPv6 error: it is never answered (RFC 1122 section 3.2.2, RFC 4443 section
    /// 2.4).
    IcmpError,
    /// A first fragment that was not noted yet ([`fragment`](crate::fragment)): it has a transport
    /// header, and the fragments that follow go by its ports.
    FirstFragment,
    /// A later fragment whose first one is not known yet: it has no transport header.
    LaterFragment,
    /// Anything else.
    Other,
}

impl Transport {
    /// Whether services have such.
    #[inline(always)]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Udp)
    }

    /// Whether connection entries are made of such.
    #[inline(always)]
    pub const fn has_flow(self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Udp | Self::EchoRequest | Self::EchoReply)
    }

    /// Whether it may be the first packet of its flow.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        match self {
            Self::Tcp(flags) => flags.opens(),
            Self::Udp | Self::EchoRequest => true,
            _ => false,
        }
    }

    /// What this packet tells of its direction's state.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self {
            Self::Tcp(flags) => flags.state(),
            _ => State::SEEN.with(State::ESTABLISHED),
        }
    }
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    const FIN: u8 = 1;
    const SYN: u8 = 1 << 1;
    const RST: u8 = 1 << 2;
    const ACK: u8 = 1 << 4;

    /// Takes the byte as it stands in the header.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte as it stands in the header.
    #[inline(always)]
    pub(crate) const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the segment asks for a new connection.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN
    }

    /// Whether RST is set.
    #[inline(always)]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether ACK is set.
    #[inline(always)]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// How many sequence numbers SYN and FIN take.
    pub const fn sequence_length(self) -> u32 {
        (self.0 & Self::SYN != 0) as u32 + (self.0 & Self::FIN != 0) as u32
    }

    #[inline(always)]
    const fn state(self) -> State {
        let mut state = State::SEEN;
        if self.0 & Self::SYN == 0 {
            state = state.with(State::ESTABLISHED);
        }
        if self.0 & Self::FIN != 0 {
            state = state.with(State::FIN);
        }
        if self.0 & Self::RST != 0 {
            state = state.with(State::RST);
        }
        state
    }
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
    let destination = Ipv4Wire::from_bytes(packet.load(Ipv4Wire::DESTINATION_OFFSET)?);
    let source = Ipv4Wire::from_bytes(packet.load(Ipv4Wire::SOURCE_OFFSET)?);
    let [version_and_length, _, total0, total1] = packet.load(NETWORK_OFFSET)?;
    let [fragment0, fragment1, hop_limit, protocol] = packet.load(NETWORK_OFFSET + 6)?;
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
    let [version, _] = packet.load(NETWORK_OFFSET)?;
    let [payload0, payload1, next_header, hop_limit] = packet.load(NETWORK_OFFSET + 4)?;
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

/// How many IPv6 extension headers are looked behind; RFC 8200 section 4.1 lists six that may stand
/// in one packet.
pub(crate) const MAX_EXTENSIONS: usize = 6;

/// Headers that lie further behind are not looked for: some chains of the longest extension headers,
/// which nobody sends.
const FURTHEST: u32 = 0x3f00;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// The fragment header's number.
pub(crate) const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Whether a header of this number is one that says how long it is, and what follows.
#[inline(always)]
pub(crate) const fn is_skipped(header: u8) -> bool {
    matches!(header, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}

/// The transport protocol, where its header begins, and what kind of fragment the packet is; from
/// the kind and the offset of the header that follows the IPv6 header.
#[inline(always)]
pub(crate) fn skip_extensions(
    packet: &impl PacketRead,
    first: u8,
    offset: u32,
) -> Option<(Protocol, u32, Option<Transport>)> {
    let (mut next, mut offset) = (first, offset);
    let mut fragment = None;
    for _ in 0..MAX_EXTENSIONS {
        match next {
            next_header if is_skipped(next_header) => {
                let [following, length] = packet.load::<2>(offset)?;
                next = following;
                offset = any_way_to(packet, offset + (u32::from(length) + 1) * 8)?;
            }
            FRAGMENT if fragment.is_none() => {
                let [following, _, offset0, offset1] = packet.load::<4>(offset)?;
                next = following;
                offset = any_way_to(packet, offset + 8)?;
                fragment = match u16::from_be_bytes([offset0, offset1]) & 0xfff9 {
                    0 => None, // An atomic fragment (RFC 6946) is a whole packet.
                    1 => Some(Transport::FirstFragment),
                    _ => Some(Transport::LaterFragment),
                };
                if matches!(fragment, Some(Transport::LaterFragment)) {
                    break;
                }
            }
            _ => break,
        }
    }
    Some((Protocol::new(next), offset, fragment))
}

/// Where a header begins: all ways there are one to a verifier.
#[inline(always)]
pub(crate) fn any_way_to(packet: &impl PacketRead, offset: u32) -> Option<u32> {
    let offset = packet.forget(offset);
    (offset <= FURTHEST).then_some(offset)
}

/// What the transport header says, be it this packet's or that of its datagram's first fragment.
struct Carried {
    protocol: Protocol,
    transport: Transport,
    source_port: Port,
    destination_port: Port,
    piece: Piece,
}

impl Carried {
    #[inline(always)]
    fn facts<A: IpFamily>(
        self,
        (source, destination): (A, A),
        transport_offset: u32,
        end: u32,
        hop_limit: u8,
    ) -> Facts<A> {
        let Self { protocol, transport, source_port, destination_port, piece } = self;
        let flow = FlowKey::new(source, source_port, destination, destination_port, protocol);
        Facts { flow, transport, transport_offset, end, hop_limit, piece }
    }
}

#[inline(always)]
fn parse_carried(
    packet: &impl PacketRead,
    protocol: Protocol,
    offset: u32,
    end: u32,
    fragment: Option<Transport>,
) -> Option<Carried> {
    let piece = match (fragment, packet.first_fragment()) {
        (None, _) => Piece::WithHeader,
        (Some(Transport::FirstFragment), Some(_)) => Piece::First,
        (Some(Transport::LaterFragment), Some(first)) => {
            return Some(Carried {
                protocol: first.protocol(),
                transport: transport_behind(&first),
                source_port: first.source_port,
                destination_port: first.destination_port,
                piece: Piece::WithoutHeader,
            });
        }
        (Some(fragment), _) => {
            let is_later = fragment == Transport::LaterFragment;
            let piece = if is_later { Piece::WithoutHeader } else { Piece::First };
            let transport = if may_have_ports(protocol) { fragment } else { Transport::Other };
            let (source_port, destination_port) = (Port::NONE, Port::NONE);
            return Some(Carried { protocol, transport, source_port, destination_port, piece });
        }
    };
    let (transport, source_port, destination_port) =
        parse_transport(packet, protocol, offset, end, piece)?;
    Some(Carried { protocol, transport, source_port, destination_port, piece })
}

/// Whether a later fragment may be of a flow: behind an IPv6 fragment header, a header may stand
/// before that of the transport.
#[inline(always)]
pub(crate) fn may_have_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6)
        || is_skipped(protocol.number())
}

#[inline(always)]
fn parse_transport(
    packet: &impl PacketRead,
    protocol: Protocol,
    offset: u32,
    end: u32,
    piece: Piece,
) -> Option<(Transport, Port, Port)> {
    match protocol {
        Protocol::TCP => {
            let [s0, s1, d0, d1, _, _, _, _, _, _, _, _, data_offset, flags] =
                packet.load(offset)?;
            let header_length = u32::from(data_offset >> 4) * 4;
            if header_length < 20 || offset + header_length > end {
                return None;
            }
            let transport = Transport::Tcp(TcpFlags::from_byte(flags));
            Some((transport, Port::from_bytes([s0, s1]), Port::from_bytes([d0, d1])))
        }
        Protocol::UDP => {
            let [s0, s1, d0, d1, length0, length1, _, _] = packet.load(offset)?;
            let length = u32::from(u16::from_be_bytes([length0, length1]));
            let is_too_long = piece == Piece::WithHeader && offset + length > end;
            // A length of zero is a jumbogram's (RFC 2675).
            if offset + 8 > end || (length != 0 && (length < 8 || is_too_long)) {
                return None;
            }
            let ports = (Port::from_bytes([s0, s1]), Port::from_bytes([d0, d1]));
            Some((Transport::Udp, ports.0, ports.1))
        }
        Protocol::ICMP => {
            let [kind, _, _, _, id0, id1, _, _] = packet.load::<8>(offset)?;
            if offset + 8 > end {
                return None;
            }
            let identifier = Port::from_bytes([id0, id1]);
            Some(match kind {
                8 => (Transport::EchoRequest, identifier, Port::NONE),
                0 => (Transport::EchoReply, Port::NONE, identifier),
                3 | 4 | 5 | 11 | 12 => (Transport::IcmpError, Port::NONE, Port::NONE),
                _ => (Transport::IcmpQuery, Port::NONE, Port::NONE),
            })
        }
        Protocol::ICMPV6 => {
            let [kind, _, _, _, id0, id1, _, _] = packet.load::<8>(offset)?;
            if offset + 8 > end {
                return None;
            }
            let identifier = Port::from_bytes([id0, id1]);
            Some(match kind {
                128 => (Transport::EchoRequest, identifier, Port::NONE),
                129 => (Transport::EchoReply, Port::NONE, identifier),
                ..128 => (Transport::IcmpError, Port::NONE, Port::NONE),
                130..=137 | 143 => (Transport::Other, Port::NONE, Port::NONE),
                _ => (Transport::IcmpQuery, Port::NONE, Port::NONE),
            })
        }
        _ => Some((Transport::Other, Port::NONE, Port::NONE)),
    }
}
