//! Where an IP header keeps things: one generic path for both address families.

use maps_schema::address::{Address, Ipv4Wire, Ipv6Wire, Protocol};

use crate::packet::{NETWORK_OFFSET, PacketRead, PacketWrite, WriteFailed};

/// An address family's header layout. Offsets are from the start of the frame.
pub trait IpFamily: Address {
    /// Where the source address is.
    const SOURCE_OFFSET: u32;
    /// Where the destination address is.
    const DESTINATION_OFFSET: u32;
    /// The protocol that carries errors and echoes.
    const ICMP: Protocol;

    /// Reads the address at `offset`; `None` where the frame ends before.
    fn load(packet: &impl PacketRead, offset: u32) -> Option<Self>;

    /// Writes an address at `offset`.
    fn store(packet: &mut impl PacketWrite, offset: u32, address: Self) -> Result<(), WriteFailed>;
}

/// Where an IPv4 header keeps its own checksum.
pub const IPV4_CHECKSUM_OFFSET: u32 = NETWORK_OFFSET + 10;

impl IpFamily for Ipv4Wire {
    const SOURCE_OFFSET: u32 = NETWORK_OFFSET + 12;
    const DESTINATION_OFFSET: u32 = NETWORK_OFFSET + 16;
    const ICMP: Protocol = Protocol::ICMP;

    #[inline(always)]
    fn load(packet: &impl PacketRead, offset: u32) -> Option<Self> {
        packet.load(offset).map(Self::from_bytes)
    }

    #[inline(always)]
    fn store(packet: &mut impl PacketWrite, offset: u32, address: Self) -> Result<(), WriteFailed> {
        packet.store(offset, address.bytes())
    }
}

impl IpFamily for Ipv6Wire {
    const SOURCE_OFFSET: u32 = NETWORK_OFFSET + 8;
    const DESTINATION_OFFSET: u32 = NETWORK_OFFSET + 24;
    const ICMP: Protocol = Protocol::ICMPV6;

    #[inline(always)]
    fn load(packet: &impl PacketRead, offset: u32) -> Option<Self> {
        packet.load(offset).map(Self::from_bytes)
    }

    #[inline(always)]
    fn store(packet: &mut impl PacketWrite, offset: u32, address: Self) -> Result<(), WriteFailed> {
        packet.store(offset, address.bytes())
    }
}
