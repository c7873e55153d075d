//! What a cluster costs an agent. It is measured by `tests/benches/control.rs`, which needs the
//! agent's own code beside it.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    process::{cargo, is_root},
    repository::Repository,
};

/// Measures everything; a table.
pub(super) fn measure(repository: &Repository, quick: bool) -> Result<String> {
    if !is_root() {
        bail!("measuring an agent needs root: run it with sudo");
    }
    let artifacts = build::everything(repository)?;
    let mut command = cargo(repository.root());
    command.args(["bench", "--package", "tests", "--bench", "control", "--target-dir"]);
    command.arg(repository.target());
    if quick {
        command.args(["--", "--quick"]);
    }
    artifacts.pass_on(&mut command);
    let output = command.stderr(Stdio::inherit()).output().context("running cargo bench")?;
    if !output.status.success() {
        bail!("cargo bench ended with {}; what is above says why", output.status);
    }
    String::from_utf8(output.stdout).context("reading what was measured")
}
