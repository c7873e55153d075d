//! Bytes of packets, in words: the BPF machine reads and writes those at any address.
//!
//! To a compiler that took them for mere bytes, moving them would be a call of a function that does it
//! byte by byte.

/// Reads bytes at any address.
///
/// # Safety
///
/// `bytes` is readable.
#[inline(always)]
pub(crate) unsafe fn read<const N: usize>(bytes: *const [u8; N]) -> [u8; N] {
    const { assert!(N.is_multiple_of(2)) };
    let mut read = [0; N];
    let (words, rest) = read.as_chunks_mut::<4>();
    let place: *const [u8; 4] = bytes.cast();
    for (index, word) in words.iter_mut().enumerate() {
        // SAFETY: the caller's; the machine reads a word at any address.
        *word = unsafe { place.add(index).cast::<u32>().read() }.to_ne_bytes();
    }
    if let [one, other] = rest {
        // SAFETY: as above.
        let half = unsafe { bytes.byte_add(N - 2).cast::<u16>().read() };
        [*one, *other] = half.to_ne_bytes();
    }
    read
}

/// Reads words at any address.
///
/// # Safety
///
/// `words` is readable.
#[inline(always)]
pub(crate) unsafe fn read_words<const N: usize>(words: *const [[u8; 4]; N]) -> [[u8; 4]; N] {
    let first: *const u32 = words.cast();
    // SAFETY: the caller's; the machine reads a word at any address.
    core::array::from_fn(|index| unsafe { first.add(index).read() }.to_ne_bytes())
}

/// Writes bytes at any address.
///
/// # Safety
///
/// `place` is writable.
#[inline(always)]
pub(crate) unsafe fn write<const N: usize>(place: *mut [u8; N], bytes: [u8; N]) {
    const { assert!(N.is_multiple_of(2)) };
    let (words, rest) = bytes.as_chunks::<4>();
    let first: *mut [u8; 4] = place.cast();
    for (index, word) in words.iter().enumerate() {
        // SAFETY: the caller's; the machine writes a word at any address.
        unsafe { first.add(index).cast::<u32>().write(u32::from_ne_bytes(*word)) };
    }
    if let &[one, other] = rest {
        // SAFETY: as above.
        unsafe { place.byte_add(N - 2).cast::<u16>().write(u16::from_ne_bytes([one, other])) };
    }
}
