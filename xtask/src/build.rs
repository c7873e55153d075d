//! `cargo xtask build`: the eBPF object, then the programs that carry it.
//!
//! The eBPF object is built by a cargo of its own, for another target and often by another
//! compiler, into `target/bpf`; `userspace/build.rs` embeds the copy at `target/shunt-ebpf.o`.
//! Cargo decides what is out of date, and the copy is only written when it changes, so that a
//! second build does nothing.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    Outcome,
    process::{cargo, run as run_command, say},
    repository::Repository,
    setup::{self, EbpfToolchain},
};

/// What a build leaves.
#[derive(Clone, Debug)]
pub(crate) struct Artifacts {
    /// The agent and command line.
    pub(crate) shunt: PathBuf,
    /// The CNI plugin.
    pub(crate) shunt_cni: PathBuf,
    /// The eBPF object, which `shunt` also carries inside.
    pub(crate) ebpf_object: PathBuf,
}

impl Artifacts {
    /// Those that a test was told of.
    pub(crate) fn given() -> Option<Self> {
        let path = |name| env::var_os(name).map(PathBuf::from);
        Some(Self {
            shunt: path("SHUNT_BIN")?,
            shunt_cni: path("SHUNT_CNI_BIN")?,
            ebpf_object: path("SHUNT_EBPF_OBJECT")?,
        })
    }

    /// Tells tests where the programs under test are.
    pub(crate) fn pass_on(&self, command: &mut Command) {
        command
            .env("SHUNT_BIN", &self.shunt)
            .env("SHUNT_CNI_BIN", &self.shunt_cni)
            .env("SHUNT_EBPF_OBJECT", &self.ebpf_object);
    }
}

/// Builds everything and prints the paths of the two programs.
pub(crate) fn run(repository: &Repository) -> Result<Outcome> {
    let artifacts = everything(repository)?;
    let paths = [&artifacts.shunt, &artifacts.shunt_cni].map(|path| path.display().to_string());
    writeln!(io::stdout(), "{}", paths.join("\n")).context("printing the paths")?;
    Ok(Outcome::Done)
}

/// Builds everything.
pub(crate) fn everything(repository: &Repository) -> Result<Artifacts> {
    let toolchain = setup::ebpf_toolchain(repository)?;
    let ebpf_object = build_ebpf(repository, &toolchain)?;
    say("building shunt and shunt-cni (release)");
    let target = repository.target();
    let mut command = cargo(repository.root());
    command
        .args(["build", "--release", "--package", "userspace", "--bin", "shunt"])
        .args(["--bin", "shunt-cni", "--target-dir"])
        .arg(&target);
    run_command(&mut command)?;
    let release = target.join("release");
    Ok(Artifacts {
        shunt: release.join("shunt"),
        shunt_cni: release.join("shunt-cni"),
        ebpf_object,
    })
}

/// Builds the eBPF object alone; where it is.
pub(crate) fn ebpf_object(repository: &Repository) -> Result<PathBuf> {
    build_ebpf(repository, &setup::ebpf_toolchain(repository)?)
}

fn build_ebpf(repository: &Repository, toolchain: &EbpfToolchain) -> Result<PathBuf> {
    say(&format!("building the eBPF object ({toolchain})"));
    let target = repository.target().join("bpf");
    let mut command = toolchain.cargo();
    command
        .current_dir(repository.root())
        .args(["build", "--package", "ebpf", "--bins", "--profile", "bpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain.linker()));
    run_command(&mut command)?;

    let built = target.join("bpfel-unknown-none/bpf");
    let [object, replay] =
        ["shunt-ebpf.o", "shunt-ebpf-replay.o"].map(|name| repository.target().join(name));
    copy_if_changed(&built.join("ebpf"), &object)?;
    copy_if_changed(&built.join("replay"), &replay)?;
    Ok(object)
}

/// The flags that `aya-build` gives rustc, and the instruction set.
///
/// `debuginfo` here rather than in the profile alone, and `--btf`, are what makes the types of maps
/// and the line numbers of programs reach the kernel. Version 3 of the instruction set, with 32-bit
/// operations, is known to every kernel that shunt runs on.
fn rustflags(linker: &Path) -> String {
    [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
    ]
    .join("\x1f")
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(to, content).with_context(|| format!("writing {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let modified = || fs::metadata(&to).unwrap().modified().unwrap();
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let first = modified();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(modified(), first);
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
    }

    #[test]
    fn the_object_is_linked_by_the_linker_that_was_found_and_has_type_information() {
        let flags = rustflags(Path::new("/x/bpf-linker"));
        assert!(flags.contains("-Clinker=/x/bpf-linker"), "{flags}");
        assert!(flags.contains("-Clink-arg=--btf"), "{flags}");
    }
}
