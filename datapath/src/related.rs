//! ICMP errors about flows that are translated: they reach the end that sent what they quote, and
//! quote it as that end has sent it.
//!
//! An error about a packet of the flow F comes to F's source. The entry of the packets that answer
//! F, at F's reverse, says what those become, and so who the ends of F are to the sender: the
//! quoted packet becomes one of the reverse of that. A next-hop MTU stays what it is.

use maps_schema::{
    address::{Address, Family},
    connection::Connection,
    drop_reason::DropReason,
    service::ServiceId,
    way::Way,
};

use crate::{
    apply::{address_frame, write_hop_limit},
    checksum::ChecksumDelta,
    family::{IPV4_CHECKSUM_OFFSET, IpFamily},
    packet::{NETWORK_OFFSET, PacketWrite, WriteFailed},
    parse::{Facts, ParseFamily},
    quoted::{Carried, Place, Quoted, quoted},
    tables::Tables,
    verdict::Hop,
};

/// Turns an ICMP error about a packet of a known flow into one about the packet as its sender sent
/// it, and returns the way to that; none where it is about no flow of ours, and is unchanged.
///
/// # Errors
///
/// Why the packet is to be dropped: its hop limit is used up (there is no error about an error), or
/// the kernel could not change it.
#[inline(always)]
pub fn related<A: ParseFamily>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    hop: Hop,
) -> Result<Option<Way>, DropReason> {
    let Some(Quoted { answers, place }) = quoted(packet, facts) else { return Ok(None) };
    let Some(entry) = tables.peek_connection(&answers) else { return Ok(None) };
    if is_between_pods(&entry) && entry.rewritten(answers.protocol()) == answers {
        return Ok(None);
    }
    if hop == Hop::Forwarded && facts.hop_limit <= 1 {
        return Err(DropReason::HopLimitExceeded);
    }
    let reporter = match A::load(packet, A::SOURCE_OFFSET) {
        Some(source) if source == answers.source => Reporter::End,
        _ => Reporter::Router,
    };
    match rewrite(packet, &place, &entry, reporter, hop) {
        Ok(()) => Ok(Some(entry.way())),
        Err(WriteFailed) => Err(DropReason::RewriteFailed),
    }
}

/// Whether an entry is of a flow from pod to pod: if that keeps its ends, an error about it goes as
/// it is, by its destination.
#[inline(always)]
fn is_between_pods<A: Address>(entry: &Connection<A>) -> bool {
    entry.service() == ServiceId::NONE
        && matches!(entry.way(), Way::Pod(_) | Way::Tunnel(_) | Way::Route(_))
}

/// Who has sent an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reporter {
    /// The end to which the quoted packet went: it is known by another address to the sender.
    End,
    /// Any other: a router between them, which goes by its own address.
    Router,
}

/// What is old is read from the packet, piece by piece: little of it has to be kept at a time.
#[inline(always)]
fn rewrite<A: IpFamily>(
    packet: &mut impl PacketWrite,
    place: &Place,
    entry: &Connection<A>,
    reporter: Reporter,
    hop: Hop,
) -> Result<(), WriteFailed> {
    let message = rewrite_quoted(packet, place, entry)?;

    let mut header = ChecksumDelta::ZERO;
    replace_address(packet, A::DESTINATION_OFFSET, &entry.destination, &mut header)?;
    if reporter == Reporter::End {
        replace_address(packet, A::SOURCE_OFFSET, &entry.source, &mut header)?;
    }
    let covered = match A::FAMILY {
        Family::V4 => message,
        Family::V6 => message.plus(header),
    };
    correct(packet, place.message + 2, covered)?;

    address_frame(packet, entry.way())?;
    let hop = write_hop_limit::<A>(packet, hop)?;
    if A::FAMILY == Family::V4 {
        correct(packet, IPV4_CHECKSUM_OFFSET, header.plus(hop))?;
    }
    Ok(())
}

