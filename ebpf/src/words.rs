//! Bytes of packets, in words: the BPF machine reads and writes those at any address.

/// Bytes that are moved in words of four, which the BPF machine does at any address: to a compiler
/// that took them for mere bytes, it would be byte by byte.
#[repr(C, align(4))]
struct Words<const N: usize>([u8; N]);

/// As [`Words`], for what is no multiple of four.
#[repr(C, align(2))]
struct HalfWords<const N: usize>([u8; N]);

/// Reads bytes at any address.
///
/// # Safety
///
/// `bytes` is readable.
#[inline(always)]
pub(crate) unsafe fn read<const N: usize>(bytes: *const [u8; N]) -> [u8; N] {
    const { assert!(N.is_multiple_of(2)) };
    // SAFETY: the caller's; a type's size is `N`, as its alignment divides that.
    unsafe {
        if N.is_multiple_of(4) {
            bytes.cast::<Words<N>>().read().0
        } else {
            bytes.cast::<HalfWords<N>>().read().0
        }
    }
}

/// Writes bytes at any address.
///
/// # Safety
///
/// `place` is writable.
#[inline(always)]
pub(crate) unsafe fn write<const N: usize>(place: *mut [u8; N], bytes: [u8; N]) {
    const { assert!(N.is_multiple_of(2)) };
    // SAFETY: as for `read`.
    unsafe {
        if N.is_multiple_of(4) {
            place.cast::<Words<N>>().write(Words(bytes));
        } else {
            place.cast::<HalfWords<N>>().write(HalfWords(bytes));
        }
    }
}
