//! Refusals: the packet is turned into its own answer, a TCP RST (RFC 9293 section 3.10.7.1) or an
//! ICMP error (RFC 792, RFC 4443).
//!
//! An ICMP message's checksum is written whole, also into a packet whose checksum was still to be
//! filled in: the answer goes to a local pod, which trusts the checksum of such a packet.

use maps_schema::address::{Address, Ipv4Wire, Ipv6Wire, Protocol};

use crate::{
    answer::{Answer, is_one_ipv4_host, is_one_ipv6_host},
    checksum::ChecksumDelta,
    family::{IPV4_CHECKSUM_OFFSET, IpFamily},
    packet::{Covered, NETWORK_OFFSET, PacketWrite, WriteFailed, ZeroChecksum},
    parse::{Facts, Piece, TcpFlags, Transport},
};

/// The packet was not turned into an answer: it is of a kind that never is (a RST, an ABORT, an ICMP
/// error, a later fragment, one from no single host), or the kernel refused to change it. It is to be
/// dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

impl From<WriteFailed> for Unanswered {
    fn from(WriteFailed: WriteFailed) -> Self {
        Self
    }
}

const HOP_LIMIT: u8 = 64;
const TCP_HEADER: u32 = 20;

/// Turns the packet into the answer to its sender. A refusal comes from the address that was asked
/// for, a router's answer from `router`.
#[inline(always)]
pub fn refuse<A: Refusable>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
    answer: Answer,
    router: A,
) -> Result<(), Unanswered> {
    if facts.piece == Piece::WithoutHeader
        || !facts.flow.source.is_one_host()
        || !facts.flow.destination.is_one_host()
    {
        return Err(Unanswered);
    }
    match facts.transport {
        Transport::IcmpError | Transport::LaterFragment => Err(Unanswered),
        transport if answer == Answer::Refused && transport.aborts() => Err(Unanswered),
        Transport::Tcp(flags) if answer == Answer::Refused => {
            // A RST says how long the segment is, which a fragment of it does not.
            if facts.piece == Piece::First {
                return Err(Unanswered);
            }
            Ok(reset(packet, facts, flags)?)
        }
        _ => {
            let source = if answer == Answer::Refused { facts.flow.destination } else { router };
            Ok(A::error(packet, facts, answer, source)?)
        }
    }
}

/// The family's part of a refusal.
pub trait Refusable: IpFamily {
    /// Corrects the IP header of a packet that was cut to `transport_length` bytes behind it, for
    /// its way back.
    fn shorten(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        transport_length: u16,
    ) -> Result<(), WriteFailed>;

    /// Turns the packet into an ICMP error from `source` that quotes it.
    fn error(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        answer: Answer,
        source: Self,
    ) -> Result<(), WriteFailed>;

    /// Whether the address may be one host's.
    fn is_one_host(self) -> bool;
}

#[inline(always)]
fn reset<A: Refusable>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
    flags: TcpFlags,
) -> Result<(), WriteFailed> {
    let offset = facts.transport_offset;
    let header = packet.load::<14>(offset).ok_or(WriteFailed)?;
    let [_, _, _, _, q0, q1, q2, q3, a0, a1, a2, a3, data_offset, _] = header;
    let payload = facts.end.saturating_sub(offset + u32::from(data_offset >> 4) * 4);
    let (sequence, acknowledgement, reply_flags) = if flags.ack() {
        ([a0, a1, a2, a3], [0; 4], TCP_RST)
    } else {
        let next = u32::from_be_bytes([q0, q1, q2, q3])
            .wrapping_add(payload)
            .wrapping_add(flags.sequence_length());
        ([0; 4], next.to_be_bytes(), TCP_RST | TCP_ACK)
    };
    packet.truncate(offset + TCP_HEADER)?;
    turn_around(packet, facts)?;
    A::shorten(packet, facts, 20)?;
    let [s0, s1] = facts.flow.destination_port.bytes();
    let [d0, d1] = facts.flow.source_port.bytes();
    let (ports, length_and_flags) = ([s0, s1, d0, d1], [5 << 4, reply_flags, 0, 0]);
    let pseudo_header = pseudo_header(facts.flow.source, facts.flow.destination, Protocol::TCP, 20);
    let checksum = pseudo_header
        .add_bytes(ports)
        .add_bytes(sequence)
        .add_bytes(acknowledgement)
        .add_bytes(length_and_flags)
        .finish();
    // Of a packet whose checksum is still to be filled in, the field holds the pseudo header's sum
    // and a change of what follows is not applied to it: so both kinds of packet end up right.
    let [c0, c1] = pseudo_header.sum();
    packet.store(offset, ports)?;
    packet.store(offset + 4, sequence)?;
    packet.store(offset + 8, acknowledgement)?;
    packet.store(offset + 12, length_and_flags)?;
    packet.store(offset + 16, [c0, c1, 0, 0])?;
    let rest = ChecksumDelta::ZERO.replace(checksum, [c0, c1]);
    packet.correct_checksum(offset + 16, rest, Covered::Ports, ZeroChecksum::IsASum)
}

