//! Maglev tables (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4): which of a service's backends a flow from the outside goes to, the same
//! on every node that knows the same backends. Pure.
//!
//! Backends take turns in choosing a slot, each in an order of its own that follows from its
//! address and port: so each has the same number of slots but for one, and when one goes or comes,
//! few slots change hands beside its own.
//!
//! Tables are small: 32 slots and more for each of up to 16 backends, 16 and more where there are
//! more of them. A backend that goes or comes then moves, beside its own share, one slot in twenty;
//! and half of all where their number passes a power of two, as the size changes. That concerns
//! flows that at the same time come in by another node, as each node remembers its own.

use std::net::{IpAddr, SocketAddr};

/// The most bits that a service's record has room for, and far more than the slots hold.
const MAX_BITS: u32 = 24;

/// The binary logarithm of the size of a table for so many backends; 0 where none is needed.
pub(super) fn bits(backends: usize) -> u32 {
    let factor = match backends {
        0 | 1 => return 0,
        2..=16 => 5,
        _ => 4,
    };
    (backends.next_power_of_two().ilog2() + factor).min(MAX_BITS)
}

/// How many slots a table has.
pub(super) const fn size(bits: u32) -> u32 {
    if bits == 0 { 0 } else { 1 << bits }
}

/// The table of this size: of each slot, which of the backends it names. The backends are sorted,
/// each once.
pub(super) fn table(backends: &[SocketAddr], bits: u32) -> Vec<u32> {
    if bits == 0 || backends.is_empty() {
        return Vec::new();
    }
    let size = size(bits);
    let mut orders: Vec<Order> = backends.iter().map(|&backend| Order::of(backend)).collect();
    let mut table = vec![None; size as usize];
    let mut left = size;
    while left > 0 {
        for (backend, order) in (0..).zip(&mut orders) {
            // There is a free slot, and an order visits every slot.
            let free = std::iter::repeat_with(|| order.next(size))
                .find(|&slot| table.get(slot as usize).is_some_and(Option::is_none));
            if let Some(place) = free.and_then(|slot| table.get_mut(slot as usize)) {
                *place = Some(backend);
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// The order in which a backend chooses slots: the values of a polynomial `first + a·turn + b·turn²`
/// with odd `a` and even `b`, which visits every slot once, as their number is a power of two
/// (Rivest, "Permutation Polynomials Modulo 2^w", 2001). With the paper's own orders, which are
/// such with `b = 0`, two backends whose steps are multiples of each other meet again and again,
/// and one of them that goes moves up to a quarter of all slots.
struct Order {
    first: u32,
    a: u32,
    b: u32,
    turn: u32,
}

impl Order {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a hash")]
    fn of(backend: SocketAddr) -> Self {
        let (high, low) = match backend.ip() {
            IpAddr::V4(address) => (4, u64::from(u32::from(address))),
            IpAddr::V6(address) => {
                let number = u128::from(address);
                ((number >> 64) as u64, number as u64)
            }
        };
        let hash = mix(mix(mix(high) ^ low) ^ u64::from(backend.port()));
        let (first, rest) = (hash as u32, mix(hash));
        Self { first, a: rest as u32 | 1, b: (rest >> 32) as u32 & !1, turn: 0 }
    }

    const fn next(&mut self, size: u32) -> u32 {
        let Self { first, a, b, turn } = *self;
        self.turn = turn.wrapping_add(1);
        first.wrapping_add(b.wrapping_mul(turn).wrapping_add(a).wrapping_mul(turn)) & (size - 1)
    }
}

/// `SplitMix64`'s finisher (Steele, Lea, Flood, OOPSLA 2014).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn backends() -> impl Strategy<Value = Vec<SocketAddr>> {
        let v4 = (any::<[u8; 2]>(), 1_u16..4)
            .prop_map(|([a, b], port)| SocketAddr::from(([10, 244, a, b], port)));
        let v6 = (any::<u16>(), 1_u16..4)
            .prop_map(|(it, port)| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, it], port)));
        let set = |one: BoxedStrategy<SocketAddr>| proptest::collection::btree_set(one, 2..200);
        prop_oneof![set(v4.boxed()), set(v6.boxed())]
            .prop_map(|set: BTreeSet<_>| set.into_iter().collect())
    }

    /// The backend of each slot.
    fn chosen(backends: &[SocketAddr], bits: u32) -> Vec<SocketAddr> {
        table(backends, bits).into_iter().map(|index| backends[index as usize]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn every_slot_names_a_backend_and_each_backend_has_its_share(backends in backends()) {
            let bits = bits(backends.len());
            let table = table(&backends, bits);
            prop_assert_eq!(table.len(), size(bits) as usize);
            let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
            for index in table {
                *shares.entry(index).or_default() += 1;
            }
            prop_assert_eq!(shares.len(), backends.len());
            let (most, least) = (shares.values().max().unwrap(), shares.values().min().unwrap());
            prop_assert!(most - least <= 1 && *least >= 16, "{} to {}", least, most);
        }

        #[test]
        fn the_table_follows_from_the_backends_alone(
            backends in backends(),
            others in proptest::collection::vec(any::<u16>(), 0..5),
        ) {
            let bits = bits(backends.len());
            let before = chosen(&backends, bits);
            // Whatever was computed in between, and wherever the list came from.
            let _ = others.into_iter().map(|it| table(&[SocketAddr::from(([10, 0, 0, 1], it))], 5));
            let again: BTreeSet<SocketAddr> = backends.iter().rev().copied().collect();
            let again: Vec<SocketAddr> = again.into_iter().collect();
            prop_assert_eq!(before, chosen(&again, bits));
        }
    }

    /// Which part of all slots changes hands when one of so many backends goes, or comes again, and
    /// the size stays, beyond its own: of each of them, and of all on average.
    fn moved(count: u8) -> (Vec<f64>, f64) {
        let all: Vec<SocketAddr> =
            (0..count).map(|it| SocketAddr::from(([10, 244, 1, it], 8080))).collect();
        let bits = bits(all.len());
        let before = chosen(&all, bits);
        let moved: Vec<f64> = all
            .iter()
            .map(|gone| {
                let rest: Vec<_> = all.iter().filter(|it| *it != gone).copied().collect();
                let after = chosen(&rest, bits);
                let pairs = before.iter().zip(&after);
                let moved = pairs.filter(|(before, after)| before != after).count();
                f64::from(u32::try_from(moved).unwrap()) / f64::from(size(bits))
                    - 1.0 / f64::from(count)
            })
            .collect();
        let average = moved.iter().sum::<f64>() / f64::from(count);
        (moved, average)
    }

    #[test]
    fn a_backend_that_goes_or_comes_moves_little_more_than_its_own_share() {
        for count in [2, 3, 4, 6, 8, 10, 16, 20, 32, 40, 64, 100, 128, 200] {
            let (moved, average) = moved(count);
            let most = moved.iter().copied().fold(0.0, f64::max);
            assert!(average <= 0.07, "{count}: on average {average}");
            assert!(most <= 0.12, "{count}: at most {most}");
        }
    }

    #[test]
    fn sizes_are_as_the_paths_of_packets_expect() {
        let table =
            [(0, 0), (1, 0), (2, 6), (3, 7), (16, 9), (17, 9), (32, 9), (33, 10), (100, 11)];
        for (count, expected) in table {
            assert_eq!(bits(count), expected, "{count}");
        }
        assert_eq!(size(0), 0);
        assert_eq!(size(6), 64);
    }
}
