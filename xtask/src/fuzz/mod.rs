//! `cargo xtask fuzz`: cargo-fuzz on the targets of `fuzz/`, whose bodies are in
//! `tests/src/fuzzing`.
//!
//! A run begins with the packet and manifest fixtures and with what earlier runs have found worth
//! keeping (`target/fuzz/corpus`). An input that fails is cut down and written to
//! `tests/fixtures/fuzz/TARGET/`, where ordinary tests replay it for ever. The random worlds of
//! `tests/src/worlds` are made from a seed, not from bytes: they need no fuzzer, and go on for as long.

mod toolchain;
mod worlds;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::fuzzing::{TARGETS, Target};
use anyhow::{Context, Result, bail};

use self::toolchain::FuzzToolchain;
use crate::{
    Outcome,
    process::{run as run_command, say, status},
    repository::Repository,
};

/// How long a target is run where nothing is said, in seconds.
const SECONDS: u64 = 60;

/// How much longer a failing input may be looked at to make it shorter, in runs.
const MINIMISING_RUNS: &str = "-runs=20000";

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One target: parse, decide, checksum, manifest or worlds; all of them, one after the other,
    /// where none is named.
    target: Option<String>,

    /// End each target after this many inputs.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    runs: Option<u64>,

    /// End each target after this many seconds; 60 where nothing is said.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

/// Fuzzes; the answer is no where an input has failed.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let (targets, has_worlds) = chosen(arguments.target.as_deref())?;
    let mut all_are_right = true;
    if !targets.is_empty() {
        let toolchain = toolchain::ensure(repository)?;
        let places = Places { root: repository.target().join("fuzz") };
        copy_lock_file(repository)?;
        for target in targets {
            let program = build(repository, &toolchain, &places, target)?;
            all_are_right &= fuzz(repository, &program, &places, target, arguments)?;
        }
    }
    if has_worlds {
        all_are_right &= worlds::run(repository, arguments)?;
    }
    Ok(if all_are_right { Outcome::Done } else { Outcome::Negative })
}

/// The targets of that name, and whether worlds are meant; everything where there is no name.
fn chosen(name: Option<&str>) -> Result<(Vec<Target>, bool)> {
    let is_meant = |one: &str| name.is_none_or(|name| name == one);
    let targets: Vec<Target> = TARGETS.into_iter().filter(|target| is_meant(target.name)).collect();
    let has_worlds = is_meant(worlds::NAME);
    if targets.is_empty() && !has_worlds {
        let names = TARGETS.map(|target| target.name).join(", ");
        let (name, worlds) = (name.unwrap_or_default(), worlds::NAME);
        bail!("no fuzz target is called `{name}`: there are {names}, {worlds}");
    }
    Ok((targets, has_worlds))
}

/// Builds one target; where its program is.
fn build(
    repository: &Repository,
    toolchain: &FuzzToolchain,
    places: &Places,
    target: Target,
) -> Result<PathBuf> {
    say(&format!("building {} (minutes, the first time)", target.name));
    let folder = places.root.join("build");
    let mut command = toolchain.cargo_fuzz(repository, "build");
    // AddressSanitizer stays on: it needs no more than what nightly comes with, and finds what the
    // few unsafe blocks that share memory with the kernel could do.
    command.args(["--sanitizer", "address", "--target-dir"]).arg(&folder).arg(target.name);
    if target.needs_agent {
        command.args(["--features", "agent"]);
    }
    run_command(&mut command)?;
    // cargo-fuzz names its platform in the path.
    let programs = files(&folder)?.into_iter().map(|it| it.join("release").join(target.name));
    programs
        .filter(|program| program.is_file())
        .max_by_key(|program| modified(program).ok())
        .with_context(|| format!("cargo-fuzz left no program `{}`", target.name))
}

