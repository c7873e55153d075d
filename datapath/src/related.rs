//! ICMP errors about flows that are translated: they reach the end that sent what they quote, and
//! quote it as that end has sent it.
//!
//! An error about a packet of the flow F comes to F's source. The entry of the packets that answer
//! F, at F's reverse, says what those become, and so who the ends of F are to the sender: the
//! quoted packet becomes one of the reverse of that. A next-hop MTU stays what it is.

use maps_schema::{
    address::{Address, Family, Port},
    connection::Connection,
    drop_reason::DropReason,
    way::Way,
};

use crate::{
    apply::{address_frame, write_hop_limit},
    checksum::ChecksumDelta,
    family::{IPV4_CHECKSUM_OFFSET, IpFamily},
    packet::{NETWORK_OFFSET, PacketWrite, WriteFailed},
    parse::{Facts, ParseFamily},
    quoted::{Carried, Quoted, quoted},
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
    let Some(quoted) = quoted(packet, facts) else { return Ok(None) };
    let Some(entry) = tables.peek_connection(&quoted.answers) else { return Ok(None) };
    if hop == Hop::Forwarded && facts.hop_limit <= 1 {
        return Err(DropReason::HopLimitExceeded);
    }
    let reporter =
        if facts.flow.source == quoted.answers.source { Reporter::End } else { Reporter::Router };
    let way = entry.way();
    let change = Change::of(&quoted, &entry);
    let written = rewrite_quoted(packet, facts.end, &quoted, &entry, &change).and_then(|message| {
        rewrite_error(packet, facts.transport_offset, &entry, message, reporter, &change)?;
        address_frame(packet, way)?;
        rewrite_header_sum::<A>(packet, change.of_header(reporter), hop)
    });
    match written {
        Ok(()) => Ok(Some(way)),
        Err(WriteFailed) => Err(DropReason::RewriteFailed),
    }
}

/// Who has sent an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reporter {
    /// The end to which the quoted packet went: it is known by another address to the sender.
    End,
    /// Any other: a router between them, which goes by its own address.
    Router,
}

/// What the ends' addresses change in a sum.
#[derive(Clone, Copy)]
struct Change {
    receiver: ChecksumDelta,
    sender: ChecksumDelta,
}

impl Change {
    #[inline(always)]
    fn of<A: Address>(quoted: &Quoted<A>, entry: &Connection<A>) -> Self {
        let old = &quoted.answers;
        Self {
            receiver: ChecksumDelta::ZERO.replace_address(old.source, entry.source),
            sender: ChecksumDelta::ZERO.replace_address(old.destination, entry.destination),
        }
    }

    /// Of the quoted packet's addresses.
    #[inline(always)]
    fn of_quoted(&self) -> ChecksumDelta {
        self.sender.plus(self.receiver)
    }

    /// Of the error's own addresses.
    #[inline(always)]
    fn of_header(&self, reporter: Reporter) -> ChecksumDelta {
        match reporter {
            Reporter::End => self.sender.plus(self.receiver),
            Reporter::Router => self.sender,
        }
    }
}

/// Rewrites the quoted packet, and returns what that changes in the message's sum.
#[inline(always)]
fn rewrite_quoted<A: IpFamily>(
    packet: &mut impl PacketWrite,
    end: u32,
    quoted: &Quoted<A>,
    entry: &Connection<A>,
    change: &Change,
) -> Result<ChecksumDelta, WriteFailed> {
    let start = quoted.network_offset;
    let addresses = change.of_quoted();
    A::store(packet, start + (A::SOURCE_OFFSET - NETWORK_OFFSET), entry.destination)?;
    A::store(packet, start + (A::DESTINATION_OFFSET - NETWORK_OFFSET), entry.source)?;
    let mut message = addresses;
    if A::FAMILY == Family::V4 {
        let offset = start + (IPV4_CHECKSUM_OFFSET - NETWORK_OFFSET);
        message = message.plus(correct(packet, offset, addresses)?);
    }

    let old = &quoted.answers;
    let offset = quoted.transport_offset;
    let (ports, covered, checksum_offset) = match quoted.carried {
        Carried::Tcp | Carried::Udp => {
            let ports = ChecksumDelta::ZERO
                .replace_port(old.source_port, entry.source_port)
                .replace_port(old.destination_port, entry.destination_port);
            let [s0, s1] = entry.destination_port.bytes();
            let [d0, d1] = entry.source_port.bytes();
            packet.store(offset, [s0, s1, d0, d1])?;
            let field = if quoted.carried == Carried::Tcp { 16 } else { 6 };
            (ports, addresses.plus(ports), offset + field)
        }
        Carried::EchoRequest => {
            let identifier = (old.destination_port, entry.destination_port);
            rewrite_identifier::<A>(packet, offset, addresses, identifier)?
        }
        Carried::EchoReply => {
            let identifier = (old.source_port, entry.source_port);
            rewrite_identifier::<A>(packet, offset, addresses, identifier)?
        }
    };
    message = message.plus(ports);
    if checksum_offset + 2 > end {
        return Ok(message); // Of a TCP header as little as 8 bytes is quoted.
    }
    let corrected = match quoted.carried {
        Carried::Udp => correct_unless_none(packet, checksum_offset, covered)?,
        _ => correct(packet, checksum_offset, covered)?,
    };
    Ok(message.plus(corrected))
}

/// Writes an echo's identifier, and returns what that changes in a sum, what changes in that of the
/// echo, and where the echo's checksum is. An ICMP checksum covers no addresses, an ICMPv6 one does.
#[inline(always)]
fn rewrite_identifier<A: IpFamily>(
    packet: &mut impl PacketWrite,
    offset: u32,
    addresses: ChecksumDelta,
    (old, new): (Port, Port),
) -> Result<(ChecksumDelta, ChecksumDelta, u32), WriteFailed> {
    packet.store(offset + 4, new.bytes())?;
    let identifier = ChecksumDelta::ZERO.replace_port(old, new);
    let covered = match A::FAMILY {
        Family::V4 => identifier,
        Family::V6 => identifier.plus(addresses),
    };
    Ok((identifier, covered, offset + 2))
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

/// Rewrites the error's own addresses and the message's checksum, which in ICMPv6 covers them.
#[inline(always)]
fn rewrite_error<A: IpFamily>(
    packet: &mut impl PacketWrite,
    offset: u32,
    entry: &Connection<A>,
    message: ChecksumDelta,
    reporter: Reporter,
    change: &Change,
) -> Result<(), WriteFailed> {
    A::store(packet, A::DESTINATION_OFFSET, entry.destination)?;
    if reporter == Reporter::End {
        A::store(packet, A::SOURCE_OFFSET, entry.source)?;
    }
    let covered = match A::FAMILY {
        Family::V4 => message,
        Family::V6 => message.plus(change.of_header(reporter)),
    };
    correct(packet, offset + 2, covered)?;
    Ok(())
}

/// Writes the error's hop limit, and the IPv4 header's checksum.
#[inline(always)]
fn rewrite_header_sum<A: IpFamily>(
    packet: &mut impl PacketWrite,
    addresses: ChecksumDelta,
    hop: Hop,
) -> Result<(), WriteFailed> {
    let hop = write_hop_limit::<A>(packet, hop)?;
    if A::FAMILY == Family::V4 {
        correct(packet, IPV4_CHECKSUM_OFFSET, addresses.plus(hop))?;
    }
    Ok(())
}
