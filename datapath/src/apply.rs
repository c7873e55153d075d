//! Writing a translation into a packet: addresses, ports, and the checksums over them.

use maps_schema::address::{Family, IfIndex, Protocol};

use crate::{
    checksum::ChecksumDelta,
    family::{IPV4_CHECKSUM_OFFSET, IpFamily},
    packet::{Covered, PacketWrite, WriteFailed, ZeroChecksum},
    parse::Facts,
    verdict::Translation,
};

/// Changes the packet's addresses, ports and Ethernet destination to the translation's.
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
    let ports = ChecksumDelta::ZERO
        .replace_port(old.source_port, new.source_port)
        .replace_port(old.destination_port, new.destination_port);

    if translation.link.interface != IfIndex::NONE {
        packet.store(0, translation.link.mac.bytes())?;
    }
    if A::FAMILY == Family::V4 {
        let checksum = packet.load::<2>(IPV4_CHECKSUM_OFFSET).ok_or(WriteFailed)?;
        packet.store(IPV4_CHECKSUM_OFFSET, addresses.correct(checksum))?;
    }
    A::store(packet, A::SOURCE_OFFSET, new.source)?;
    A::store(packet, A::DESTINATION_OFFSET, new.destination)?;
    let [s0, s1] = new.source_port.bytes();
    let [d0, d1] = new.destination_port.bytes();
    packet.store(facts.transport_offset, [s0, s1, d0, d1])?;

    let (checksum_offset, zero) = if old.protocol() == Protocol::TCP {
        (facts.transport_offset + 16, ZeroChecksum::IsASum)
    } else {
        (facts.transport_offset + 6, ZeroChecksum::MeansNone)
    };
    packet.correct_checksum(checksum_offset, addresses, Covered::Addresses, zero)?;
    if old.source_port != new.source_port || old.destination_port != new.destination_port {
        packet.correct_checksum(checksum_offset, ports, Covered::Ports, zero)?;
    }
    Ok(())
}
