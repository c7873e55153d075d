//! What builds the eBPF object: a compiler that may use unstable features, the source of `core`,
//! and bpf-linker.
//!
//! Two ways work. rustup's nightly with the component `rust-src` is what most eBPF developers have.
//! Debian 12 packages a compiler (`rustc-web`) together with its source and its LLVM, which needs
//! nothing but the distribution's mirror; that compiler is a stable one, and `RUSTC_BOOTSTRAP=1`
//! lets it build `core`.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{debian, linker};
use crate::{
    process::{answer, find_program, is_root},
    repository::Repository,
};

/// The packages of the Debian way.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];

/// The oldest system compiler that will do; the same as `rust-version` in the root manifest.
const OLDEST_MINOR: u32 = 95;

const SYSTEM_CARGO: &str = "/usr/bin/cargo";
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/core";

/// What builds the eBPF object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EbpfToolchain {
    way: Way,
    linker: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    RustupNightly,
    System,
}

impl EbpfToolchain {
    /// The cargo that builds the eBPF object, in an environment where it finds its own compiler.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self.way {
            Way::RustupNightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Way::System => {
                let mut command = Command::new(SYSTEM_CARGO);
                command.env("RUSTC", SYSTEM_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        // What the cargo that runs this program says about itself is wrong for another one.
        for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTDOC"] {
            command.env_remove(variable);
        }
        if self.way == Way::RustupNightly {
            command.env_remove("RUSTC");
        }
        command
    }

    /// bpf-linker.
    pub(crate) fn linker(&self) -> &Path {
        &self.linker
    }
}

impl fmt::Display for EbpfToolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compiler = match self.way {
            Way::RustupNightly => "rustup nightly with rust-src",
            Way::System => "system compiler /usr/bin/rustc with its source",
        };
        write!(formatter, "{compiler}, {}", self.linker.display())
    }
}

/// Finds what builds the eBPF object, or installs it where that is possible.
pub(crate) fn ensure(repository: &Repository) -> Result<EbpfToolchain> {
    if let Some(found) = find(repository) {
        return Ok(found);
    }
    if !debian::can_install() {
        let reason = if is_root() { "there is no apt here" } else { "you are not root" };
        bail!("{}", advice(reason));
    }
    debian::install(&DEBIAN_PACKAGES).with_context(|| advice("apt could not install it"))?;
    if find(repository).is_none() {
        linker::install(repository)?;
    }
    find(repository).with_context(|| advice("what was installed does not work together"))
}

/// One line: what is missing, why it was not installed, and what to do about it.
fn advice(reason: &str) -> String {
    format!(
        "no eBPF toolchain, and {reason}: run `rustup toolchain install nightly --component rust-src && \
         cargo install bpf-linker`, or `cargo xtask setup` as root on Debian 12 (it installs {})",
        DEBIAN_PACKAGES.join(" ")
    )
}

fn find(repository: &Repository) -> Option<EbpfToolchain> {
    [Way::RustupNightly, Way::System].into_iter().find_map(|way| {
        let compiler = match way {
            Way::RustupNightly => nightly_compiler()?,
            Way::System => system_compiler()?,
        };
        let llvm = linker::llvm_of_compiler(&compiler);
        linker::find(repository, llvm).map(|linker| EbpfToolchain { way, linker })
    })
}

/// rustup's nightly compiler, where it has the source of `core`.
fn nightly_compiler() -> Option<Command> {
    find_program("rustup")?;
    let compiler = ["run", "nightly", "rustc"];
    let sysroot = answer("rustup", compiler.into_iter().chain(["--print", "sysroot"]))?;
    let mut command = Command::new("rustup");
    command.args(compiler);
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir().then_some(command)
}

/// The system's own compiler, where it is new enough and has the source of `core`.
fn system_compiler() -> Option<Command> {
    let whole = Path::new(SYSTEM_SOURCE).is_dir() && Path::new(SYSTEM_CARGO).is_file();
    let version = answer(SYSTEM_RUSTC, ["--version"])?;
    (whole && minor_version(&version)? >= OLDEST_MINOR).then(|| Command::new(SYSTEM_RUSTC))
}

/// The minor number in `rustc 1.96.0 (…)`.
fn minor_version(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_system_compiler_is_told_from_a_new_one() {
        assert_eq!(minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(96));
        assert_eq!(minor_version("rustc 1.63.0"), Some(63));
        assert_eq!(minor_version("gcc 12"), None);
    }

    #[test]
    fn advice_is_one_line_that_names_every_package() {
        let advice = advice("you are not root");
        assert_eq!(advice.lines().count(), 1);
        assert!(!advice.contains("  "), "{advice}");
        for package in DEBIAN_PACKAGES {
            assert!(advice.contains(package), "{advice}");
        }
    }

    #[test]
    fn the_system_cargo_runs_with_the_system_compiler() {
        let toolchain = EbpfToolchain { way: Way::System, linker: "/x/bpf-linker".into() };
        let command = toolchain.cargo();
        assert_eq!(command.get_program(), SYSTEM_CARGO);
        let rustc = command.get_envs().find(|(name, _)| *name == "RUSTC");
        assert_eq!(rustc, Some(("RUSTC".as_ref(), Some(SYSTEM_RUSTC.as_ref()))));
    }
}
