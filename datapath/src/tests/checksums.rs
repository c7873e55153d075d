//! Corrections equal recomputation.

use maps_schema::address::{Ipv4Wire, Ipv6Wire, Port};
use proptest::prelude::*;

use crate::{
    checksum::ChecksumDelta,
    testing::checksum::{internet_checksum, internet_sum},
};

/// One's complement has two zeros: a sum of nothing but zeros is 0x0000, any other sum that is zero
/// is 0xffff.
fn same_sum(one: u16, other: u16) -> bool {
    one == other || (one == 0 && other == 0xffff) || (one == 0xffff && other == 0)
}

proptest! {
    #[test]
    fn a_finished_sum_is_the_checksum_of_the_bytes(bytes in any::<[u8; 40]>()) {
        let finished = ChecksumDelta::ZERO.add_bytes(bytes).finish();
        prop_assert_eq!(u16::from_be_bytes(finished), internet_checksum(&bytes));
    }

    #[test]
    fn a_corrected_checksum_is_that_of_the_changed_bytes(
        rest in any::<[u8; 8]>(),
        old in any::<([u8; 4], [u8; 16], [u8; 2])>(),
        new in any::<([u8; 4], [u8; 16], [u8; 2])>(),
    ) {
        let bytes = |(v4, v6, port): ([u8; 4], [u8; 16], [u8; 2])| {
            [&[0x45, 0][..], &v4, &v6, &port, &rest].concat()
        };
        let delta = ChecksumDelta::ZERO
            .replace_address(Ipv4Wire::from_bytes(old.0), Ipv4Wire::from_bytes(new.0))
            .replace_address(Ipv6Wire::from_bytes(old.1), Ipv6Wire::from_bytes(new.1))
            .replace_port(Port::from_bytes(old.2), Port::from_bytes(new.2));
        let before = internet_checksum(&bytes(old));
        let after = internet_checksum(&bytes(new));
        prop_assert_eq!(u16::from_be_bytes(delta.correct(before.to_be_bytes())), after);
        let sum = u16::from_be_bytes(delta.correct_sum(internet_sum(&bytes(old)).to_be_bytes()));
        prop_assert!(same_sum(sum, internet_sum(&bytes(new))));
    }

    #[test]
    fn a_change_and_its_reverse_change_nothing(
        one in any::<[u8; 16]>(),
        other in any::<[u8; 16]>(),
        checksum in 1..=u16::MAX - 1,
    ) {
        let (one, other) = (Ipv6Wire::from_bytes(one), Ipv6Wire::from_bytes(other));
        let there = ChecksumDelta::ZERO.replace_address(one, other);
        let back = ChecksumDelta::ZERO.replace_address(other, one);
        let corrected = back.correct(there.correct(checksum.to_be_bytes()));
        prop_assert_eq!(corrected, checksum.to_be_bytes());
    }
}
