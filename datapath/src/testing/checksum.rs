//! The internet checksum by its definition (RFC 1071), and SCTP's CRC32c, over whole packets: what
//! the datapath's corrections have to equal. They share no code with it.

use std::net::IpAddr;

/// The checksum of some bytes: the complement of the sum of their big-endian words, an odd byte
/// padded with a zero.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    !internet_sum(bytes)
}

/// The sum of some bytes' big-endian words, not complemented.
pub fn internet_sum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for word in bytes.chunks(2) {
        let high = u64::from(word.first().copied().unwrap_or(0));
        let low = u64::from(word.get(1).copied().unwrap_or(0));
        sum += high << 8 | low;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// CRC32c, bit by bit (RFC 9260 appendix A).
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for byte in bytes {
        for bit in 0..8 {
            let is_odd = (register ^ u32::from(byte >> bit)) & 1 == 1;
            register = register >> 1 ^ if is_odd { 0x82f6_3b78 } else { 0 };
        }
    }
    !register
}

/// The pseudo header that transport checksums cover (RFC 9293 section 3.1, RFC 8200 section 8.1).
pub fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport_length: usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(u32::try_from(transport_length).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// Checks every checksum of a whole, unfragmented frame by computing it anew: the IPv4 header's,
/// and TCP's, UDP's, SCTP's or ICMP's. A UDP checksum of zero over IPv4 is none, and right.
///
/// # Errors
///
/// Which checksum is wrong, or why the frame cannot be read.
pub fn verify(frame: &[u8]) -> Result<(), String> {
    let packet = frame.get(14..).ok_or("no Ethernet header")?;
    let (source, destination, protocol, transport) = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet)?,
        Some(6) => ipv6(packet)?,
        version => return Err(format!("IP version {version:?}")),
    };
    let mut covered = pseudo_header(source, destination, protocol, transport.len());
    match protocol {
        6 | 58 => {}
        17 => match (transport.get(6..8), source) {
            (Some([0, 0]), IpAddr::V4(_)) => return Ok(()),
            (Some([0, 0]), IpAddr::V6(_)) => {
                return Err("UDP over IPv6 has no checksum".to_owned());
            }
            _ => {}
        },
        1 => covered.clear(),
        132 => return verify_sctp(transport),
        _ => return Ok(()),
    }
    covered.extend(transport);
    match internet_sum(&covered) {
        0xffff => Ok(()),
        sum => Err(format!("protocol {protocol}: the sum is {sum:#06x}, not 0xffff")),
    }
}

fn verify_sctp(transport: &[u8]) -> Result<(), String> {
    let (Some(ports_and_tag), Some(&checksum), Some(rest)) = (
        transport.get(..8),
        transport.get(8..).and_then(<[u8]>::first_chunk::<4>),
        transport.get(12..),
    ) else {
        return Err("a short SCTP header".to_owned());
    };
    let wanted = crc32c(&[ports_and_tag, &[0; 4], rest].concat());
    match u32::from_le_bytes(checksum) {
        found if found == wanted => Ok(()),
        found => Err(format!("SCTP: the checksum is {found:#010x}, not {wanted:#010x}")),
    }
}

type Located<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

fn ipv4(packet: &[u8]) -> Result<Located<'_>, String> {
    let header_length = usize::from(packet.first().ok_or("no IPv4 header")? & 0xf) * 4;
    let header = packet.get(..header_length).ok_or("a short IPv4 header")?;
    if internet_sum(header) != 0xffff {
        return Err("the IPv4 header's checksum".to_owned());
    }
    let [_, _, l0, l1, _, _, _, _, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3, ..] = *header
    else {
        return Err("a short IPv4 header".to_owned());
    };
    let total = usize::from(u16::from_be_bytes([l0, l1]));
    let transport = packet.get(header_length..total).ok_or("the IPv4 total length")?;
    Ok((IpAddr::from([s0, s1, s2, s3]), IpAddr::from([d0, d1, d2, d3]), protocol, transport))
}

fn ipv6(packet: &[u8]) -> Result<Located<'_>, String> {
    let array = |range: std::ops::Range<usize>| -> Result<[u8; 16], String> {
        packet.get(range).and_then(|bytes| bytes.try_into().ok()).ok_or("no IPv6 header".to_owned())
    };
    let (source, destination) = (array(8..24)?, array(24..40)?);
    let Some([_, _, _, _, l0, l1, next, _]) = packet.first_chunk::<8>() else {
        return Err("no IPv6 header".to_owned());
    };
    let end = 40 + usize::from(u16::from_be_bytes([*l0, *l1]));
    let (mut next, mut offset) = (*next, 40);
    while [0, 43, 60].contains(&next) {
        let [following, length] =
            *packet.get(offset..).and_then(<[u8]>::first_chunk).ok_or("a short extension")?;
        next = following;
        offset += (usize::from(length) + 1) * 8;
    }
    let transport = packet.get(offset..end).ok_or("the IPv6 payload length")?;
    Ok((IpAddr::from(source), IpAddr::from(destination), next, transport))
}
