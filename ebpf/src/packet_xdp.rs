//! A packet in an `xdp_md`: read and written directly, after a check of its bounds in the form that
//! the verifier follows.
//!
//! Its transport checksum is whole: a driver has nothing to fill in of what it received.

use aya_ebpf::{Global, bindings::xdp_md};
use datapath::{
    checksum::ChecksumDelta,
    packet::{Covered, PacketRead, PacketWrite, WriteFailed, ZeroChecksum},
};

use crate::{
    helpers::frame_length,
    words::{read, read_words, write},
};

/// The packet of an XDP program, or one that it carries: `START` is where its Ethernet header is.
pub(crate) struct XdpPacket<const START: u32> {
    frame: *mut xdp_md,
}

impl<const START: u32> XdpPacket<START> {
    /// `frame` is the program's context.
    pub(crate) const fn new(frame: *mut xdp_md) -> Self {
        Self { frame }
    }

    /// The bytes of a `T` at `offset`, if they are in the first buffer.
    #[inline(always)]
    fn linear<T>(&self, offset: u32) -> Option<*mut T> {
        // For one byte, the compiler's check would not be the verifier's.
        const { assert!(size_of::<T>() >= 2) };
        // To the compiler these are words that it may shorten and lengthen, to the verifier
        // pointers: they are read where they are used.
        // SAFETY: `frame` is the program's context.
        let (data, end) = unsafe {
            let data = (&raw const (*self.frame).data).read_volatile();
            let end = (&raw const (*self.frame).data_end).read_volatile();
            (data as usize, end as usize)
        };
        let start = data + bounded(START + offset) as usize;
        (start + size_of::<T>() <= end).then_some(start as *mut T)
    }
}

/// Beyond all headers.
#[unsafe(no_mangle)]
static FURTHEST_HEADER: Global<u32> = Global::new(0x7fff);

/// The same offset. The verifier forgets bounds that the compiler remembers: here it sees them
/// again, because what they are is unknown to the compiler.
#[inline(always)]
fn bounded(offset: u32) -> u32 {
    offset & FURTHEST_HEADER.load()
}

impl<const START: u32> PacketRead for XdpPacket<START> {
    #[inline(always)]
    fn length(&self) -> u32 {
        frame_length(self.frame).wrapping_sub(START)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: the bounds are checked just now.
        self.linear::<[u8; N]>(offset).map(|bytes| unsafe { read(bytes) })
    }

    #[inline(always)]
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[[u8; 4]; N]> {
        // SAFETY: the bounds are checked just now.
        self.linear::<[[u8; 4]; N]>(offset).map(|words| unsafe { read_words(words) })
    }
}

impl<const START: u32> PacketWrite for XdpPacket<START> {
    /// Answers are made by TC.
    #[inline(always)]
    fn sum(&self, _: u32, _: u32) -> Option<ChecksumDelta> {
        None
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), WriteFailed> {
        let place = self.linear::<[u8; N]>(offset).ok_or(WriteFailed)?;
        // SAFETY: the bounds were checked just now.
        unsafe { write(place, bytes) };
        Ok(())
    }

    #[inline(always)]
    fn correct_checksum(
        &mut self,
        offset: u32,
        delta: ChecksumDelta,
        _: Covered,
        zero: ZeroChecksum,
    ) -> Result<(), WriteFailed> {
        const NONE: [u8; 2] = [0, 0];
        let old = self.load::<2>(offset).ok_or(WriteFailed)?;
        if zero == ZeroChecksum::MeansNone && old == NONE {
            return Ok(());
        }
        let new = match delta.correct(old) {
            NONE if zero == ZeroChecksum::MeansNone => [0xff, 0xff],
            new => new,
        };
        self.store(offset, new)
    }

    /// Nothing is cut here: what is refused is TC's.
    #[inline(always)]
    fn truncate(&mut self, _: u32) -> Result<(), WriteFailed> {
        Err(WriteFailed)
    }

    /// As [`Self::truncate`].
    #[inline(always)]
    fn make_room<const BYTES: u32>(&mut self) -> Result<(), WriteFailed> {
        Err(WriteFailed)
    }
}
