//! Fragments: later ones carry no ports, so the first one's are remembered; those that come before
//! it wait.

use crate::{
    address::{Address, Family, Ipv4Wire, Ipv6Wire, Port, Protocol},
    clock::CoarseTime,
};

/// What all fragments of one datagram have in common.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey<A> {
    /// Where the datagram comes from.
    pub source: A,
    /// Where it goes.
    pub destination: A,
    /// Its identification: 16 bits in IPv4, 32 in IPv6, as a number.
    pub identification: u32,
    protocol: u32,
}

impl<A: Address> FragmentKey<A> {
    /// Makes a key. In IPv4 the protocol tells datagrams apart (RFC 791); in IPv6 it is that of the
    /// fragment header, as each fragment may name another one behind it (RFC 8200 section 4.5).
    #[inline(always)]
    pub const fn new(source: A, destination: A, identification: u32, protocol: Protocol) -> Self {
        Self { source, destination, identification, protocol: protocol.number() as u32 }
    }
}

/// What the first fragment says of all others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstFragment {
    /// The datagram's source port.
    pub source_port: Port,
    /// The datagram's destination port.
    pub destination_port: Port,
    /// When it came.
    pub noted: CoarseTime,
    protocol: u8,
    /// What the transport header says beside the ports, as the datapath codes it.
    pub kind: u8,
    unused: u16,
}

impl FirstFragment {
    /// Makes a value.
    #[inline(always)]
    pub const fn new(
        (source_port, destination_port): (Port, Port),
        protocol: Protocol,
        kind: u8,
        noted: CoarseTime,
    ) -> Self {
        Self { source_port, destination_port, noted, protocol: protocol.number(), kind, unused: 0 }
    }

    /// The datagram's transport protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        Protocol::new(self.protocol)
    }

    /// All but the time in two words, for one stage of a program to leave to the next with the
    /// packet. They are never both zero.
    #[inline(always)]
    pub const fn to_words(&self) -> [u32; 2] {
        let [s0, s1] = self.source_port.bytes();
        let [d0, d1] = self.destination_port.bytes();
        let rest = u32::from_ne_bytes([self.protocol, self.kind, 1, 0]);
        [u32::from_ne_bytes([s0, s1, d0, d1]), rest]
    }

    /// The inverse of [`Self::to_words`]; none of words that are zero.
    #[inline(always)]
    pub const fn from_words([ports, rest]: [u32; 2]) -> Option<Self> {
        if rest == 0 {
            return None;
        }
        let [s0, s1, d0, d1] = ports.to_ne_bytes();
        let [protocol, kind, _, _] = rest.to_ne_bytes();
        let ports = (Port::from_bytes([s0, s1]), Port::from_bytes([d0, d1]));
        Some(Self::new(ports, Protocol::new(protocol), kind, CoarseTime::ZERO))
    }
}

/// Where one fragment waits for the first one of its datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeldKey {
    source: [u8; 16],
    destination: [u8; 16],
    identification: u32,
    protocol: u8,
    ip_version: u8,
    slot: u16,
}

impl HeldKey {
    /// Place `slot` of those that a datagram has.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "made from one byte")]
    pub fn new<A: Address>(key: &FragmentKey<A>, slot: u16) -> Self {
        Self {
            source: key.source.to_slot(),
            destination: key.destination.to_slot(),
            identification: key.identification,
            protocol: key.protocol as u8,
            ip_version: match A::FAMILY {
                Family::V4 => 4,
                Family::V6 => 6,
            },
            slot,
        }
    }
}

impl HeldKey {
    /// The next place of the same datagram.
    #[inline(always)]
    pub const fn advance(&mut self) {
        self.slot = self.slot.wrapping_add(1);
    }
}

/// The longest frame that waits: an Ethernet frame of the usual size and its surroundings.
pub const MAX_HELD_FRAME: usize = 2048;

/// How many fragments of one datagram wait: all but the first of 64 KiB over Ethernet.
pub const MAX_HELD_PER_DATAGRAM: u16 = 48;

/// A fragment that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFragment {
    /// When it came.
    pub since: CoarseTime,
    /// How long its frame is.
    pub length: u32,
    /// The frame, and whatever was there behind it.
    pub frame: [u8; MAX_HELD_FRAME],
}

const _: () = assert!(size_of::<FragmentKey<Ipv4Wire>>() == 16);
const _: () = assert!(size_of::<FragmentKey<Ipv6Wire>>() == 40);
const _: () = assert!(size_of::<FirstFragment>() == 12);
const _: () = assert!(size_of::<HeldKey>() == 40);
const _: () = assert!(size_of::<HeldFragment>() == 8 + MAX_HELD_FRAME);
