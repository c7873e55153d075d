//! Addresses as Kubernetes reads them.
//!
//! Kubernetes accepts leading zeros and reads them as decimal (`172.30.0.041` is `172.30.0.41`);
//! the standard library refuses them, and others read them as octal. IPv4-mapped IPv6 addresses
//! (`::ffff:10.0.0.1`) are IPv4 addresses to Kubernetes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Reads an address; nothing where the text is none.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let address = parse_v6(text)?;
        Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
    } else {
        parse_v4(text).map(IpAddr::V4)
    }
}

/// Reads an address with a prefix length; nothing where the text is none. Host bits are kept.
pub fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = parse_decimal(prefix, 128)?;
    IpNet::new(parse_ip(address)?, u8::try_from(prefix).ok()?).ok()
}

fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parse_decimal(parts.next()?, 255)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let groups: Option<Vec<String>> = text.split(':').map(plain_group).collect();
    groups?.join(":").parse().ok()
}

/// An IPv6 group, or the IPv4 address at its end, without leading zeros.
fn plain_group(group: &str) -> Option<String> {
    if group.contains('.') {
        return parse_v4(group).map(|address| address.to_string());
    }
    let digits = group.trim_start_matches('0');
    let text = if digits.is_empty() && !group.is_empty() { "0" } else { digits };
    Some(text.to_owned())
}

fn parse_decimal(text: &str, most: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number * 10 + digit).filter(|number| *number <= most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        for (text, canonical) in [
            ("172.30.0.041", "172.30.0.41"),
            ("010.096.000.001", "10.96.0.1"),
            ("192.168.0.1", "192.168.0.1"),
            ("fd00:10:96::00a", "fd00:10:96::a"),
            ("fd00::000000001", "fd00::1"),
            ("fd00:0000::0000", "fd00::"),
            ("::", "::"),
            ("::ffff:10.0.0.01", "10.0.0.1"),
            ("64:ff9b::10.0.0.09", "64:ff9b::a00:9"),
        ] {
            assert_eq!(
                parse_ip(text).map(|address| address.to_string()).as_deref(),
                Some(canonical)
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ".",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.-4",
            "1.2.3.+4",
            " 1.2.3.4",
            "1..2.3",
            "0x1.2.3.4",
            "fd00",
            "fd00:::1",
            "fd00::1%eth0",
            "fd00::1::2",
            "1.2.3.4/24",
            "12345::",
            "None",
            "99999999999999999999.1.1.1",
        ] {
            assert_eq!(parse_ip(text), None, "{text}");
        }
    }

    #[test]
    fn prefixes_may_have_leading_zeros_too() {
        let cidr = parse_cidr("203.0.113.000/025").map(|net| net.to_string());
        assert_eq!(cidr.as_deref(), Some("203.0.113.0/25"));
        for text in ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "/8"] {
            assert_eq!(parse_cidr(text), None, "{text}");
        }
    }
}
