//! The transport header: ports, and what kind of packet it begins.

use maps_schema::{
    address::{Port, Protocol},
    connection::FlowKey,
};

use super::{Facts, Piece, SctpChunk, TcpFlags, Transport, extensions::is_skipped};
use crate::{family::IpFamily, fragment::transport_behind, packet::PacketRead};

/// What the transport header says, be it this packet's or that of its datagram's first fragment.
pub(super) struct Carried {
    pub(super) protocol: Protocol,
    pub(super) transport: Transport,
    source_port: Port,
    destination_port: Port,
    piece: Piece,
}

impl Carried {
    #[inline(always)]
    pub(super) fn facts<A: IpFamily>(
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
pub(super) fn parse_carried(
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
    matches!(
        protocol,
        Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::ICMP | Protocol::ICMPV6
    ) || is_skipped(protocol.number())
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
        Protocol::SCTP => {
            // The common header, and the first chunk's.
            let [s0, s1, d0, d1, _, _, _, _, _, _, _, _, chunk, _, _, _] = packet.load(offset)?;
            if offset + 16 > end {
                return None;
            }
            let ports = (Port::from_bytes([s0, s1]), Port::from_bytes([d0, d1]));
            Some((Transport::Sctp(SctpChunk::from_byte(chunk)), ports.0, ports.1))
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
