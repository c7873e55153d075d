//! Writing a decision into a packet: addresses, ports, hop limit, and the checksums over them.

use maps_schema::{
    address::{Family, Port},
    connection::FlowKey,
    way::Way,
};

use crate::{
    checksum::ChecksumDelta,
    crc::replace_first_word,
    family::{IPV4_CHECKSUM_OFFSET, IpFamily},
    packet::{Covered, NETWORK_OFFSET, PacketWrite, WriteFailed, ZeroChecksum},
    parse::{Facts, Piece, Transport},
    verdict::{Hop, Translation},
};

/// Changes the packet's addresses, ports, hop limit and Ethernet destination to the translation's.
///
/// Plain stores come first: a checksum correction may move the packet.
#[inline(always)]
pub fn apply<A: IpFamily>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
    translation: &Translation<A>,
) -> Result<(), WriteFailed> {
    let (old, new) = (&facts.flow, &translation.rewritten);
    let addresses = ChecksumDelta::ZERO
        .replace_address(old.source, new.source)
        .replace_address(old.destination, new.destination);

    address_frame(packet, translation.way.way())?;
    write_header(packet, translation.hop, addresses, [new.source, new.destination])?;
    if facts.piece == Piece::WithoutHeader {
        return Ok(());
    }
    let offset = facts.transport_offset;
    match facts.transport {
        Transport::EchoRequest => {
            apply_to_echo::<A>(packet, offset, addresses, (old.source_port, new.source_port))
        }
        Transport::EchoReply => {
            let identifier = (old.destination_port, new.destination_port);
            apply_to_echo::<A>(packet, offset, addresses, identifier)
        }
        Transport::Sctp(_) => apply_to_sctp(packet, facts, new),
        _ => {
            let ports = ChecksumDelta::ZERO
                .replace_port(old.source_port, new.source_port)
                .replace_port(old.destination_port, new.destination_port);
            let [s0, s1] = new.source_port.bytes();
            let [d0, d1] = new.destination_port.bytes();
            packet.store(offset, [s0, s1, d0, d1])?;
            let (checksum_offset, zero) = match facts.transport {
                Transport::Tcp(_) => (offset + 16, ZeroChecksum::IsASum),
                _ => (offset + 6, ZeroChecksum::MeansNone),
            };
            packet.correct_checksum(checksum_offset, addresses, Covered::Addresses, zero)?;
            if old.source_port != new.source_port || old.destination_port != new.destination_port {
                packet.correct_checksum(checksum_offset, ports, Covered::Ports, zero)?;
            }
            Ok(())
        }
    }
}

/// SCTP's checksum covers no addresses. One of zero is not made yet: a device, or the kernel before
/// it, is to make it of the packet as it is then.
#[inline(always)]
fn apply_to_sctp<A: IpFamily>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
    new: &FlowKey<A>,
) -> Result<(), WriteFailed> {
    let (offset, old) = (facts.transport_offset, &facts.flow);
    let ports = |flow: &FlowKey<A>| {
        let ([s0, s1], [d0, d1]) = (flow.source_port.bytes(), flow.destination_port.bytes());
        [s0, s1, d0, d1]
    };
    let (old, new) = (ports(old), ports(new));
    if old == new {
        return Ok(());
    }
    packet.store(offset, new)?;
    let checksum = packet.load::<4>(offset + 8).ok_or(WriteFailed)?;
    if checksum == [0; 4] {
        return Ok(());
    }
    let corrected = replace_first_word(checksum, (old, new), facts.end.wrapping_sub(offset));
    packet.store(offset + 8, corrected)
}

