//! What the rounds' ratios say together, and how sure that is.
//!
//! The median, because a busy moment of the machine shows as a few ratios far off. Its interval is
//! that of the percentile bootstrap: medians of as many ratios drawn with replacement, of which the
//! middle 95 in a hundred count. The draws are the same each time.

use serde::{Deserialize, Serialize};

/// How often is drawn.
const DRAWS: usize = 2000;
/// Where the draws begin.
const SEED: u64 = 7;
/// So many rounds are few: an interval of fewer is too narrow.
pub(super) const FEW: usize = 5;

/// An estimate with its interval, to a confidence of 95 in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Interval {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) rounds: usize,
}

/// How a ratio lies to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Above,
    Below,
    /// One is inside the interval: there is no difference that could be seen.
    Within,
}

impl Interval {
    /// Of values, of which there is at least one.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut medians: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let drawn = values.iter().filter_map(|_| random.choice(values));
                median(&mut drawn.copied().collect::<Vec<_>>())
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |part: usize| medians.get(DRAWS * part / 1000).copied().unwrap_or(f64::NAN);
        Some(Self {
            median: median(&mut values.to_vec()),
            low: at(25),
            high: at(975),
            rounds: values.len(),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        if self.low > 1.0 {
            Standing::Above
        } else if self.high < 1.0 {
            Standing::Below
        } else {
            Standing::Within
        }
    }
}

/// The middle one of some values, which are put in order.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle)) {
        (1, Some(value)) => *value,
        (0, Some(above)) => {
            f64::midpoint(values.get(middle - 1).copied().unwrap_or(*above), *above)
        }
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_is_narrower_than_the_values() {
        let values: Vec<f64> = (0..21).map(|number| 0.9 + f64::from(number) * 0.01).collect();
        let interval = Interval::of(&values).unwrap();
        assert!((interval.median - 1.0).abs() < 1e-9, "{interval:?}");
        assert!(0.9 < interval.low && interval.low < 1.0, "{interval:?}");
        assert!(1.0 < interval.high && interval.high < 1.1, "{interval:?}");
        assert_eq!(interval.standing(), Standing::Within);
    }

    #[test]
    fn one_round_far_off_moves_nothing() {
        let mut values = vec![0.95; 12];
        values.push(0.1);
        let interval = Interval::of(&values).unwrap();
        assert_eq!((interval.low, interval.high), (0.95, 0.95));
        assert_eq!(interval.standing(), Standing::Below);
    }

    #[test]
    fn without_values_there_is_no_interval() {
        assert_eq!(Interval::of(&[]), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two() {
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
