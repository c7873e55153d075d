//! How long to wait before an API server that does not answer is asked again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// At most so long: what has changed during an outage is to be in force within a second of its end.
const LONGEST: u64 = 700;
/// At least so long.
const SHORTEST: u64 = 100;

/// Longer with each failure, and not the same for all watches and nodes, up to [`LONGEST`].
///
/// One success is none: a watcher that begins a list says so before it has asked for it.
#[derive(Debug)]
pub(super) struct Patience {
    failures: u32,
    successes: u32,
    random: u64,
}

impl Patience {
    /// Nothing has failed yet. What is random comes from `seed`.
    pub(super) const fn new(seed: u64) -> Self {
        Self { failures: 0, successes: 0, random: seed | 1 }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Xorshift (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let longest = LONGEST.min(SHORTEST << self.failures.min(3));
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        Some(Duration::from_millis(longest / 2 + self.random % (longest / 2)))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.successes = self.successes.saturating_add(1);
        if self.successes > 1 {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_get_longer_and_stay_below_the_longest() {
        for seed in 0..100 {
            let mut patience = Patience::new(seed);
            let waits: Vec<Duration> = patience.by_ref().take(50).collect();
            assert!(waits[0] <= Duration::from_millis(SHORTEST));
            assert!(waits[10..].iter().all(|wait| {
                (Duration::from_millis(LONGEST / 2)..Duration::from_millis(LONGEST)).contains(wait)
            }));
            patience.reset();
            assert!(patience.next().unwrap() >= Duration::from_millis(LONGEST / 2));
            patience.reset();
            patience.reset();
            assert!(patience.next().unwrap() <= Duration::from_millis(SHORTEST));
        }
    }
}
