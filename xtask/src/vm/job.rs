//! What a virtual machine is asked to do, and what it says of it: files that both sides read.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where the request is, inside.
pub(super) const JOB: &str = "/job.json";

/// The serial port that the answer goes to, inside; the first one is the console.
pub(super) const ANSWER: &str = "/dev/ttyS1";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Variables of all programs that are started.
    pub(super) environment: BTreeMap<String, String>,
    /// The folder that they are started in.
    pub(super) folder: PathBuf,
    /// What is started.
    pub(super) work: Work,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    /// A shell at the console.
    Shell,
    /// `shunt check`, and tests.
    Tests(Tests),
    /// A program with its arguments, for its output and the files that it leaves.
    Program(Vec<String>),
}

/// Tests, and what they are tests of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tests {
    /// How TC programs are attached, as `shunt check` has to say.
    pub(super) tc: String,
    /// Modules without which `shunt check` has to say no, with the feature that it names then.
    pub(super) needed_modules: BTreeMap<String, String>,
    /// Programs of tests, by name.
    pub(super) programs: BTreeMap<String, PathBuf>,
    /// Which of their tests.
    pub(super) choice: Choice,
}

/// Which tests, by `program::test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Choice {
    /// All that load programs or make namespaces.
    All,
    /// Those whose name contains one of these.
    Containing(Vec<String>),
    /// These; one that is not there is an error.
    Named(Vec<String>),
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Why nothing could be done.
    pub(super) error: Option<String>,
    /// The exit code of a shell or a program.
    pub(super) code: i32,
    /// How many tests passed.
    pub(super) passed: u32,
    /// Which failed.
    pub(super) failed: Vec<String>,
    /// What was not tested, and why.
    pub(super) skipped: Vec<String>,
    /// Files that tests have left for the repository, by their paths in it.
    pub(super) files: BTreeMap<String, String>,
}

impl Answer {
    /// Whether everything went well, and there was something.
    pub(super) fn is_yes(&self) -> bool {
        self.error.is_none() && self.code == 0 && self.failed.is_empty()
    }
}
