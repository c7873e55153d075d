//! A packet in an `__sk_buff`.
//!
//! What is in the linear part is read and written directly, after a check of its bounds in the form
//! that the verifier follows; what is not, or is shared, goes through the helpers.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::generated,
};
use datapath::{
    checksum::ChecksumDelta,
    packet::{Covered, PacketRead, PacketWrite, WriteFailed, ZeroChecksum},
    tables::{Progress, Repeated},
};
use maps_schema::fragment::FirstFragment;

use crate::{
    helpers,
    words::{read, read_words, write},
};

/// The words of `cb` that a TC program may use as it likes: one that the verifier knows nothing of,
/// and two for what the first fragment of the packet's datagram says.
const SCRATCH: usize = 0;
const FIRST_FRAGMENT: usize = 1;

/// All headers lie before this; parsing sees to it.
const FURTHEST_LINEAR: u32 = 0x3fff;

/// The packet of a TC program.
pub(crate) struct SkbPacket {
    skb: *mut __sk_buff,
}

impl SkbPacket {
    /// `skb` is the program's context.
    pub(crate) const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// Copies the first `length` bytes; whether they are there.
    ///
    /// # Safety
    ///
    /// `bytes` is writable for as long, and the verifier knows it.
    #[inline(always)]
    pub(crate) unsafe fn copy_out(&self, bytes: *mut u8, length: u32) -> bool {
        // SAFETY: the caller's.
        unsafe { generated::bpf_skb_load_bytes(self.skb.cast(), 0, bytes.cast(), length) == 0 }
    }

    /// Makes the packet `length` bytes long, and those the given ones.
    ///
    /// # Safety
    ///
    /// `bytes` is readable for as long, and the verifier knows it.
    #[inline(always)]
    pub(crate) unsafe fn overwrite(
        &mut self,
        bytes: *const u8,
        length: u32,
    ) -> Result<(), WriteFailed> {
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        // SAFETY: the caller's.
        unsafe {
            check(generated::bpf_skb_change_tail(self.skb, length, 0))?;
            check(generated::bpf_skb_store_bytes(self.skb, 0, bytes.cast(), length, flags))
        }
    }

    /// Clears what programs before this one have left with the packet.
    #[inline(always)]
    pub(crate) fn forget_first_fragment(&mut self) {
        // SAFETY: `skb` is the program's context.
        unsafe { (*self.skb).cb[FIRST_FRAGMENT + 1] = 0 };
    }

    /// Leaves with the packet what the first fragment of its datagram says.
    #[inline(always)]
    pub(crate) fn leave_first_fragment(&mut self, first: &FirstFragment) {
        let [ports, rest] = first.to_words();
        // SAFETY: `skb` is the program's context.
        unsafe {
            (*self.skb).cb[FIRST_FRAGMENT] = ports;
            (*self.skb).cb[FIRST_FRAGMENT + 1] = rest;
        }
    }

    /// The bytes of a `T` at `offset`, if they are in the linear part.
    #[inline(always)]
    fn linear<T>(&self, offset: u32) -> Option<*mut T> {
        // Of a check for one byte the compiler makes `data < end` in 32 bits, which the verifier
        // does not take for a check.
        const { assert!(size_of::<T>() >= 2) };
        // SAFETY: `skb` is the program's context.
        let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        // An offset of which the verifier knows nothing makes a pointer that it takes for none.
        let start = data + (offset & FURTHEST_LINEAR) as usize;
        (start + size_of::<T>() <= end).then_some(start as *mut T)
    }
}

/// A sum that is being made.
struct Summing {
    skb: *mut __sk_buff,
    offset: u32,
    end: u32,
    sum: Option<ChecksumDelta>,
}

impl Repeated for Summing {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        if self.offset >= self.end {
            return Progress::Done;
        }
        let word = SkbPacket::new(self.skb).load::<2>(self.offset & 0xffff);
        self.sum = match (self.sum, word) {
            (Some(sum), Some(word)) => Some(sum.add_word(word)),
            _ => None,
        };
        self.offset += 2;
        Progress::Again
    }
}

