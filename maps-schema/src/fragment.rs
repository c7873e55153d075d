//! Fragments: later ones carry no ports, so the first one's are remembered.

use crate::address::{Address, Ipv4Wire, Ipv6Wire, Port, Protocol};

/// What all fragments of one datagram have in common (RFC 791, RFC 8200 section 4.5).
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
    /// Makes a key.
    #[inline(always)]
    pub const fn new(source: A, destination: A, identification: u32, protocol: Protocol) -> Self {
        Self { source, destination, identification, protocol: protocol.number() as u32 }
    }
}

/// What the first fragment says of all others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// The datagram's source port.
    pub source: Port,
    /// The datagram's destination port.
    pub destination: Port,
}

const _: () = assert!(size_of::<FragmentKey<Ipv4Wire>>() == 16);
const _: () = assert!(size_of::<FragmentKey<Ipv6Wire>>() == 40);
const _: () = assert!(size_of::<FragmentPorts>() == 4);
