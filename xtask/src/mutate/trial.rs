//! The tests that are to notice: those that need neither root nor the kernel, the quickest first.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::copy::Copy;
use crate::process::cargo;

/// A mutation that makes a test run for ever is noticed after so many seconds.
const PATIENCE: &str = "120";

/// A program's exit status where `timeout` has ended it.
const TIMED_OUT: i32 = 124;

/// Some tests: what cargo is to test, and what is passed on to the tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    what: &'static [&'static str],
    /// The folder whose files these tests are beside; they are not run for others'.
    beside: Option<&'static str>,
}

/// What the tests say to a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This test fails.
    Noticed(String),
    /// None fails.
    Survived,
    /// There is nothing to test.
    DoesNotCompile(String),
}

impl Trial {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self { what: &["--package", "datapath", "--lib"], beside: Some("datapath/") },
        Self {
            what: &["--package", "userspace", "--lib", "compile::"],
            beside: Some("userspace/"),
        },
        Self { what: &["--package", "tests", "--test", "conformance"], beside: None },
        Self { what: &["--package", "tests", "--test", "program_run"], beside: Some("datapath/") },
        Self { what: &["--package", "tests", "--test", "fuzzing"], beside: Some("datapath/") },
        Self { what: &["--package", "tests", "--test", "worlds"], beside: None },
    ];

    /// Builds these tests, and runs them until one fails.
    pub(super) fn run(self, copy: &Copy) -> Result<Verdict> {
        let mut compiler = cargo(copy.root());
        self.describe(&mut compiler, copy);
        let output = compiler.arg("--no-run").output().context("starting cargo")?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            return Ok(Verdict::DoesNotCompile(errors));
        }
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", PATIENCE]).arg(compiler.get_program());
        self.describe(&mut command, copy);
        let output = command.output().context("starting cargo by `timeout`")?;
        if output.status.success() {
            return Ok(Verdict::Survived);
        }
        if output.status.code() == Some(TIMED_OUT) {
            return Ok(Verdict::Noticed("a test that does not end".to_owned()));
        }
        let test = first_failure(&String::from_utf8_lossy(&output.stdout));
        Ok(Verdict::Noticed(test.unwrap_or_else(|| "a test".to_owned())))
    }

    fn describe(self, command: &mut Command, copy: &Copy) {
        command
            .args(["test", "--quiet", "--target-dir"])
            .arg(copy.build())
            .args(self.what)
            .current_dir(copy.root())
            // What cargo has set for this program names the other copy.
            .env_remove("CARGO_MANIFEST_DIR")
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .env("CARGO_TERM_COLOR", "never")
            .env("RUST_BACKTRACE", "0")
            // That it fails is enough, however long the input.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .stdin(Stdio::null());
    }
}

/// Runs the tests that concern a file until one fails.
pub(super) fn run(copy: &Copy, file: &str) -> Result<Verdict> {
    for trial in Trial::ALL {
        if trial.beside.is_some_and(|folder| !file.starts_with(folder)) {
            continue;
        }
        match trial.run(copy)? {
            Verdict::Survived => {}
            verdict => return Ok(verdict),
        }
    }
    Ok(Verdict::Survived)
}

/// The first test that libtest says has failed.
fn first_failure(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        line.strip_prefix("---- ")?.strip_suffix(" stdout ----").map(ToOwned::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_that_fails_is_named() {
        let output =
            "running 2 tests\n.F\nfailures:\n\n---- a::b stdout ----\n\n---- c stdout ----";
        assert_eq!(first_failure(output).as_deref(), Some("a::b"));
        assert_eq!(first_failure("test result: ok. 1 passed"), None);
    }
}
