//! All contenders, built at once by as many builders as there are processors.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use ::tests::contenders::{Contender, Setup, World};
use anyhow::{Result, anyhow};

use super::names;
use crate::{interrupt, process::say};

/// How many are built at the same time.
const BUILDERS: usize = 2;

/// What stands, by what it is.
pub(super) type Worlds = BTreeMap<Setup, World>;

/// Builds all of these, those first that take longest; and why some could not be built.
pub(super) fn build(mut setups: Vec<Setup>) -> Result<(Worlds, Vec<String>)> {
    // Of one size, the rules that are loaded by nftables take longest.
    let rank = |contender| Contender::ALL.iter().rev().position(|it| *it == contender);
    setups.sort_by_key(|setup| (std::cmp::Reverse(setup.services), rank(setup.contender)));
    let begun = Instant::now();
    let queue = Mutex::new(VecDeque::from(setups));
    let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let build_some = || -> Result<(Worlds, Vec<String>)> {
        let (mut built, mut failed) = (Worlds::new(), Vec::new());
        while let Some(setup) = take() {
            interrupt::check()?;
            let world = match World::build(setup) {
                Ok(world) => world,
                Err(reason) => {
                    say(&reason);
                    failed.push(reason);
                    continue;
                }
            };
            say(&format!(
                "{:>4.0} s: {} stands, loaded in {:.1} s",
                begun.elapsed().as_secs_f64(),
                names::of(setup),
                world.took().as_secs_f64()
            ));
            built.insert(setup, world);
        }
        Ok((built, failed))
    };
    thread::scope(|scope| {
        let builders: Vec<_> = (0..BUILDERS).map(|_| scope.spawn(build_some)).collect();
        let (mut all, mut failures) = (Worlds::new(), Vec::new());
        for builder in builders {
            let (built, failed) = builder.join().map_err(|_| anyhow!("building panicked"))??;
            all.extend(built);
            failures.extend(failed);
        }
        Ok((all, failures))
    })
}
