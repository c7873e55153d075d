//! Many worlds, one after the other; the first on which there is disagreement is made smaller, and
//! kept.

use std::{
    cell::{Cell, RefCell},
    env, fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proptest::{
    strategy::Strategy as _,
    test_runner::{
        Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner,
    },
};

use super::{Judge, Seen, World, any_world};

/// How many packets a world has at most; half of it on average.
const PACKETS: usize = 400;

/// How often a world is made smaller at most.
const SHRINKING: u32 = 600;

/// How much is to be run, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many packets each machine is to see at least.
    pub cases: u64,
    /// How long it is to go on instead, where that is said.
    pub time: Option<Duration>,
    /// What all is made from.
    pub seed: u64,
}

impl Limits {
    /// `SHUNT_WORLDS_CASES`, `SHUNT_WORLDS_SECONDS` and `SHUNT_WORLDS_SEED`; where they are not set, so
    /// many cases, and a seed that is another each time.
    ///
    /// # Panics
    ///
    /// One of them is no number.
    pub fn from_environment(cases: u64) -> Self {
        let number = |name: &str| {
            env::var(name).ok().map(|text| {
                text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}"))
            })
        };
        let by_time = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |since| u64::from(since.subsec_nanos()) << 20 ^ since.as_secs())
        };
        Self {
            cases: number("SHUNT_WORLDS_CASES").unwrap_or(cases),
            time: number("SHUNT_WORLDS_SECONDS").map(Duration::from_secs),
            seed: number("SHUNT_WORLDS_SEED").unwrap_or_else(by_time),
        }
    }

    /// Longer than it takes on a busy machine.
    pub fn patience(&self) -> Duration {
        self.time.unwrap_or(Duration::from_secs(self.cases / 500)) + Duration::from_mins(3)
    }

    fn are_reached(&self, packets: u64, begun: Instant) -> bool {
        self.time.map_or(packets >= self.cases, |time| begun.elapsed() >= time)
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many worlds.
    pub worlds: u64,
    /// What was seen in them.
    pub seen: Seen,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} cases in {} worlds:", self.seen.packets, self.worlds)?;
        for (word, count) in &self.seen.outcomes {
            write!(formatter, " {count} {word},")?;
        }
        let skipped: u64 = self.seen.skipped.values().sum();
        write!(formatter, " {skipped} not shown")?;
        for (reason, count) in &self.seen.skipped {
            write!(formatter, "; {count} {reason}")?;
        }
        Ok(())
    }
}

/// Shows worlds to the judge until there were enough cases.
///
/// # Panics
///
/// There is a disagreement: with the smallest world that shows it, which is kept in [`folder`].
pub fn run(judge: &mut Judge, limits: Limits) -> Outcome {
    let (seed, begun) = (limits.seed, Instant::now());
    eprintln!("worlds from SHUNT_WORLDS_SEED={seed}");
    let mut seeds = [0; 32];
    seeds[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        max_shrink_iters: SHRINKING,
        failure_persistence: None::<Box<FileFailurePersistence>>.map(|it| it as _),
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seeds);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = RefCell::new(Outcome { worlds: 0, seen: Seen::default() });
    let judge = RefCell::new(judge);
    let failed = Cell::new(false);
    let strategy = any_world(PACKETS);
    while !limits.are_reached(outcome.borrow().seen.packets, begun) {
        let tree = strategy.new_tree(&mut runner).unwrap_or_else(|reason| panic!("{reason}"));
        let result = runner.run_one(tree, |world| {
            let mut outcome = outcome.borrow_mut();
            let outcome = &mut *outcome;
            outcome.worlds += 1;
            let mut judge = judge.borrow_mut();
            agree(&mut judge, &world, &mut outcome.seen).map_err(|reason| {
                if !failed.replace(true) {
                    eprintln!("{reason}\nlooking for a smaller world");
                }
                TestCaseError::fail(reason)
            })
        });
        match result {
            Ok(_) => {}
            Err(TestError::Abort(reason)) => panic!("no world could be made: {reason}"),
            Err(TestError::Fail(reason, world)) => {
                let path = keep(&world, seed);
                panic!("seed {seed}: {reason}\n{} has the world", path.display());
            }
        }
    }
    outcome.into_inner()
}

/// A machine that panics disagrees, too.
fn agree(judge: &mut Judge, world: &World, seen: &mut Seen) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| judge.agree(world, seen))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("it panicked: {}", text.unwrap_or_default()))
    })
}

/// Where worlds are kept on which there was disagreement.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/found")
}

fn keep(world: &World, seed: u64) -> PathBuf {
    let path = folder().join(format!("{seed}.yaml"));
    let text = serde_yaml_ng::to_string(world).expect("a world can be written");
    fs::create_dir_all(folder()).and_then(|()| fs::write(&path, text)).expect("a file is written");
    path
}

/// The worlds on which there once was disagreement, by their files' names.
///
/// # Errors
///
/// A file cannot be read, or is no world.
pub fn found() -> io::Result<Vec<(String, World)>> {
    if !folder().is_dir() {
        return Ok(Vec::new());
    }
    let mut worlds = Vec::new();
    for entry in fs::read_dir(folder())? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        let world = serde_yaml_ng::from_str(&text).map_err(io::Error::other)?;
        worlds.push((entry.file_name().to_string_lossy().into_owned(), world));
    }
    worlds.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(worlds)
}
