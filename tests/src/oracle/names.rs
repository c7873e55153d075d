//! Names of chains, in kube-proxy's form.
//!
//! kube-proxy hashes with SHA-256. Nothing reads the names but people and the rules themselves, so
//! here a hash without a dependency does: FNV-1a of 128 bits, of which as many are taken.

use super::cluster::{Endpoint, ServicePort};

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The 16 letters that iptables mode puts behind `KUBE-SVC-` and the like.
pub fn of_service(port: &ServicePort) -> String {
    letters(&[&port.full_name(), port.protocol.lower_case()], 16)
}

/// The 16 letters behind `KUBE-SEP-`.
pub fn of_endpoint(port: &ServicePort, endpoint: &Endpoint) -> String {
    letters(&[&port.full_name(), port.protocol.lower_case(), &endpoint.at.to_string()], 16)
}

/// What nftables mode puts behind `service-` and the like: eight letters and the readable name.
pub fn in_nftables(port: &ServicePort) -> String {
    let protocol = port.protocol.lower_case();
    format!(
        "{}-{}/{}/{protocol}/{}",
        letters(&[&port.full_name(), protocol], 8),
        port.namespace,
        port.service,
        port.name
    )
}

/// What nftables mode puts behind `endpoint-` and `affinity-`.
pub fn of_endpoint_in_nftables(port: &ServicePort, endpoint: &Endpoint) -> String {
    let protocol = port.protocol.lower_case();
    let at = endpoint.at.to_string();
    format!(
        "{}-{}/{}/{protocol}/{}__{}/{}",
        letters(&[&port.full_name(), protocol, &at], 8),
        port.namespace,
        port.service,
        port.name,
        endpoint.at.ip().to_string().replace(':', "."),
        endpoint.at.port()
    )
}

fn letters(parts: &[&str], count: usize) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.concat().bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    (0..count)
        .map(|index| char::from(ALPHABET[usize::try_from((hash >> (5 * index)) & 31).unwrap_or(0)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_with_every_part() {
        let names = [letters(&["a", "b"], 16), letters(&["a", "c"], 16), letters(&["b"], 16)];
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        assert!(names.iter().all(|name| name.len() == 16));
    }
}
