//! What a packet that goes no further is answered with.

use maps_schema::{
    address::{Family, Ipv4Wire, Ipv6Wire},
    drop_reason::DropReason,
};

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody takes the packet at its destination: a RST to TCP, port unreachable to all else. It
    /// is the destination's answer.
    Refused,
    /// The packet has been forwarded as often as its hop limit allows. This and what follows is a
    /// router's answer.
    HopLimitExceeded,
    /// The packet is larger than the way to its destination carries.
    TooBig {
        /// The most that the way carries, in bytes from the IP header on.
        mtu: u16,
    },
    /// There is no way to the destination.
    NoRoute,
}

impl Answer {
    /// The answer to a packet that was refused for the reason of this number; `mtu` matters where it
    /// is too big.
    #[inline(always)]
    pub const fn of(reason: u8, mtu: u16) -> Self {
        const HOP_LIMIT_EXCEEDED: u8 = DropReason::HopLimitExceeded as u8;
        const PACKET_TOO_BIG: u8 = DropReason::PacketTooBig as u8;
        const NO_ROUTE: u8 = DropReason::NoRoute as u8;
        match reason {
            HOP_LIMIT_EXCEEDED => Self::HopLimitExceeded,
            PACKET_TOO_BIG => Self::TooBig { mtu },
            NO_ROUTE => Self::NoRoute,
            _ => Self::Refused,
        }
    }

    /// The ICMP header (RFC 792, RFC 1191, RFC 4443): type, code, a checksum of zero, and four
    /// bytes more.
    #[inline(always)]
    pub(crate) fn icmp_header(self, family: Family) -> [u8; 8] {
        match family {
            Family::V4 => self.icmpv4_header(),
            Family::V6 => self.icmpv6_header(),
        }
    }

    #[inline(always)]
    fn icmpv4_header(self) -> [u8; 8] {
        match self {
            Self::Refused => [3, 3, 0, 0, 0, 0, 0, 0],
            Self::NoRoute => [3, 0, 0, 0, 0, 0, 0, 0],
            Self::HopLimitExceeded => [11, 0, 0, 0, 0, 0, 0, 0],
            Self::TooBig { mtu } => {
                let [m0, m1] = mtu.to_be_bytes();
                [3, 4, 0, 0, 0, 0, m0, m1]
            }
        }
    }

    #[inline(always)]
    fn icmpv6_header(self) -> [u8; 8] {
        match self {
            Self::Refused => [1, 4, 0, 0, 0, 0, 0, 0],
            Self::NoRoute => [1, 0, 0, 0, 0, 0, 0, 0],
            Self::HopLimitExceeded => [3, 0, 0, 0, 0, 0, 0, 0],
            Self::TooBig { mtu } => {
                let [m0, m1] = mtu.to_be_bytes();
                [2, 0, 0, 0, 0, 0, m0, m1]
            }
        }
    }
}

/// Whether an IPv4 address may be one host's: no ICMP error is about a packet from or to any other
/// (RFC 1122 section 3.2.2).
#[inline(always)]
pub(crate) const fn is_one_ipv4_host(address: Ipv4Wire) -> bool {
    let [first, ..] = address.bytes();
    !matches!(first, 0 | 127 | 224..)
}

/// Whether an IPv6 address may be one host's (RFC 4443 section 2.4).
#[inline(always)]
pub(crate) fn is_one_ipv6_host(address: Ipv6Wire) -> bool {
    let bytes = address.bytes();
    let [first, ..] = bytes;
    first != 0xff && bytes != [0; 16]
}
