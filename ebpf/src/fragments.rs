//! `datapath`'s fragments, in BPF maps.
//!
//! What waits is sent to the hook again by the packet that it has waited for: that takes the bytes of
//! each in turn, a copy of it is received once more, and in the end it gets its own bytes back. The
//! copies wait in the processor's backlog until this packet is done with.

use core::hint::black_box;

use aya_ebpf::bindings::{__sk_buff, BPF_NOEXIST};
use datapath::{
    fragment::{Fragments, NoRoom},
    packet::{PacketRead, WriteFailed},
};
use maps_schema::{
    clock::CoarseTime,
    fragment::{FirstFragment, FragmentKey, HeldKey, MAX_HELD_FRAME},
};

use crate::{
    helpers::{interface, mark, receive_copy, set_mark},
    maps::{ASIDE, HELD_FRAGMENTS, HELD_FRAME, MAX_ASIDE_FRAME},
    packet_skb::SkbPacket,
    tables::Mapped,
};

/// The maps of fragments, for one packet.
pub(crate) struct HeldPackets {
    skb: *mut __sk_buff,
    release_mark: Option<u32>,
}

impl HeldPackets {
    /// What is let go bears a mark, if one is given.
    #[inline(always)]
    pub(crate) const fn new(skb: *mut __sk_buff, release_mark: Option<u32>) -> Self {
        Self { skb, release_mark }
    }
}

/// The shortest frame that is copied: an Ethernet header and what an `skb` must keep of the rest.
const SHORTEST: u64 = 16;

/// A frame's length within bounds that the verifier sees. In 64 bits, and of a number that the
/// compiler knows nothing of: Linux 6.1 loses sight of the bounds of what is moved in 32.
#[inline(always)]
fn bounded<const LONGEST: usize>(length: u32) -> u32 {
    black_box(u64::from(length)).clamp(SHORTEST, LONGEST as u64) as u32
}

impl<A: Mapped> Fragments<A, SkbPacket> for HeldPackets {
    #[inline(always)]
    fn first(&self, key: &FragmentKey<A>) -> Option<FirstFragment> {
        // SAFETY: the value is copied out at once.
        unsafe { A::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn note(&self, key: &FragmentKey<A>, first: &FirstFragment) {
        // A hash that forgets has room; where another processor is at it, the next fragment waits.
        let _ = A::FRAGMENTS.insert(key, first, 0);
    }

    #[inline(always)]
    fn held_since(&self, key: &HeldKey) -> Option<CoarseTime> {
        let held = HELD_FRAGMENTS.get_ptr(key)?;
        // SAFETY: the verifier has checked the pointer.
        Some(unsafe { (&raw const (*held).since).read() })
    }

    #[inline(always)]
    fn hold(&self, key: &HeldKey, packet: &SkbPacket, now: CoarseTime) -> Result<(), NoRoom> {
        let length = packet.length();
        if length > MAX_HELD_FRAME as u32 {
            return Err(NoRoom);
        }
        let Some(scratch) = HELD_FRAME.get_ptr_mut(0) else { return Err(NoRoom) };
        let length = bounded::<MAX_HELD_FRAME>(length);
        // SAFETY: the element is this processor's own, and has room for that many bytes.
        unsafe {
            (&raw mut (*scratch).since).write(now);
            (&raw mut (*scratch).length).write(length);
            if !packet.copy_out((&raw mut (*scratch).frame).cast(), length) {
                return Err(NoRoom);
            }
            HELD_FRAGMENTS.insert(key, &*scratch, BPF_NOEXIST.into()).map_err(|_| NoRoom)
        }
    }

    #[inline(always)]
    fn forget(&self, key: &HeldKey) -> bool {
        HELD_FRAGMENTS.remove(key).is_ok()
    }

    #[inline(always)]
    fn set_aside(&self, packet: &SkbPacket) -> Result<(), NoRoom> {
        let length = packet.length();
        if length > MAX_ASIDE_FRAME as u32 {
            return Err(NoRoom);
        }
        let Some(aside) = ASIDE.get_ptr_mut(0) else { return Err(NoRoom) };
        let length = bounded::<MAX_ASIDE_FRAME>(length);
        // SAFETY: the element is this processor's own, and has room for that many bytes.
        let is_copied = unsafe {
            (&raw mut (*aside).length).write(length);
            (&raw mut (*aside).mark).write(mark(self.skb));
            packet.copy_out((&raw mut (*aside).frame).cast(), length)
        };
        if let Some(mark) = self.release_mark {
            set_mark(self.skb, mark);
        }
        if is_copied { Ok(()) } else { Err(NoRoom) }
    }

    #[inline(always)]
    fn release(&self, key: &HeldKey, packet: &mut SkbPacket) -> Result<(), WriteFailed> {
        let Some(held) = HELD_FRAGMENTS.get_ptr(key) else { return Ok(()) };
        // SAFETY: the verifier has checked the pointer. The element may be used for another fragment
        // meanwhile; then it is not removed below, and what was copied goes nowhere.
        unsafe {
            let length = (&raw const (*held).length).read();
            let length = bounded::<MAX_HELD_FRAME>(length);
            packet.overwrite((&raw const (*held).frame).cast(), length)?;
        }
        if HELD_FRAGMENTS.remove(key).is_ok() {
            receive_copy(self.skb, interface(self.skb));
        }
        Ok(())
    }

    #[inline(always)]
    fn take_back(&self, packet: &mut SkbPacket) -> Result<(), WriteFailed> {
        let Some(aside) = ASIDE.get_ptr(0) else { return Err(WriteFailed) };
        // SAFETY: the element is this processor's own.
        unsafe {
            set_mark(self.skb, (&raw const (*aside).mark).read());
            let length = (&raw const (*aside).length).read();
            let length = bounded::<MAX_ASIDE_FRAME>(length);
            packet.overwrite((&raw const (*aside).frame).cast(), length)
        }
    }
}
