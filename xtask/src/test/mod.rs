//! `cargo xtask test`: build, then every test, then a part of them on other kernels.
//!
//! Tests that need root are marked `#[ignore = "needs root"]`, so that a plain `cargo test` never
//! makes a namespace; as root, this verb runs them too. cargo-nextest is used where it is
//! installed, and is never installed: building it takes longer than all the tests.

mod counts;
mod summary;

use std::process::Command;

use anyhow::Result;

use self::{counts::Counts, summary::Summary};
use crate::{
    Outcome, build,
    process::{answer, cargo, is_root, run_observed, say},
    repository::Repository,
    setup, vm,
};

/// The crates whose tests run without root (those of their tests that need root apart).
const PACKAGES: [&str; 4] = ["maps-schema", "datapath", "userspace", "xtask"];

/// The crate whose tests load programs and make namespaces, all of them.
const ROOT_PACKAGE: &str = "tests";

/// All crates with tests that root runs.
pub(crate) fn all_packages() -> impl Iterator<Item = &'static str> {
    PACKAGES.into_iter().chain([ROOT_PACKAGE])
}

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run none of them on other kernels, in virtual machines.
    #[arg(long)]
    no_vm: bool,
    /// Run only the tests whose name contains one of these.
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// Which program runs the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    Nextest,
    Libtest,
}

/// Builds, runs the tests, and prints how many passed.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let root = is_root();
    let artifacts = match build::everything(repository) {
        Ok(artifacts) => Some(artifacts),
        // Without the eBPF toolchain an ordinary user can still run what does not load programs.
        Err(error) if !root => {
            say(&format!("NOT BUILT: {error:#}"));
            None
        }
        Err(error) => return Err(error),
    };
    setup::test_tools()?;
    if !root {
        say(&format!(
            "SKIPPED, for want of root: every test of `{ROOT_PACKAGE}`, and those marked \"needs root\""
        ));
    }

    let runner = runner();
    let mut command = test_command(repository, runner, root, &arguments.filters);
    if let Some(artifacts) = &artifacts {
        artifacts.pass_on(&mut command);
    }
    let counts = Counts::expect_at(&repository.target())?;
    counts.pass_on(&mut command);
    let mut summary = Summary::default();
    let status = run_observed(&mut command, |line| summary.observe(line))?;

    // A filter that matches nothing is a mistake, and no proof of anything.
    let passed = status.success() && summary.ran_any();
    let verdict = match (passed, status.success()) {
        (true, _) => "ok",
        (false, true) => "FAILED, none has that name",
        (false, false) => "FAILED",
    };
    counts.show()?;
    say(&format!("tests {verdict}: {summary}"));
    if !root {
        say(&format!("the tests of `{ROOT_PACKAGE}` were not run; run `cargo xtask test` as root"));
    }
    if !passed {
        return Ok(Outcome::Negative);
    }
    if !root || arguments.no_vm || !arguments.filters.is_empty() {
        return Ok(Outcome::Done);
    }
    vm::run_tests_of_every_run(repository)
}

fn runner() -> Runner {
    match answer("cargo-nextest", ["nextest", "--version"]) {
        Some(_) => Runner::Nextest,
        None => Runner::Libtest,
    }
}

fn test_command(
    repository: &Repository,
    runner: Runner,
    root: bool,
    filters: &[String],
) -> Command {
    let mut command = cargo(repository.root());
    match runner {
        Runner::Nextest => command.args(["nextest", "run", "--no-tests=pass"]),
        Runner::Libtest => command.arg("test"),
    };
    command.arg("--no-fail-fast").arg("--target-dir").arg(repository.target());
    for package in PACKAGES.into_iter().chain(root.then_some(ROOT_PACKAGE)) {
        command.args(["--package", package]);
    }
    match runner {
        Runner::Nextest if root => command.args(["--run-ignored", "all"]),
        _ => &mut command,
    };
    command.arg("--");
    if runner == Runner::Libtest && root {
        command.arg("--include-ignored");
    }
    command.args(filters);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(runner: Runner, root: bool) -> Vec<String> {
        let repository = Repository::find().unwrap();
        let command = test_command(&repository, runner, root, &["name".to_owned()]);
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn only_root_runs_the_tests_that_need_it() {
        for runner in [Runner::Nextest, Runner::Libtest] {
            let has = |root: bool, word: &str| words(runner, root).contains(&word.to_owned());
            assert!(has(true, ROOT_PACKAGE) && !has(false, ROOT_PACKAGE));
        }
        assert!(words(Runner::Libtest, true).contains(&"--include-ignored".to_owned()));
        assert!(!words(Runner::Libtest, false).contains(&"--include-ignored".to_owned()));
        assert!(words(Runner::Nextest, true).contains(&"--run-ignored".to_owned()));
        assert!(!words(Runner::Nextest, false).contains(&"--run-ignored".to_owned()));
    }

    #[test]
    fn a_filter_is_the_last_word() {
        for runner in [Runner::Nextest, Runner::Libtest] {
            assert_eq!(words(runner, true).last().unwrap(), "name");
        }
    }
}
