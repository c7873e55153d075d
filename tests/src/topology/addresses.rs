//! Which addresses a topology has: one plan for every shape, so that a test can name them.

use std::net::IpAddr;

use crate::manifests::ip;

/// The nodes' names, in order.
pub const NAMES: [&str; 4] = ["controlplane", "node01", "node02", "node03"];

/// A /24 and a /64 that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    v4: String,
    v6: String,
}

impl Segment {
    /// From what stands before the last part of its addresses: `172.30.1` and `fd00:172:30:1`.
    fn new(v4: impl Into<String>, v6: impl Into<String>) -> Self {
        Self { v4: v4.into(), v6: v6.into() }
    }

    /// A host's addresses, IPv4 first. The IPv6 address ends in the same digits as the IPv4 one.
    pub fn host(&self, number: u8) -> [IpAddr; 2] {
        [ip(&format!("{}.{number}", self.v4)), ip(&format!("{}::{number}", self.v6))]
    }

    /// A host's addresses as text, with the length of the segment's prefixes.
    pub fn host_with_length(&self, number: u8) -> [String; 2] {
        let [v4, v6] = self.host(number);
        [format!("{v4}/24"), format!("{v6}/64")]
    }

    /// Its prefixes.
    pub fn prefixes(&self) -> [String; 2] {
        [format!("{}.0/24", self.v4), format!("{}::/64", self.v6)]
    }
}

/// A node's own subnet; the node is host 2 of it, and its router host 1.
pub fn node_segment(node: usize) -> Segment {
    let number = node + 1;
    Segment::new(format!("172.30.{number}"), format!("fd00:172:30:{number}"))
}

/// The addresses of a node, IPv4 first. They are the same in every shape.
pub fn node(node: usize) -> [IpAddr; 2] {
    node_segment(node).host(2)
}

/// The addresses of a node's pods; the bridge is host 1 of them.
pub fn pod_segment(node: usize) -> Segment {
    Segment::new(format!("192.168.{node}"), format!("fd00:10:244:{node}"))
}

/// The outside's subnet; the outside is host 2 of it, and its router host 1.
pub fn outside_segment() -> Segment {
    Segment::new("172.31.0", "fd00:172:31:0")
}

/// The addresses of the outside, IPv4 first.
pub fn outside() -> [IpAddr; 2] {
    outside_segment().host(2)
}

/// Between the router (host 1) and a hop (host 2) before a node.
pub(super) fn transit_to_node(node: usize) -> Segment {
    let number = node + 101;
    Segment::new(format!("172.30.{number}"), format!("fd00:172:30:{number}"))
}

/// Between the router (host 1) and a hop (host 2) before the outside.
pub(super) fn transit_to_outside() -> Segment {
    Segment::new("172.31.100", "fd00:172:31:100")
}

/// The address of the family of `like`.
pub fn of_family(addresses: [IpAddr; 2], like: IpAddr) -> IpAddr {
    if like.is_ipv4() { addresses[0] } else { addresses[1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_a_host_end_in_the_same_digits() {
        assert_eq!(node(1), [ip("172.30.2.2"), ip("fd00:172:30:2::2")]);
        assert_eq!(pod_segment(0).host(10), [ip("192.168.0.10"), ip("fd00:10:244::10")]);
        assert_eq!(outside(), [ip("172.31.0.2"), ip("fd00:172:31::2")]);
        assert_eq!(pod_segment(2).prefixes(), ["192.168.2.0/24", "fd00:10:244:2::/64"]);
    }
}