/// Writes what changes in an IP header, as few times as can be: each access to a packet has its bounds
/// checked.
#[inline(always)]
fn write_header<A: IpFamily>(
    packet: &mut impl PacketWrite,
    hop: Hop,
    addresses: ChecksumDelta,
    [source, destination]: [A; 2],
) -> Result<(), WriteFailed> {
    match A::FAMILY {
        Family::V4 => {
            const OFFSET: u32 = NETWORK_OFFSET + 8;
            let [limit, protocol, c0, c1] = packet.load(OFFSET).ok_or(WriteFailed)?;
            let new_limit = limit.wrapping_sub(u8::from(hop == Hop::Forwarded));
            let change = addresses.replace([limit, protocol], [new_limit, protocol]);
            let [c0, c1] = change.correct([c0, c1]);
            let [s0, s1, s2, s3, ..] = source.to_slot();
            let [d0, d1, d2, d3, ..] = destination.to_slot();
            packet.store(OFFSET, [new_limit, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3])
        }
        Family::V6 => {
            write_hop_limit::<A>(packet, hop)?;
            A::store(packet, A::SOURCE_OFFSET, source)?;
            A::store(packet, A::DESTINATION_OFFSET, destination)
        }
    }
}

/// Changes the hop limit and the Ethernet destination of a packet that is forwarded as it is.
#[inline(always)]
pub fn apply_forward<A: IpFamily>(
    packet: &mut impl PacketWrite,
    way: Way,
) -> Result<(), WriteFailed> {
    address_frame(packet, way)?;
    let hop = write_hop_limit::<A>(packet, Hop::Forwarded)?;
    if A::FAMILY == Family::V4 {
        let checksum = packet.load::<2>(IPV4_CHECKSUM_OFFSET).ok_or(WriteFailed)?;
        packet.store(IPV4_CHECKSUM_OFFSET, hop.correct(checksum))?;
    }
    Ok(())
}

/// A pod takes frames that are addressed to it; the frame's other ways get their addresses later.
#[inline(always)]
pub(crate) fn address_frame(packet: &mut impl PacketWrite, way: Way) -> Result<(), WriteFailed> {
    match way {
        Way::Pod(link) => packet.store(0, link.mac.bytes()),
        _ => Ok(()),
    }
}

/// Writes the hop limit, and returns what that changes in the IPv4 header's sum.
#[inline(always)]
pub(crate) fn write_hop_limit<A: IpFamily>(
    packet: &mut impl PacketWrite,
    hop: Hop,
) -> Result<ChecksumDelta, WriteFailed> {
    if hop == Hop::Own {
        return Ok(ChecksumDelta::ZERO);
    }
    match A::FAMILY {
        Family::V4 => {
            let [limit, protocol] = packet.load::<2>(NETWORK_OFFSET + 8).ok_or(WriteFailed)?;
            let (old, new) = ([limit, protocol], [limit.wrapping_sub(1), protocol]);
            packet.store(NETWORK_OFFSET + 8, new)?;
            Ok(ChecksumDelta::ZERO.replace(old, new))
        }
        Family::V6 => {
            let [next, limit] = packet.load::<2>(NETWORK_OFFSET + 6).ok_or(WriteFailed)?;
            packet.store(NETWORK_OFFSET + 6, [next, limit.wrapping_sub(1)])?;
            Ok(ChecksumDelta::ZERO)
        }
    }
}

/// An ICMP checksum covers no addresses, an ICMPv6 one does (RFC 4443 section 2.3).
#[inline(always)]
fn apply_to_echo<A: IpFamily>(
    packet: &mut impl PacketWrite,
    offset: u32,
    addresses: ChecksumDelta,
    (old, new): (Port, Port),
) -> Result<(), WriteFailed> {
    packet.store(offset + 4, new.bytes())?;
    let zero = ZeroChecksum::IsASum;
    if A::FAMILY == Family::V6 {
        packet.correct_checksum(offset + 2, addresses, Covered::Addresses, zero)?;
    }
    if old != new {
        let identifier = ChecksumDelta::ZERO.replace_port(old, new);
        packet.correct_checksum(offset + 2, identifier, Covered::Ports, zero)?;
    }
    Ok(())
}