/// Rewrites the quoted packet, and returns what that changes in the message's sum.
#[inline(always)]
fn rewrite_quoted<A: IpFamily>(
    packet: &mut impl PacketWrite,
    place: &Place,
    entry: &Connection<A>,
) -> Result<ChecksumDelta, WriteFailed> {
    let in_quoted = |offset: u32| place.network + (offset - NETWORK_OFFSET);
    let mut addresses = ChecksumDelta::ZERO;
    let (source, destination) = (&entry.destination, &entry.source);
    replace_address(packet, in_quoted(A::SOURCE_OFFSET), source, &mut addresses)?;
    replace_address(packet, in_quoted(A::DESTINATION_OFFSET), destination, &mut addresses)?;
    let mut message = addresses;
    if A::FAMILY == Family::V4 {
        message = message.plus(correct(packet, in_quoted(IPV4_CHECKSUM_OFFSET), addresses)?);
    }

    let transport = place.transport;
    let ports = match place.carried {
        Carried::Tcp | Carried::Udp | Carried::Sctp => {
            let [s0, s1] = entry.destination_port.bytes();
            let [d0, d1] = entry.source_port.bytes();
            replace(packet, transport, [s0, s1, d0, d1])?
        }
        Carried::EchoRequest => replace(packet, transport + 4, entry.destination_port.bytes())?,
        Carried::EchoReply => replace(packet, transport + 4, entry.source_port.bytes())?,
    };
    message = message.plus(ports);
    let field = transport
        + match place.carried {
            Carried::Tcp => 16,
            Carried::Udp => 6,
            Carried::EchoRequest | Carried::EchoReply => 2,
            // Its checksum covers all of a packet that is quoted in part: nobody checks it.
            Carried::Sctp => return Ok(message),
        };
    if field + 2 > place.end {
        return Ok(message); // Of a TCP header as little as 8 bytes is quoted.
    }
    // An ICMP checksum covers no addresses, all others do.
    let covered = match (place.carried, A::FAMILY) {
        (Carried::EchoRequest | Carried::EchoReply, Family::V4) => ports,
        _ => addresses.plus(ports),
    };
    let corrected = match place.carried {
        Carried::Udp => correct_unless_none(packet, field, covered)?,
        _ => correct(packet, field, covered)?,
    };
    Ok(message.plus(corrected))
}

/// Overwrites the address at `offset`, and adds to `change` what that changes in a sum over it.
///
/// A function of its own: copies of IPv6 addresses fill a stack frame.
#[inline(never)]
fn replace_address<A: IpFamily>(
    packet: &mut impl PacketWrite,
    offset: u32,
    new: &A,
    change: &mut ChecksumDelta,
) -> Result<(), WriteFailed> {
    let old = A::load(packet, offset).ok_or(WriteFailed)?;
    A::store(packet, offset, *new)?;
    *change = change.replace_address(old, *new);
    Ok(())
}

/// Overwrites an even number of bytes, and returns what that changes in a sum over them.
#[inline(always)]
fn replace<const N: usize>(
    packet: &mut impl PacketWrite,
    offset: u32,
    new: [u8; N],
) -> Result<ChecksumDelta, WriteFailed> {
    let old = packet.load::<N>(offset).ok_or(WriteFailed)?;
    packet.store(offset, new)?;
    Ok(ChecksumDelta::ZERO.add_bytes(new).add_bytes(old.map(|byte| !byte)))
}

/// Corrects the checksum at `offset`, and returns what that changes in a sum over it.
#[inline(always)]
fn correct(
    packet: &mut impl PacketWrite,
    offset: u32,
    covered: ChecksumDelta,
) -> Result<ChecksumDelta, WriteFailed> {
    let old = packet.load::<2>(offset).ok_or(WriteFailed)?;
    let new = covered.correct(old);
    packet.store(offset, new)?;
    Ok(ChecksumDelta::ZERO.replace(old, new))
}

/// As [`correct`], for UDP: zero is no checksum, and a sum of zero is written as 0xffff (RFC 768).
#[inline(always)]
fn correct_unless_none(
    packet: &mut impl PacketWrite,
    offset: u32,
    covered: ChecksumDelta,
) -> Result<ChecksumDelta, WriteFailed> {
    let old = packet.load::<2>(offset).ok_or(WriteFailed)?;
    if old == [0, 0] {
        return Ok(ChecksumDelta::ZERO);
    }
    let new = match covered.correct(old) {
        [0, 0] => [0xff, 0xff],
        new => new,
    };
    packet.store(offset, new)?;
    Ok(ChecksumDelta::ZERO.replace(old, new))
}
