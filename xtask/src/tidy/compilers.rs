//! Formatting and lints: what rustfmt and clippy say.

use std::process::Command;

use anyhow::Result;

use crate::{
    process::{answer, cargo, say, status},
    repository::Repository,
};

/// What rustfmt would change; with `fix`, it changes it.
///
/// `rustfmt.toml` has two options that only nightly's rustfmt knows. Stable's ignores them with a
/// warning and accepts what nightly's wrote, so either will do for checking.
pub(super) fn formatting(repository: &Repository, fix: bool) -> Result<Option<String>> {
    let nightly = answer("rustup", ["run", "nightly", "rustfmt", "--version"]).is_some();
    say(&format!(
        "{} with {} rustfmt",
        if fix { "formatting" } else { "checking the format" },
        if nightly { "nightly's" } else { "stable's" },
    ));
    let mut command = if nightly { nightly_cargo(repository) } else { cargo(repository.root()) };
    command.args(["fmt", "--all"]);
    if !fix {
        command.args(["--", "--check"]);
    }
    let formatted = status(&mut command)?.success();
    Ok((!formatted).then(|| "formatting: run `cargo xtask tidy --fix`".to_owned()))
}

fn nightly_cargo(repository: &Repository) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(repository.root());
    // What the cargo that runs this program says about itself is wrong for another one.
    for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
        command.env_remove(variable);
    }
    command
}

/// What clippy complains about, warnings included.
pub(super) fn lints(repository: &Repository) -> Result<Option<String>> {
    say("running clippy");
    let mut command = cargo(repository.root());
    command
        .args(["clippy", "--workspace", "--all-targets", "--target-dir"])
        .arg(repository.target())
        .args(["--", "-D", "warnings"]);
    let clean = status(&mut command)?.success();
    Ok((!clean).then(|| "lints: clippy complains, see above".to_owned()))
}
