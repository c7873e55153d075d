//! What builds fuzz targets: a nightly compiler, whose coverage and sanitizers libFuzzer needs,
//! cargo-fuzz, and a C++ compiler for libFuzzer itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{answer, cargo, find_program, run, say},
    repository::Repository,
    setup,
};

/// The version that is installed where there is none.
const VERSION: &str = "0.13.2";

/// What builds and runs fuzz targets.
pub(super) struct FuzzToolchain {
    /// The folder that cargo-fuzz is in.
    folder: PathBuf,
}

impl FuzzToolchain {
    /// `cargo fuzz VERB`, by the nightly compiler.
    pub(super) fn cargo_fuzz(&self, repository: &Repository, verb: &str) -> Command {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo", "fuzz", verb, "--fuzz-dir", "fuzz"]);
        command.current_dir(repository.root());
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.folder.clone()].into_iter().chain(env::split_paths(&path));
        if let Ok(path) = env::join_paths(folders) {
            command.env("PATH", path);
        }
        // What the cargo that runs this program says about itself is wrong for another one.
        for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS"] {
            command.env_remove(variable);
        }
        command
    }
}

/// Finds what is needed, or installs it.
pub(super) fn ensure(repository: &Repository) -> Result<FuzzToolchain> {
    nightly()?;
    if find_program("c++").is_none() {
        setup::cxx_compiler().context("libFuzzer needs a C++ compiler, as `c++`")?;
    }
    let own = repository.target().join("tools");
    if let Some(folder) = find(&own) {
        return Ok(FuzzToolchain { folder });
    }
    say(&format!("building cargo-fuzz {VERSION} (a minute)"));
    let mut command = cargo(repository.root());
    command.args(["install", "cargo-fuzz", "--version", VERSION, "--locked", "--root"]).arg(&own);
    run(&mut command).context("building cargo-fuzz")?;
    find(&own).map(|folder| FuzzToolchain { folder }).context("cargo-fuzz was not built")
}

fn find(own: &Path) -> Option<PathBuf> {
    let program = [find_program("cargo-fuzz"), Some(own.join("bin/cargo-fuzz"))]
        .into_iter()
        .flatten()
        .find(|program| program.is_file())?;
    program.parent().map(Path::to_owned)
}

fn nightly() -> Result<()> {
    let has_nightly = || answer("rustup", ["run", "nightly", "rustc", "--version"]).is_some();
    if has_nightly() {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        bail!(
            "fuzzing needs a nightly compiler, and there is no rustup to get one; see https://rustup.rs"
        );
    }
    say("installing the nightly toolchain");
    run(Command::new("rustup").args(["toolchain", "install", "nightly", "--profile", "minimal"]))
        .context("installing the nightly toolchain")
}
