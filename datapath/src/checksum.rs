//! The internet checksum (RFC 1071), mostly by its changes (RFC 1624).
//!
//! Words are summed as they lie in memory. The sum of 16-bit words in ones' complement does not
//! depend on byte order, as long as the result is written back the same way, so nothing is ever
//! swapped; and 32-bit words may be summed in place of pairs of 16-bit ones.

use maps_schema::address::{Address, Port};

/// A sum, or a difference of sums, of words as they lie in memory. Folding is left to the end: a
/// `u64` holds the carries of four billion words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumDelta(u64);

impl ChecksumDelta {
    /// No change.
    pub const ZERO: Self = Self(0);

    /// Replaces an address.
    #[inline(always)]
    #[must_use]
    pub fn replace_address<A: Address>(self, old: A, new: A) -> Self {
        Self(self.0 + new.word_sum() + u64::from(!fold_to_u32(old.word_sum())))
    }

    /// Replaces a port.
    #[inline(always)]
    #[must_use]
    pub fn replace_port(self, old: Port, new: Port) -> Self {
        self.replace(old.bytes(), new.bytes())
    }

    /// Replaces any other 16-bit word.
    #[inline(always)]
    #[must_use]
    pub fn replace(self, old: [u8; 2], new: [u8; 2]) -> Self {
        self.add_word(new).add_word((!u16::from_ne_bytes(old)).to_ne_bytes())
    }

    /// Adds a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub fn add_word(self, word: [u8; 2]) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(word)))
    }

    /// Adds an address.
    #[inline(always)]
    #[must_use]
    pub fn add_address<A: Address>(self, address: A) -> Self {
        Self(self.0 + address.word_sum())
    }

    /// Adds an even number of bytes.
    #[inline(always)]
    #[must_use]
    pub fn add_bytes<const N: usize>(self, bytes: [u8; N]) -> Self {
        const { assert!(N.is_multiple_of(2), "words have two bytes") };
        let mut sum = self;
        let (words, _) = bytes.as_chunks::<2>();
        for &word in words {
            sum = sum.add_word(word);
        }
        sum
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum in 32 bits, as the kernel's checksum helpers take it (`__wsum`).
    #[inline(always)]
    pub fn to_wsum(self) -> u32 {
        fold_to_u32(self.0)
    }

    /// Corrects a finished checksum for this change.
    #[inline(always)]
    pub fn correct(self, checksum: [u8; 2]) -> [u8; 2] {
        let sum = self.0 + u64::from(!u16::from_ne_bytes(checksum));
        (!fold_to_u16(sum)).to_ne_bytes()
    }

    /// Corrects a bare sum (the pseudo header's, in the checksum field of an offloaded packet) for
    /// this change.
    #[inline(always)]
    pub fn correct_sum(self, sum: [u8; 2]) -> [u8; 2] {
        fold_to_u16(self.0 + u64::from(u16::from_ne_bytes(sum))).to_ne_bytes()
    }

    /// The sum of everything that was added, as the field of an offloaded packet holds that of the
    /// pseudo header.
    #[inline(always)]
    pub fn sum(self) -> [u8; 2] {
        fold_to_u16(self.0).to_ne_bytes()
    }

    /// The checksum of everything that was added.
    #[inline(always)]
    pub fn finish(self) -> [u8; 2] {
        (!fold_to_u16(self.0)).to_ne_bytes()
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the carries are folded in twice: 32 bits hold the rest"
)]
fn fold_to_u32(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the carries are folded in twice: 16 bits hold the rest"
)]
fn fold_to_u16(sum: u64) -> u16 {
    let sum = fold_to_u32(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
