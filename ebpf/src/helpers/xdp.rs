//! Frames that no `__sk_buff` was made for.

use aya_ebpf::{bindings::xdp_md, helpers::generated};
use maps_schema::address::IfIndex;

/// The interface that the frame came in by.
#[inline(always)]
pub(crate) fn receiver(frame: *mut xdp_md) -> IfIndex {
    // SAFETY: `frame` is the program's context.
    IfIndex::new(unsafe { (*frame).ingress_ifindex })
}

/// The frame's length, with what is in other buffers than the first. Linux 5.18.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a frame's length")]
pub(crate) fn frame_length(frame: *mut xdp_md) -> u32 {
    // SAFETY: `frame` is the program's context.
    unsafe { generated::bpf_xdp_get_buff_len(frame) as u32 }
}

/// Makes room before the frame, or takes bytes off its head where `distance` is positive; whether
/// the kernel did. Linux 4.10.
#[inline(always)]
pub(crate) fn move_head(frame: *mut xdp_md, distance: i32) -> bool {
    // SAFETY: `frame` is the program's context.
    unsafe { generated::bpf_xdp_adjust_head(frame, distance) == 0 }
}