const TCP_RST: u8 = 1 << 2;
const TCP_ACK: u8 = 1 << 4;

/// Exchanges the frame's and the packet's addresses. The IPv4 header's checksum does not notice.
#[inline(always)]
fn turn_around<A: IpFamily>(
    packet: &mut impl PacketWrite,
    facts: &Facts<A>,
) -> Result<(), WriteFailed> {
    turn_frame_around(packet)?;
    A::store(packet, A::SOURCE_OFFSET, facts.flow.destination)?;
    A::store(packet, A::DESTINATION_OFFSET, facts.flow.source)
}

#[inline(always)]
fn turn_frame_around(packet: &mut impl PacketWrite) -> Result<(), WriteFailed> {
    let receiver = packet.load::<6>(0).ok_or(WriteFailed)?;
    let sender = packet.load::<6>(6).ok_or(WriteFailed)?;
    packet.store(0, sender)?;
    packet.store(6, receiver)
}

#[inline(always)]
fn pseudo_header<A: IpFamily>(
    source: A,
    destination: A,
    protocol: Protocol,
    length: u16,
) -> ChecksumDelta {
    ChecksumDelta::ZERO
        .add_address(source)
        .add_address(destination)
        .add_word([0, protocol.number()])
        .add_word(length.to_be_bytes())
}

/// The most that is quoted, in words of four bytes. RFC 792 asks for the header and 8 bytes of what
/// follows, RFC 4443 for as much as fits: this is the longest IPv4 header and the longest TCP header
/// behind it, or an IPv6 header, 60 bytes of extensions, and the longest TCP header.
///
/// A packet whose checksum is still to be filled in cannot be cut shorter than its checksum field.
const MAX_QUOTED_WORDS: u32 = 40;

/// Cuts the packet to what is quoted, an even number of bytes, and returns how many those are, from
/// the IP header on.
#[inline(always)]
fn quote<A>(packet: &mut impl PacketWrite, facts: &Facts<A>) -> Result<u32, WriteFailed> {
    let end = (facts.end & !1).min(NETWORK_OFFSET + MAX_QUOTED_WORDS * 4);
    packet.truncate(end)?;
    Ok(end.saturating_sub(NETWORK_OFFSET))
}

const ICMP_HEADER: u32 = 8;

impl Refusable for Ipv4Wire {
    #[inline(always)]
    fn is_one_host(self) -> bool {
        is_one_ipv4_host(self)
    }

    #[inline(always)]
    fn shorten(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        transport_length: u16,
    ) -> Result<(), WriteFailed> {
        let header_length = facts.transport_offset - NETWORK_OFFSET;
        #[expect(clippy::cast_possible_truncation, reason = "60 at most")]
        let total = (header_length as u16 + transport_length).to_be_bytes();
        let old_total = packet.load::<2>(NETWORK_OFFSET + 2).ok_or(WriteFailed)?;
        let [old_limit, protocol] = packet.load::<2>(NETWORK_OFFSET + 8).ok_or(WriteFailed)?;
        let checksum = packet.load::<2>(IPV4_CHECKSUM_OFFSET).ok_or(WriteFailed)?;
        let checksum = ChecksumDelta::ZERO
            .replace(old_total, total)
            .replace([old_limit, protocol], [HOP_LIMIT, protocol])
            .correct(checksum);
        packet.store(NETWORK_OFFSET + 2, total)?;
        packet.store(NETWORK_OFFSET + 8, [HOP_LIMIT, protocol])?;
        packet.store(IPV4_CHECKSUM_OFFSET, checksum)
    }

