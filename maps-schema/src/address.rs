//! Addresses, ports and interfaces, as packets and map keys carry them.

use core::{
    fmt::{self, Debug},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IPv4 address in network byte order.
///
/// It is aligned as a word, and so are the other types here as far as they have words: to the BPF
/// machine, bytes that may lie anywhere are single bytes.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Wire([u8; 4]);

/// An IPv6 address in network byte order.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Wire([u8; 16]);

/// An address of either family, as map keys and packets hold it.
pub trait Address: Copy + Debug + Eq + Hash + Ord + 'static {
    /// The family that the address belongs to.
    const FAMILY: Family;

    /// The address as the standard library knows it.
    fn ip(self) -> IpAddr;

    /// The address in 16 bytes: IPv4 in the first four, the rest zero.
    fn to_slot(self) -> [u8; 16];

    /// The inverse of [`Address::to_slot`].
    fn from_slot(slot: [u8; 16]) -> Self;

    /// The sum of the address's 16-bit words as they lie in memory, carries not yet folded in.
    fn word_sum(self) -> u64;

    /// The address as two numbers, the same on machines of either byte order; for hashes.
    fn numbers(self) -> [u64; 2];

    /// Whether the address means something on one link only, or no host at all: the kernel's.
    fn is_link_scoped(self) -> bool;

    /// Whether the address is the asker's own, on its loopback interface.
    fn is_loopback(self) -> bool;
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ipv4Wire {
    /// Takes the four bytes as they stand in a packet.
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes as they stand in a packet.
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }
}

impl Address for Ipv4Wire {
    const FAMILY: Family = Family::V4;

    fn ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.0))
    }

    #[inline(always)]
    fn to_slot(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    fn from_slot(slot: [u8; 16]) -> Self {
        let [a, b, c, d, ..] = slot;
        Self([a, b, c, d])
    }

    #[inline(always)]
    fn word_sum(self) -> u64 {
        u64::from(u32::from_ne_bytes(self.0))
    }

    #[inline(always)]
    fn numbers(self) -> [u64; 2] {
        [u64::from(u32::from_be_bytes(self.0)), 0]
    }

    /// 169.254.0.0/16 (RFC 3927), and 0.0.0.0 before a host has an address.
    #[inline(always)]
    fn is_link_scoped(self) -> bool {
        matches!(self.0, [169, 254, _, _] | [0, 0, 0, 0])
    }

    /// 127.0.0.0/8 (RFC 1122 section 3.2.1.3).
    #[inline(always)]
    fn is_loopback(self) -> bool {
        matches!(self.0, [127, ..])
    }
}

impl Ipv6Wire {
    /// Takes the sixteen bytes as they stand in a packet.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes as they stand in a packet.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The IPv4 address inside an IPv4-mapped one (`::ffff:a.b.c.d`), which dual-stack sockets use
    /// for IPv4 peers.
    #[inline(always)]
    pub fn mapped_v4(self) -> Option<Ipv4Wire> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some(Ipv4Wire([a, b, c, d])),
            _ => None,
        }
    }

    /// The IPv4-mapped form of an IPv4 address.
    #[inline(always)]
    pub const fn from_mapped_v4(address: Ipv4Wire) -> Self {
        let [a, b, c, d] = address.0;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }
}

impl Address for Ipv6Wire {
    const FAMILY: Family = Family::V6;

    fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0))
    }

    #[inline(always)]
    fn to_slot(self) -> [u8; 16] {
        self.0
    }

    #[inline(always)]
    fn from_slot(slot: [u8; 16]) -> Self {
        Self(slot)
    }

    #[inline(always)]
    fn word_sum(self) -> u64 {
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = self.0;
        u64::from(u32::from_ne_bytes([a0, a1, a2, a3]))
            + u64::from(u32::from_ne_bytes([b0, b1, b2, b3]))
            + u64::from(u32::from_ne_bytes([c0, c1, c2, c3]))
            + u64::from(u32::from_ne_bytes([d0, d1, d2, d3]))
    }

    #[inline(always)]
    fn numbers(self) -> [u64; 2] {
        let number = u128::from_be_bytes(self.0);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        [(number >> 64) as u64, number as u64]
    }

    /// fe80::/10 (RFC 4291), and `::` before a host has an address.
    #[inline(always)]
    fn is_link_scoped(self) -> bool {
        matches!(self.0, [0xfe, 0x80..=0xbf, ..]) || self.0 == [0; 16]
    }

    /// `::1` (RFC 4291 section 2.5.3).
    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.numbers() == [0, 1]
    }
}

impl From<Ipv4Addr> for Ipv4Wire {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ipv6Addr> for Ipv6Wire {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

/// A transport port in network byte order.
#[repr(C, align(2))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port([u8; 2]);

impl Port {
    /// No port: what protocols without ports have, and the port of a frontend that stands for a
    /// whole address.
    pub const NONE: Self = Self([0, 0]);

    /// Makes a port from its number.
    pub const fn new(number: u16) -> Self {
        Self(number.to_be_bytes())
    }

    /// Takes the two bytes as they stand in a packet.
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }

    /// The two bytes as they stand in a packet.
    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }

    /// The port's number.
    pub const fn number(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The port as a 16-bit word as it lies in memory, for checksums.
    #[inline(always)]
    pub const fn word(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
}

/// An IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// No protocol: what a frontend that stands for a whole address has.
    pub const NONE: Self = Self(0);
    /// ICMP, for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Makes a protocol from its number.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The protocol's number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// An Ethernet address.
///
/// In half-words, each by itself: an array that is zero would be cleared byte by byte, by a call.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(u16, u16, u16);

impl Mac {
    /// Takes the six bytes as they stand in a frame.
    #[inline(always)]
    pub const fn from_bytes([a0, a1, b0, b1, c0, c1]: [u8; 6]) -> Self {
        Self(
            u16::from_ne_bytes([a0, a1]),
            u16::from_ne_bytes([b0, b1]),
            u16::from_ne_bytes([c0, c1]),
        )
    }

    /// The six bytes as they stand in a frame.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 6] {
        let ([a0, a1], [b0, b1]) = (self.0.to_ne_bytes(), self.1.to_ne_bytes());
        let [c0, c1] = self.2.to_ne_bytes();
        [a0, a1, b0, b1, c0, c1]
    }
}

impl Debug for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Mac").field(&self.bytes()).finish()
    }
}

/// The index of a network interface in the node's namespace.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(u32);

impl IfIndex {
    /// No interface: the kernel's stack finds the way.
    pub const NONE: Self = Self(0);

    /// Makes an index from the kernel's number.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The kernel's number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The way to a pod of this node: the host end of its veth pair and the Ethernet address of its
/// `eth0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodLink {
    /// The host end of the pod's veth pair.
    pub interface: IfIndex,
    /// The pod's own Ethernet address.
    pub mac: Mac,
}

/// The node's own addresses, or a pod's: one per family, zero where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressPair {
    /// The IPv4 address.
    pub v4: Ipv4Wire,
    /// The IPv6 address.
    pub v6: Ipv6Wire,
}

const _: () = assert!(size_of::<AddressPair>() == 20);