/// Runs one target; whether every input was as it should be.
fn fuzz(
    repository: &Repository,
    program: &Path,
    places: &Places,
    target: Target,
    arguments: &Arguments,
) -> Result<bool> {
    let corpus = places.folder("corpus", target)?;
    let artifacts = places.folder("artifacts", target)?;
    for artifact in files(&artifacts)? {
        fs::remove_file(&artifact).with_context(|| format!("removing {}", artifact.display()))?;
    }
    let seeds = places.write_seeds(target)?;
    let limit = match (arguments.runs, arguments.seconds) {
        (Some(runs), _) => format!("-runs={runs}"),
        (None, seconds) => format!("-max_total_time={}", seconds.unwrap_or(SECONDS)),
    };
    say(&format!("fuzzing {} ({})", target.name, limit.trim_start_matches('-')));
    let mut command = Command::new(program);
    command.args([&corpus, &seeds]);
    if target.fixtures().is_dir() {
        command.arg(target.fixtures());
    }
    command.args([&limit, "-timeout=10", "-print_final_stats=1", "-max_len=8192"]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = repository.path(&format!("fuzz/{}.dict", target.name));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    if status(&mut command)?.success() {
        return Ok(true);
    }
    let found = files(&artifacts)?;
    if found.is_empty() {
        bail!("fuzzing {} ended without an input that fails; see above", target.name);
    }
    for artifact in found {
        let fixture = keep(program, places, target, &artifact)?;
        say(&format!(
            "FOUND an input that fails: {}; `cargo test -p tests --test fuzzing` replays it",
            fixture.display()
        ));
    }
    Ok(false)
}

/// Cuts an input down, as far as that goes, and makes it a fixture.
fn keep(program: &Path, places: &Places, target: Target, artifact: &Path) -> Result<PathBuf> {
    let shortest = places.folder("shortest", target)?.join("input");
    let mut command = Command::new(program);
    command.arg(artifact).args(["-minimize_crash=1", MINIMISING_RUNS, "-max_total_time=60"]);
    command.arg(format!("-exact_artifact_path={}", shortest.display()));
    // It reports the failures of the input by failing.
    let _ = status(&mut command)?;
    let best = if shortest.is_file() { &shortest } else { artifact };
    let content = fs::read(best).with_context(|| format!("reading {}", best.display()))?;
    let name = artifact.file_name().context("an artifact has a name")?;
    let fixture = target.fixtures().join(name);
    fs::create_dir_all(target.fixtures())
        .and_then(|()| fs::write(&fixture, content))
        .with_context(|| format!("writing {}", fixture.display()))?;
    if shortest.is_file() {
        fs::remove_file(&shortest).with_context(|| format!("removing {}", shortest.display()))?;
    }
    Ok(fixture)
}

/// The same versions of everything as in the root workspace.
fn copy_lock_file(repository: &Repository) -> Result<()> {
    let (from, to) = (repository.path("Cargo.lock"), repository.path("fuzz/Cargo.lock"));
    if to.is_file() && modified(&to)? > modified(&from)? {
        return Ok(());
    }
    fs::copy(&from, &to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn modified(path: &Path) -> Result<std::time::SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("looking at {}", path.display()))
}

/// Where a run keeps its files.
struct Places {
    root: PathBuf,
}

impl Places {
    fn folder(&self, kind: &str, target: Target) -> Result<PathBuf> {
        let folder = self.root.join(kind).join(target.name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }

    fn write_seeds(&self, target: Target) -> Result<PathBuf> {
        let folder = self.folder("seeds", target)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let path = folder.join(number.to_string());
            fs::write(&path, seed).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(folder)
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).with_context(reading)?;
    entries.map(|entry| Ok(entry.with_context(reading)?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_program() {
        let repository = Repository::find().unwrap();
        let manifest = repository.read("fuzz/Cargo.toml").unwrap();
        for target in TARGETS {
            let path = format!("fuzz_targets/{}.rs", target.name);
            assert!(manifest.contains(&format!("path = \"{path}\"")), "{path}");
            assert!(repository.read(&format!("fuzz/{path}")).unwrap().contains(target.name));
        }
    }

    #[test]
    fn a_target_that_is_not_there_is_an_error() {
        let counts = |name| chosen(name).map(|(targets, has_worlds)| (targets.len(), has_worlds));
        assert_eq!(counts(None).unwrap(), (TARGETS.len(), true));
        assert_eq!(counts(Some("parse")).unwrap(), (1, false));
        assert_eq!(counts(Some("worlds")).unwrap(), (0, true));
        let error = chosen(Some("nothing")).unwrap_err().to_string();
        assert!(error.contains("nothing") && error.contains("manifest"), "{error}");
    }

    #[test]
    fn an_input_that_is_kept_lies_where_the_tests_look() {
        let repository = Repository::find().unwrap();
        for target in TARGETS {
            assert!(target.fixtures().starts_with(repository.path("tests")));
        }
    }
}
