//! What the answers to refused packets are, from the RFCs.

use std::net::IpAddr;

use datapath::testing::packet::{Packet, Tcp, Transport, flags};
use maps_schema::address::Family;

use super::world::bridge;

/// The RST to a segment (RFC 9293 section 3.10.7.1).
pub fn reset(packet: &Packet) -> Packet {
    let Transport::Tcp(tcp) = &packet.transport else { panic!("only TCP has a RST: {packet:?}") };
    let length = u32::try_from(tcp.payload.len()).expect("a segment is short")
        + u32::from(tcp.flags & flags::SYN != 0)
        + u32::from(tcp.flags & flags::FIN != 0);
    let (sequence, acknowledgement, flags) = if tcp.flags & flags::ACK == 0 {
        (0, tcp.sequence.wrapping_add(length), flags::RST | flags::ACK)
    } else {
        (tcp.acknowledgement, 0, flags::RST)
    };
    Packet {
        padding: 0,
        hop_limit: 64,
        transport: Transport::Tcp(Tcp {
            sequence,
            acknowledgement,
            window: 0,
            ..Tcp::new(tcp.destination_port, tcp.source_port, flags)
        }),
        ..turned_around(packet)
    }
}

/// The most of a packet that is quoted.
const MAX_QUOTED: usize = 160;

/// The port unreachable message to a packet (RFC 792, RFC 4443 section 3.1), which quotes an even
/// number of its bytes.
pub fn unreachable(packet: &Packet) -> Packet {
    unreachable_quoting(packet, &packet.bytes())
}

/// As [`unreachable`], to a packet whose bytes are these: its checksum may not be filled in.
pub fn unreachable_quoting(packet: &Packet, bytes: &[u8]) -> Packet {
    let (kind, code) = if packet.source.is_ipv4() { (3, 3) } else { (1, 4) };
    error(packet, packet.destination, (kind, code), bytes)
}

/// The node's time exceeded message to a packet (RFC 792, RFC 4443 section 3.3).
pub fn time_exceeded(packet: &Packet) -> Packet {
    let (family, kind) = if packet.source.is_ipv4() { (Family::V4, 11) } else { (Family::V6, 3) };
    error(packet, bridge(family), (kind, 0), &packet.bytes())
}

/// An ICMP error from `source`, with four zero bytes behind its checksum.
fn error(packet: &Packet, source: IpAddr, (kind, code): (u8, u8), bytes: &[u8]) -> Packet {
    let end = (bytes.len() - packet.padding).min(14 + MAX_QUOTED);
    let mut body = vec![0; 4];
    body.extend(&bytes[14..end & !1]);
    let transport = Transport::Icmp { kind, code, body };
    Packet {
        ether_source: packet.ether_destination,
        ether_destination: packet.ether_source,
        hop_limit: 64,
        traffic_class: if packet.source.is_ipv4() { 0xc0 } else { 0 },
        identification: 0,
        ..Packet::new(source, packet.source, transport)
    }
}

fn turned_around(packet: &Packet) -> Packet {
    Packet {
        ether_source: packet.ether_destination,
        ether_destination: packet.ether_source,
        source: packet.destination,
        destination: packet.source,
        ..packet.clone()
    }
}