    #[inline(always)]
    fn error(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        answer: Answer,
        source: Self,
    ) -> Result<(), WriteFailed> {
        const HEADERS: u32 = 20 + ICMP_HEADER;
        let quoted = quote(packet, facts)?;
        let quoted_sum = packet.sum(NETWORK_OFFSET, quoted).ok_or(WriteFailed)?;
        turn_frame_around(packet)?;
        packet.make_room::<HEADERS>()?;

        #[expect(clippy::cast_possible_truncation, reason = "188 at most")]
        let [l0, l1] = ((HEADERS + quoted) as u16).to_be_bytes();
        let [s0, s1, s2, s3] = source.bytes();
        let [d0, d1, d2, d3] = facts.flow.source.bytes();
        // Precedence 6 (internetwork control) and "don't fragment", as Linux sends its own.
        let header = |[c0, c1]: [u8; 2]| {
            [
                0x45,
                0xc0,
                l0,
                l1,
                0,
                0,
                0x40,
                0,
                HOP_LIMIT,
                Protocol::ICMP.number(),
                c0,
                c1,
                s0,
                s1,
                s2,
                s3,
                d0,
                d1,
                d2,
                d3,
            ]
        };
        let checksum = ChecksumDelta::ZERO.add_bytes(header([0, 0])).finish();
        packet.store(NETWORK_OFFSET, header(checksum))?;
        let message = answer.icmp_header(Self::FAMILY);
        write_message(packet, NETWORK_OFFSET + 20, message, quoted_sum)
    }
}

impl Refusable for Ipv6Wire {
    #[inline(always)]
    fn is_one_host(self) -> bool {
        is_one_ipv6_host(self)
    }

    #[inline(always)]
    fn shorten(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        transport_length: u16,
    ) -> Result<(), WriteFailed> {
        let extensions = facts.transport_offset - NETWORK_OFFSET - 40;
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the packet's length")]
        let payload = (extensions as u16).wrapping_add(transport_length).to_be_bytes();
        let [next, _] = packet.load::<2>(NETWORK_OFFSET + 6).ok_or(WriteFailed)?;
        let [length0, length1] = payload;
        packet.store(NETWORK_OFFSET + 4, [length0, length1, next, HOP_LIMIT])
    }

    #[inline(always)]
    fn error(
        packet: &mut impl PacketWrite,
        facts: &Facts<Self>,
        answer: Answer,
        source: Self,
    ) -> Result<(), WriteFailed> {
        const HEADERS: u32 = 40 + ICMP_HEADER;
        let quoted = quote(packet, facts)?;
        let quoted_sum = packet.sum(NETWORK_OFFSET, quoted).ok_or(WriteFailed)?;
        turn_frame_around(packet)?;
        packet.make_room::<HEADERS>()?;

        #[expect(clippy::cast_possible_truncation, reason = "168 at most")]
        let payload = (ICMP_HEADER + quoted) as u16;
        let [l0, l1] = payload.to_be_bytes();
        let next = Protocol::ICMPV6.number();
        packet.store(NETWORK_OFFSET, [0x60, 0, 0, 0, l0, l1, next, HOP_LIMIT])?;
        Self::store(packet, Self::SOURCE_OFFSET, source)?;
        Self::store(packet, Self::DESTINATION_OFFSET, facts.flow.source)?;
        let covered =
            quoted_sum.plus(pseudo_header(source, facts.flow.source, Protocol::ICMPV6, payload));
        let message = answer.icmp_header(Self::FAMILY);
        write_message(packet, NETWORK_OFFSET + 40, message, covered)
    }
}

/// Writes an ICMP header whose checksum covers itself and the rest.
#[inline(always)]
fn write_message(
    packet: &mut impl PacketWrite,
    offset: u32,
    header: [u8; 8],
    rest: ChecksumDelta,
) -> Result<(), WriteFailed> {
    let [kind, code, _, _, r0, r1, r2, r3] = header;
    let [c0, c1] = rest.add_bytes(header).finish();
    packet.store(offset, [kind, code, c0, c1, r0, r1, r2, r3])
}
