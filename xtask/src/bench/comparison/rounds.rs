//! The rounds: in each, every group's contenders one after the other, in an order of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ::tests::load::processors::Processors;

use super::{
    metric::Metric,
    names,
    plan::{Group, Path, Plan, Workload},
    sample,
    worlds::Worlds,
};
use crate::{interrupt, process::say};

/// Which figure of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) path: Path,
    pub(super) workload: Workload,
    pub(super) metric: Metric,
    pub(super) setup: ::tests::contenders::Setup,
}

/// What was measured: for each figure, its value by round.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) values: BTreeMap<Key, BTreeMap<usize, f64>>,
    /// Samples that could not be taken, or whose packets went another way; none of them counts.
    pub(super) failures: Vec<String>,
    /// How many rounds came to their end.
    pub(super) rounds: usize,
}

/// Plays the rounds, until a signal comes.
pub(super) fn play(plan: &Plan, worlds: &Worlds, processors: Processors) -> Measured {
    let mut measured = Measured::default();
    let mut random = fastrand::Rng::with_seed(1);
    let (begun, all) = (Instant::now(), plan.samples());
    let mut taken = 0;
    for round in 0..plan.rounds {
        let mut groups = plan.of_round(round);
        random.shuffle(&mut groups);
        for group in groups {
            say(&format!(
                "round {} of {}, {}: {}",
                round + 1,
                plan.rounds,
                remaining(begun.elapsed(), taken, all),
                group.name(),
            ));
            let mut setups = group.setups();
            random.shuffle(&mut setups);
            for setup in setups {
                if interrupt::came() {
                    return measured;
                }
                taken += 1;
                if let Some(world) = worlds.get(&setup) {
                    let figures =
                        sample::take(world, group.path, group.workload, plan.sample, processors);
                    measured.note(&group, setup, round, figures);
                }
            }
        }
        measured.rounds = round + 1;
    }
    measured
}

impl Measured {
    fn note(
        &mut self,
        group: &Group,
        setup: ::tests::contenders::Setup,
        round: usize,
        figures: anyhow::Result<sample::Figures>,
    ) {
        let Group { path, workload, .. } = *group;
        match figures {
            Ok(figures) => {
                for (metric, value) in figures {
                    let key = Key { path, workload, metric, setup };
                    self.values.entry(key).or_default().insert(round, value);
                }
            }
            Err(reason) => {
                let failure = format!(
                    "round {}: {}, {}, {}: {reason:#}",
                    round + 1,
                    path.name(),
                    workload.name(),
                    names::of(setup)
                );
                say(&format!("NOT COUNTED: {failure}"));
                self.failures.push(failure);
            }
        }
    }
}

/// About how long it still takes, in words.
fn remaining(passed: Duration, taken: usize, all: usize) -> String {
    let (Ok(taken), Ok(left)) = (u32::try_from(taken), u32::try_from(all.saturating_sub(taken)))
    else {
        return String::new();
    };
    if taken == 0 {
        return format!("{all} samples");
    }
    let seconds = (passed / taken * left).as_secs();
    format!("{}:{:02} min left", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_taken() {
        assert_eq!(remaining(Duration::from_secs(30), 10, 40), "1:30 min left");
        assert_eq!(remaining(Duration::ZERO, 0, 40), "40 samples");
    }
}
