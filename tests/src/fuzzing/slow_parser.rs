//! A parser that takes its time: slices and standard types, each rule once and in words. It shares
//! nothing with the datapath's but the RFCs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
    NotOurs,
    Malformed,
}

/// What a parser finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Malformed,
    NotOurs,
    Headers(Headers),
}

/// What the headers of a packet say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) ports: (u16, u16),
    pub(super) carried: Carried,
    pub(super) part: Part,
    pub(super) transport_offset: usize,
    pub(super) end: usize,
    pub(super) hop_limit: u8,
}

/// What a packet carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Tcp { opens: bool, ack: bool, rst: bool, length: u32 },
    Udp,
    Sctp { opens: bool, begins: bool, aborts: bool },
    EchoRequest,
    EchoReply,
    IcmpQuery,
    IcmpError,
    FirstFragment,
    LaterFragment,
    Other,
}

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    Later,
}

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT_HEADER: u8 = 44;

/// The farthest that headers are looked for behind an IPv6 header.
const FARTHEST: usize = 0x3f00;

pub(super) fn kind(frame: &[u8]) -> Kind {
    if frame.len() < ETHERNET {
        return Kind::Malformed;
    }
    let is_to_many = frame[0] % 2 == 1;
    match (is_to_many, frame[12], frame[13]) {
        (false, 0x08, 0x00) => Kind::Ipv4,
        (false, 0x86, 0xdd) => Kind::Ipv6,
        _ => Kind::NotOurs,
    }
}

fn big_endian(bytes: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(place)?, *bytes.get(place + 1)?]))
}

pub(super) fn ipv4(frame: &[u8]) -> Found {
    find_ipv4(frame).unwrap_or(Found::Malformed)
}

fn find_ipv4(frame: &[u8]) -> Option<Found> {
    let packet = frame.get(ETHERNET..)?;
    let header: [u8; 20] = packet.get(..20)?.try_into().ok()?;
    let header_length = usize::from(header[0] % 16) * 4;
    let total = usize::from(big_endian(&header, 2)?);
    // Zero stands for a length that 16 bits cannot hold.
    let length = if total == 0 { packet.len() } else { total };
    if header[0] / 16 != 4 || header_length < 20 || length < header_length || length > packet.len()
    {
        return None;
    }
    let bits = big_endian(&header, 6)?;
    let (more, offset) = (bits & 0x2000 != 0, bits & 0x1fff);
    let part = match (more, offset) {
        (false, 0) => Part::Whole,
        (true, 0) => Part::First,
        (_, _) => Part::Later,
    };
    let octets =
        |place: usize| -> Option<[u8; 4]> { packet.get(place..place + 4)?.try_into().ok() };
    let addresses = (Ipv4Addr::from(octets(12)?).into(), Ipv4Addr::from(octets(16)?).into());
    let place = (ETHERNET + header_length, ETHERNET + length);
    let headers = behind(frame, addresses, header[9], part, place, header[8])?;
    Some(Found::Headers(headers))
}

pub(super) fn ipv6(frame: &[u8]) -> Found {
    find_ipv6(frame).unwrap_or(Found::Malformed)
}

fn find_ipv6(frame: &[u8]) -> Option<Found> {
    let packet = frame.get(ETHERNET..)?;
    let header: [u8; 40] = packet.get(..40)?.try_into().ok()?;
    let payload = usize::from(big_endian(&header, 4)?);
    let length = if payload == 0 { packet.len() } else { 40 + payload };
    if header[0] / 16 != 6 || length > packet.len() {
        return None;
    }
    let (mut next, mut offset, mut part) = (header[6], ETHERNET + 40, Part::Whole);
    for _ in 0..6 {
        // Behind an atomic one, which fragments nothing, another may stand.
        let is_fragment_header = next == FRAGMENT_HEADER && part == Part::Whole;
        if !is_fragment_header && ![0, 43, 60].contains(&next) {
            break;
        }
        let extension = frame.get(offset..)?;
        let step = if is_fragment_header {
            let bits = big_endian(extension, 2)?;
            part = match (bits % 2 == 1, bits / 8) {
                (false, 0) => Part::Whole,
                (true, 0) => Part::First,
                (_, _) => Part::Later,
            };
            8
        } else {
            (usize::from(*extension.get(1)?) + 1) * 8
        };
        next = extension[0];
        offset += step;
        if offset > FARTHEST {
            return None;
        }
        if part == Part::Later && is_fragment_header {
            break;
        }
    }
    let end = ETHERNET + length;
    if offset > end {
        return None;
    }
    let octets =
        |place: usize| -> Option<[u8; 16]> { packet.get(place..place + 16)?.try_into().ok() };
    let addresses = (Ipv6Addr::from(octets(8)?).into(), Ipv6Addr::from(octets(24)?).into());
    let headers = behind(frame, addresses, next, part, (offset, end), header[7])?;
    let is_neighbour_discovery =
        headers.carried == Carried::Other && headers.part == Part::Whole && next == ICMPV6;
    Some(if is_neighbour_discovery { Found::NotOurs } else { Found::Headers(headers) })
}

