//! What one stage of a program leaves to the next, where that is more than a register: an element of
//! a map, one per processor. No other program comes between two stages.

use core::mem::MaybeUninit;

use aya_ebpf::maps::PerCpuArray;

/// Leaves a value to the stage that follows.
#[inline(always)]
pub(crate) fn leave<T>(place: &PerCpuArray<MaybeUninit<T>>, value: T) {
    if let Some(place) = place.get_ptr_mut(0) {
        // SAFETY: the element is this processor's own.
        unsafe { (*place).write(value) };
    }
}

/// The value that a stage before has left; none never.
///
/// # Safety
///
/// One has, for this packet.
#[inline(always)]
pub(crate) unsafe fn left<T>(place: &PerCpuArray<MaybeUninit<T>>) -> Option<&'static T> {
    // SAFETY: the caller's.
    place.get_ptr(0).map(|place| unsafe { (*place).assume_init_ref() })
}