impl PacketRead for SkbPacket {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: `skb` is the program's context.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if let Some(bytes) = self.linear::<[u8; N]>(offset) {
            // SAFETY: the bounds were checked just now.
            return Some(unsafe { read(bytes) });
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes `N` bytes, or zeros where it fails.
        unsafe {
            let result = generated::bpf_skb_load_bytes(
                self.skb.cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
            );
            (result == 0).then(|| bytes.assume_init())
        }
    }

    #[inline(always)]
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[[u8; 4]; N]> {
        if let Some(words) = self.linear::<[[u8; 4]; N]>(offset) {
            // SAFETY: the bounds were checked just now.
            return Some(unsafe { read_words(words) });
        }
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        // SAFETY: the helper writes as many bytes, or zeros where it fails.
        unsafe {
            let result = generated::bpf_skb_load_bytes(
                self.skb.cast(),
                offset,
                words.as_mut_ptr().cast(),
                size_of::<[u32; N]>() as u32,
            );
            (result == 0).then(|| read_words(words.as_ptr().cast()))
        }
    }

    /// What is read from the context is any number to the verifier.
    #[inline(always)]
    fn forget(&self, offset: u32) -> u32 {
        // SAFETY: `skb` is the program's context.
        unsafe {
            let scratch = &raw mut (*self.skb).cb[SCRATCH];
            scratch.write_volatile(offset);
            scratch.read_volatile()
        }
    }

    #[inline(always)]
    fn first_fragment(&self) -> Option<FirstFragment> {
        // SAFETY: `skb` is the program's context.
        let words = unsafe { [(*self.skb).cb[FIRST_FRAGMENT], (*self.skb).cb[FIRST_FRAGMENT + 1]] };
        FirstFragment::from_words(words)
    }
}

fn check(result: i64) -> Result<(), WriteFailed> {
    if result == 0 { Ok(()) } else { Err(WriteFailed) }
}

impl PacketWrite for SkbPacket {
    #[inline(always)]
    fn sum(&self, offset: u32, length: u32) -> Option<ChecksumDelta> {
        let end = offset + length;
        let mut summing = Summing { skb: self.skb, offset, end, sum: Some(ChecksumDelta::ZERO) };
        helpers::repeat(length, &mut summing);
        summing.sum
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), WriteFailed> {
        if let Some(place) = self.linear::<[u8; N]>(offset) {
            // SAFETY: the bounds were checked just now, and the verifier's prologue has made the
            // linear part writable.
            unsafe { write(place, bytes) };
            return Ok(());
        }
        // SAFETY: the helper reads `N` bytes.
        check(unsafe {
            generated::bpf_skb_store_bytes(
                self.skb,
                offset,
                ptr::from_ref(&bytes).cast(),
                N as u32,
                0,
            )
        })
    }

    #[inline(always)]
    fn correct_checksum(
        &mut self,
        offset: u32,
        delta: ChecksumDelta,
        covered: Covered,
        zero: ZeroChecksum,
    ) -> Result<(), WriteFailed> {
        let covered = match covered {
            Covered::Addresses => BPF_F_PSEUDO_HDR,
            Covered::Ports => 0,
        };
        let zero = match zero {
            ZeroChecksum::IsASum => 0,
            ZeroChecksum::MeansNone => BPF_F_MARK_MANGLED_0,
        };
        // SAFETY: the helper takes no pointer but the context. From 0 to a difference: the size
        // bits are zero.
        check(unsafe {
            generated::bpf_l4_csum_replace(
                self.skb,
                offset,
                0,
                u64::from(delta.to_wsum()),
                u64::from(covered | zero),
            )
        })
    }

    #[inline(always)]
    fn truncate(&mut self, length: u32) -> Result<(), WriteFailed> {
        // SAFETY: the helper takes no pointer but the context.
        check(unsafe { generated::bpf_skb_change_tail(self.skb, length, 0) })
    }

    #[inline(always)]
    fn make_room<const BYTES: u32>(&mut self) -> Result<(), WriteFailed> {
        // SAFETY: the helper takes no pointer but the context.
        check(unsafe {
            generated::bpf_skb_adjust_room(self.skb, BYTES as i32, BPF_ADJ_ROOM_MAC, 0)
        })
    }
}
