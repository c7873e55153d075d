//! A packet in an `__sk_buff`.
//!
//! What is in the linear part is read and written directly, after a check of its bounds in the form
//! that the verifier follows; what is not, or is shared, goes through the helpers.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::generated,
};
use datapath::{
    checksum::ChecksumDelta,
    packet::{Covered, PacketRead, PacketWrite, WriteFailed, ZeroChecksum},
};

use crate::words::{read, write};

/// The packet of a TC program.
pub(crate) struct SkbPacket {
    skb: *mut __sk_buff,
}

impl SkbPacket {
    /// `skb` is the program's context.
    pub(crate) const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// The `N` bytes at `offset`, if they are in the linear part.
    #[inline(always)]
    fn linear<const N: usize>(&self, offset: u32) -> Option<*mut [u8; N]> {
        // Of a check for one byte the compiler makes `data < end` in 32 bits, which the verifier
        // does not take for a check.
        const { assert!(N >= 2) };
        // SAFETY: `skb` is the program's context.
        let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let start = data + offset as usize;
        (start + N <= end).then_some(start as *mut [u8; N])
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
        if let Some(bytes) = self.linear::<N>(offset) {
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

    /// What is read from the context is any number to the verifier.
    #[inline(always)]
    fn forget(&self, offset: u32) -> u32 {
        // SAFETY: `skb` is the program's context, of which a TC program may use `cb` as it likes.
        unsafe {
            let scratch = &raw mut (*self.skb).cb[0];
            scratch.write_volatile(offset);
            scratch.read_volatile()
        }
    }
}

fn check(result: i64) -> Result<(), WriteFailed> {
    if result == 0 { Ok(()) } else { Err(WriteFailed) }
}

impl PacketWrite for SkbPacket {
    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), WriteFailed> {
        if let Some(place) = self.linear::<N>(offset) {
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
