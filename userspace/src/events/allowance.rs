//! How much may be said.

use std::time::{Duration, Instant};

/// What may be said at once.
const MOST: u32 = 25;
/// How long it takes until one more may be said.
const ONE_MORE: Duration = Duration::from_secs(10);

/// What is left to say: [`MOST`] at first, and one more for each [`ONE_MORE`] that passes.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// When what passes counts from.
    counted: Instant,
}

impl Allowance {
    pub(super) const fn new(now: Instant) -> Self {
        Self { left: MOST, counted: now }
    }

    /// Takes one, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < MOST && now.saturating_duration_since(self.counted) >= ONE_MORE {
            self.left += 1;
            self.counted += ONE_MORE;
        }
        if self.left == MOST {
            self.counted = now;
        }
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_short_and_what_is_rare_is_said() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(begun);
        let said = (0..1000).filter(|_| allowance.take(begun)).count();
        assert_eq!(said, 25);
        assert!(!allowance.take(begun + Duration::from_secs(9)));
        assert!(allowance.take(begun + Duration::from_secs(10)));
        assert!(!allowance.take(begun + Duration::from_secs(11)));
        let an_hour = begun + Duration::from_hours(1);
        assert_eq!((0..1000).filter(|_| allowance.take(an_hour)).count(), 25);
        // Time that passes while nothing is to be said is not saved up.
        let all_day = (0..100).map(|hour| an_hour + Duration::from_hours(hour + 1));
        assert!(all_day.into_iter().all(|now| allowance.take(now)));
    }
}
