//! Addresses and networks as Kubernetes reads them: leading zeros are decimal.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// An address, if the text is one.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let octets: Vec<u8> = text.split('.').map(decimal).collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A network, if the text is one, its host bits cleared.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let (written, length) = text.trim().split_once('/')?;
    let network = IpNet::new(address(written)?, decimal(length)?).ok()?;
    Some(network.trunc())
}

fn decimal(text: &str) -> Option<u8> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(address("010.096.000.041"), address("10.96.0.41"));
        assert_eq!(address("fd10::000a:0060:0:0029"), address("fd10::a:60:0:29"));
        assert_eq!(network(" 172.031.000.007/025"), network("172.31.0.0/25"));
        assert_eq!(address("10.96.0.256"), None);
        assert_eq!(address("10.96.0"), None);
    }
}
