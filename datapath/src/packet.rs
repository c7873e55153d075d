//! What the datapath asks of a packet: bytes by value in, bytes by value out. No reference into a
//! packet is ever held.

use maps_schema::fragment::FirstFragment;

use crate::checksum::ChecksumDelta;

/// Where the IP header begins: the datapath sees untagged Ethernet frames.
pub const NETWORK_OFFSET: u32 = 14;

/// A packet that can be read.
pub trait PacketRead {
    /// The frame's length in bytes, from the Ethernet header on. Of a packet that is still to be
    /// segmented, the length of the whole.
    fn length(&self) -> u32;

    /// Copies `N` bytes from `offset`, an even number; `None` where the frame ends before.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Copies `N` words of four bytes from `offset` at once; `None` where the frame ends before. As
    /// [`Self::load`], but it is one check of bounds for all, and words stay words.
    #[inline(always)]
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[[u8; 4]; N]> {
        let mut words = [[0; 4]; N];
        let mut offset = offset;
        for word in &mut words {
            *word = self.load(offset)?;
            offset += 4;
        }
        Some(words)
    }

    /// The same offset. A verifier that follows every path through a program forgets here what is
    /// particular to this one, so that paths which differ in nothing else are one.
    #[inline(always)]
    fn forget(&self, offset: u32) -> u32 {
        offset
    }

    /// Of a fragment, what the first one of its datagram says, once that was found and left with the
    /// packet. It may be there for other packets, too, and says nothing of them.
    fn first_fragment(&self) -> Option<FirstFragment> {
        None
    }
}

/// The kernel could not change the packet, for want of memory. The packet may be half changed: it
/// is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteFailed;

/// A packet that can be changed.
pub trait PacketWrite: PacketRead {
    /// The sum of the words from `offset` on; of `length` bytes, an even number. `None` where the frame
    /// ends before.
    fn sum(&self, offset: u32, length: u32) -> Option<ChecksumDelta>;

    /// Overwrites `N` bytes at `offset`, an even number.
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), WriteFailed>;

    /// Corrects the transport checksum at `offset` for a change.
    ///
    /// Of a packet whose checksum is still to be filled in by a device (`CHECKSUM_PARTIAL`), the
    /// field holds the sum of the pseudo header alone: a change of [`Covered::Addresses`] is to be
    /// applied to it, a change of [`Covered::Ports`] is not. Only the packet knows which it is.
    fn correct_checksum(
        &mut self,
        offset: u32,
        delta: ChecksumDelta,
        covered: Covered,
        zero: ZeroChecksum,
    ) -> Result<(), WriteFailed>;

    /// Cuts the frame to `length` bytes.
    fn truncate(&mut self, length: u32) -> Result<(), WriteFailed>;

    /// Makes `BYTES` bytes of room between the Ethernet header and what follows it.
    fn make_room<const BYTES: u32>(&mut self) -> Result<(), WriteFailed>;
}

/// Which part of a transport checksum's input has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// Addresses, which the pseudo header holds.
    Addresses,
    /// Ports, which the transport header holds.
    Ports,
}

/// What a transport checksum of zero means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroChecksum {
    /// A sum like any other (TCP).
    IsASum,
    /// No checksum: it stays zero, and a sum of zero is written as 0xffff (UDP, RFC 768).
    MeansNone,
}
