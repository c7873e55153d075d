//! Random worlds, for as long as is wanted.

use anyhow::Result;

use super::{Arguments, SECONDS};
use crate::{
    build,
    process::{cargo, is_root, say, status},
    repository::Repository,
};

/// Their name among the targets.
pub(super) const NAME: &str = "worlds";

/// Shows worlds to native code and, as root, to the kernel's programs; whether they agreed with the
/// model on all of them.
pub(super) fn run(repository: &Repository, arguments: &Arguments) -> Result<bool> {
    let mut command = cargo(repository.root());
    command.args(["test", "--target-dir"]).arg(repository.target());
    command.args(["--package", "tests", "--test", "worlds", "--", "--nocapture", "thought_of"]);
    if is_root() {
        build::everything(repository)?.pass_on(&mut command);
        command.arg("--include-ignored");
    } else {
        say("only native code is asked: programs are loaded by root");
    }
    match arguments.runs {
        Some(cases) => command.env("SHUNT_WORLDS_CASES", cases.to_string()),
        None => {
            command.env("SHUNT_WORLDS_SECONDS", arguments.seconds.unwrap_or(SECONDS).to_string())
        }
    };
    Ok(status(&mut command)?.success())
}
