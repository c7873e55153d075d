//! SCTP's checksum, CRC32c (RFC 9260 appendix A), by its changes.
//!
//! A CRC is linear: what a change of some bytes makes of it depends on the change and on how many
//! bytes follow, not on what they are. It is the remainder of the change, a polynomial over the field
//! of two elements, times x^8 for each byte that follows. To multiply by x^(8n) takes one
//! multiplication for each bit of n.
//!
//! Polynomials are written as CRC32c has them in a register: the bit of highest value is that of x^0,
//! and a word is read from a packet with its first byte lowest.

/// Castagnoli's polynomial, without x^32.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The polynomial x^8: one byte.
const ONE_BYTE: u32 = 1 << (31 - 8);

/// How many bits the length of a packet has.
const LENGTH_BITS: usize = 16;

/// x^8, x^16, x^32 and so on: each the square of the one before.
static POWERS: [u32; LENGTH_BITS] = {
    let mut powers = [ONE_BYTE; LENGTH_BITS];
    let mut index = 1;
    while index < LENGTH_BITS {
        powers[index] = multiply(powers[index - 1], powers[index - 1]);
        index += 1;
    }
    powers
};

/// The checksum of a packet of `length` bytes, at most 65535, whose first four bytes have changed
/// from `old` to `new`. The checksum's own field counts as zeros.
#[inline(always)]
pub(crate) fn replace_first_word(
    checksum: [u8; 4],
    (old, new): ([u8; 4], [u8; 4]),
    length: u32,
) -> [u8; 4] {
    let change = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
    (u32::from_le_bytes(checksum) ^ behind(change, length)).to_le_bytes()
}

/// What a change of the first four of so many bytes makes of their CRC.
///
/// A function of its own, for a verifier to look at by itself: nothing but numbers.
#[inline(never)]
fn behind(change: u32, length: u32) -> u32 {
    let mut product = change;
    for (bit, power) in POWERS.iter().enumerate() {
        if length & (1 << bit) != 0 {
            product = multiply(product, *power);
        }
    }
    product
}

/// The product of two polynomials, modulo [`POLYNOMIAL`]. Without branches, so that there is one way
/// through it.
#[inline(always)]
const fn multiply(left: u32, right: u32) -> u32 {
    let (mut product, mut term) = (0, right);
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= term & 0_u32.wrapping_sub(left >> bit & 1);
        term = term >> 1 ^ POLYNOMIAL & 0_u32.wrapping_sub(term & 1);
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::testing::checksum::crc32c;

    #[test]
    fn the_straight_computation_is_the_standards() {
        // RFC 3720 appendix B.4, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&[0xff; 32]).to_le_bytes(), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn a_corrected_checksum_is_that_of_the_changed_bytes(
            old in any::<[u8; 4]>(),
            new in any::<[u8; 4]>(),
            rest in vec(any::<u8>(), 0..2000),
        ) {
            let checksum = |first: [u8; 4]| crc32c(&[&first[..], &rest].concat()).to_le_bytes();
            let length = u32::try_from(4 + rest.len()).unwrap();
            prop_assert_eq!(
                replace_first_word(checksum(old), (old, new), length),
                checksum(new)
            );
        }

        #[test]
        fn a_change_and_its_reverse_change_nothing(
            checksum in any::<[u8; 4]>(),
            (one, other) in any::<([u8; 4], [u8; 4])>(),
            length in 12..=u32::from(u16::MAX),
        ) {
            let there = replace_first_word(checksum, (one, other), length);
            prop_assert_eq!(replace_first_word(there, (other, one), length), checksum);
        }
    }

    #[test]
    fn the_longest_packet_is_corrected_too() {
        let mut bytes = vec![0xa5; usize::from(u16::MAX)];
        let before = crc32c(&bytes).to_le_bytes();
        bytes[..4].copy_from_slice(&[1, 2, 3, 4]);
        let corrected = replace_first_word(before, ([0xa5; 4], [1, 2, 3, 4]), u16::MAX.into());
        assert_eq!(corrected, crc32c(&bytes).to_le_bytes());
    }
}
