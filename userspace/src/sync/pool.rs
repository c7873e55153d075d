//! Numbers to give out: single ones, and runs of them. What is given back is used again only after
//! a grace period, when no packet can still be looking at what it named.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// How long a number rests after it was given back: far longer than any program runs.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Runs of numbers below a limit.
#[derive(Debug)]
pub(super) struct Pool {
    /// Free runs: end → start. No two touch. Taking a run from the front of a gap changes no key.
    free: BTreeMap<u32, u32>,
    resting: VecDeque<(Instant, Run)>,
    in_use: u32,
}

/// A run of numbers. An empty one is nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) length: u32,
}

impl Pool {
    /// Every number below `limit` is free, but for the runs in `used`, which do not overlap.
    pub(super) fn new(limit: u32, used: impl IntoIterator<Item = Run>) -> Self {
        let mut pool =
            Self { free: BTreeMap::from([(limit, 0)]), resting: VecDeque::new(), in_use: 0 };
        for run in used {
            pool.reserve(run);
        }
        pool
    }

    fn reserve(&mut self, run: Run) {
        if run.length == 0 {
            return;
        }
        let run_end = run.first + run.length;
        let Some((&end, &start)) = self.free.range(run_end..).next() else {
            return;
        };
        if run.first < start {
            return;
        }
        if run_end < end {
            self.free.insert(end, run_end);
        } else {
            self.free.remove(&end);
        }
        if start < run.first {
            self.free.insert(run.first, start);
        }
        self.in_use += run.length;
    }

    /// A run of this length, in the first gap that holds it.
    pub(super) fn take(&mut self, length: u32, now: Instant) -> Option<Run> {
        self.wake(now);
        if length == 0 {
            return Some(Run::default());
        }
        let (&end, start) = self.free.iter_mut().find(|(end, start)| **end - **start >= length)?;
        let run = Run { first: *start, length };
        *start += length;
        if *start == end {
            self.free.remove(&end);
        }
        self.in_use += length;
        Some(run)
    }

    /// Gives a run back.
    pub(super) fn give_back(&mut self, run: Run, now: Instant) {
        if run.length > 0 {
            self.in_use = self.in_use.saturating_sub(run.length);
            self.resting.push_back((now + GRACE, run));
        }
    }

    /// How many numbers are in use.
    pub(super) const fn in_use(&self) -> u32 {
        self.in_use
    }

    fn wake(&mut self, now: Instant) {
        while let Some(&(rested, run)) = self.resting.front()
            && rested <= now
        {
            self.resting.pop_front();
            self.release(run);
        }
    }

    fn release(&mut self, Run { first, length }: Run) {
        let end = first + length;
        let before = self.free.remove(&first);
        let start = before.unwrap_or(first);
        // The gap that begins where this one ends, if there is one, is the next by its end.
        match self.free.range_mut(end..).next() {
            Some((_, after)) if *after == end => *after = start,
            _ => {
                self.free.insert(end, start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_is_not_given_out_again_before_its_grace_period() {
        let start = Instant::now();
        let mut pool = Pool::new(4, []);
        let run = pool.take(4, start).unwrap();
        pool.give_back(run, start);
        assert_eq!(pool.take(1, start), None);
        assert_eq!(pool.take(4, start + GRACE), Some(run));
    }

    #[test]
    fn what_is_used_at_the_start_is_not_given_out() {
        let used = [Run { first: 2, length: 3 }, Run { first: 7, length: 1 }];
        let mut pool = Pool::new(9, used);
        let now = Instant::now();
        assert_eq!(pool.in_use(), 4);
        assert_eq!(pool.take(2, now), Some(Run { first: 0, length: 2 }));
        assert_eq!(pool.take(2, now), Some(Run { first: 5, length: 2 }));
        assert_eq!(pool.take(2, now), None);
        assert_eq!(pool.take(1, now), Some(Run { first: 8, length: 1 }));
    }

    proptest! {
        #[test]
        fn runs_in_use_never_overlap_and_all_come_back(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..20, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut now = Instant::now();
            let mut pool = Pool::new(64, []);
            let mut held: Vec<Run> = Vec::new();
            for (take, length, index) in steps {
                now += Duration::from_millis(300);
                if take || held.is_empty() {
                    if let Some(run) = pool.take(length, now) {
                        for other in &held {
                            let apart = run.length == 0
                                || other.length == 0
                                || run.first + run.length <= other.first
                                || other.first + other.length <= run.first;
                            prop_assert!(apart, "{run:?} overlaps {other:?}");
                        }
                        prop_assert!(run.first + run.length <= 64);
                        held.push(run);
                    }
                } else {
                    let run = held.swap_remove(index.index(held.len()));
                    pool.give_back(run, now);
                }
            }
            for run in held {
                pool.give_back(run, now);
            }
            prop_assert_eq!(pool.in_use(), 0);
            prop_assert_eq!(pool.take(64, now + GRACE), Some(Run { first: 0, length: 64 }));
        }
    }
}