/// What is behind the IP header and its extensions.
fn behind(
    frame: &[u8],
    (source, destination): (IpAddr, IpAddr),
    protocol: u8,
    part: Part,
    (transport_offset, end): (usize, usize),
    hop_limit: u8,
) -> Option<Headers> {
    let may_have_ports = [TCP, UDP, SCTP, ICMP, ICMPV6, 0, 43, 60].contains(&protocol);
    let (carried, ports) = match part {
        Part::Whole => transport(frame, protocol, transport_offset, end)?,
        Part::First if may_have_ports => (Carried::FirstFragment, (0, 0)),
        Part::Later if may_have_ports => (Carried::LaterFragment, (0, 0)),
        Part::First | Part::Later => (Carried::Other, (0, 0)),
    };
    Some(Headers {
        source,
        destination,
        protocol,
        ports,
        carried,
        part,
        transport_offset,
        end,
        hop_limit,
    })
}

fn transport(
    frame: &[u8],
    protocol: u8,
    offset: usize,
    end: usize,
) -> Option<(Carried, (u16, u16))> {
    let segment = frame.get(offset..end)?;
    let ports = || Some((big_endian(segment, 0)?, big_endian(segment, 2)?));
    match protocol {
        TCP => {
            let header_length = usize::from(segment.get(12)? / 16) * 4;
            if header_length < 20 || header_length > segment.len() {
                return None;
            }
            let flag = |bit: u32| segment[13] >> bit & 1 == 1;
            let (fin, syn, rst, ack) = (flag(0), flag(1), flag(2), flag(4));
            let opens = syn && !ack && !rst;
            let length = u32::from(fin) + u32::from(syn);
            Some((Carried::Tcp { opens, ack, rst, length }, ports()?))
        }
        UDP => {
            let length = usize::from(big_endian(segment, 4)?);
            let is_jumbo = length == 0;
            if segment.len() < 8 || (!is_jumbo && !(8..=segment.len()).contains(&length)) {
                return None;
            }
            Some((Carried::Udp, ports()?))
        }
        SCTP => {
            // The common header and the header of a chunk.
            if segment.len() < 16 {
                return None;
            }
            let chunk = segment[12];
            // INIT ACK, HEARTBEAT ACK, ABORT, SHUTDOWN ACK, ERROR, COOKIE ACK, SHUTDOWN COMPLETE.
            let opens = ![2, 5, 6, 8, 9, 11, 14].contains(&chunk);
            let (begins, aborts) = (chunk == 1, chunk == 6 || chunk == 14);
            Some((Carried::Sctp { opens, begins, aborts }, ports()?))
        }
        ICMP | ICMPV6 => {
            if segment.len() < 8 {
                return None;
            }
            let identifier = big_endian(segment, 4)?;
            Some(icmp(protocol, segment[0], identifier))
        }
        _ => Some((Carried::Other, (0, 0))),
    }
}

fn icmp(protocol: u8, kind: u8, identifier: u16) -> (Carried, (u16, u16)) {
    let errors: &[u8] = if protocol == ICMP { &[3, 4, 5, 11, 12] } else { &[] };
    let (request, reply) = if protocol == ICMP { (8, 0) } else { (128, 129) };
    let is_error = errors.contains(&kind) || (protocol == ICMPV6 && kind < 128);
    // Multicast listeners and neighbour discovery stay on their link.
    let is_of_the_link = protocol == ICMPV6 && ((130..=137).contains(&kind) || kind == 143);
    if kind == request {
        (Carried::EchoRequest, (identifier, 0))
    } else if kind == reply {
        (Carried::EchoReply, (0, identifier))
    } else if is_error {
        (Carried::IcmpError, (0, 0))
    } else if is_of_the_link {
        (Carried::Other, (0, 0))
    } else {
        (Carried::IcmpQuery, (0, 0))
    }
}
