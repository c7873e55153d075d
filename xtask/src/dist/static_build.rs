//! Programs that need nothing of the system that they run on: no library, no loader.
//!
//! They are built for the machine's own GNU target with the C library inside, which needs no other
//! toolchain than every build does. glibc 2.34 and later resolves host names (files and DNS) from
//! inside such a program.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{answer, cargo, run, say},
    repository::Repository,
};

/// The programs.
#[derive(Clone, Debug)]
pub(super) struct StaticPrograms {
    /// The agent and command line.
    pub(super) shunt: PathBuf,
    /// The CNI plugin.
    pub(super) shunt_cni: PathBuf,
}

/// Builds them, with the eBPF object that is there; `version` is what `shunt --version` says.
pub(super) fn build(repository: &Repository, version: &str) -> Result<StaticPrograms> {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let folder = repository.target().join("static");
    say(&format!("building shunt and shunt-cni, static ({target})"));
    let mut command = cargo(repository.root());
    command
        .args(["build", "--release", "--locked", "--package", "userspace"])
        .args(["--bin", "shunt", "--bin", "shunt-cni"])
        .args(["--target", &target, "--target-dir"])
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(repository))
        .env("SHUNT_BUILD_VERSION", version);
    run(&mut command)?;
    let release = folder.join(&target).join("release");
    let programs =
        StaticPrograms { shunt: release.join("shunt"), shunt_cni: release.join("shunt-cni") };
    for program in [&programs.shunt, &programs.shunt_cni] {
        let content =
            fs::read(program).with_context(|| format!("reading {}", program.display()))?;
        if needs_loader(&content)? {
            bail!("{} is linked dynamically: is the C library's libc.a there?", program.display());
        }
    }
    Ok(programs)
}

/// Paths of this machine stay out of the programs, so that they are the same wherever they are
/// built.
fn rustflags(repository: &Repository) -> String {
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=shunt", repository.root().display()),
    ];
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    if let Some(sysroot) = answer("rustc", ["--print", "sysroot"]) {
        flags.push(format!("--remap-path-prefix={}=rust", sysroot.trim()));
    }
    flags.join("\x1f")
}

/// Whether an ELF program of 64 bits names a program interpreter (`PT_INTERP`), which loads it and
/// its libraries.
fn needs_loader(elf: &[u8]) -> Result<bool> {
    const PT_INTERP: u64 = 3;
    let number = |offset: usize, length: usize| {
        let bytes = elf.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let offset_of = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    let headers = || {
        let (first, size, count) =
            (offset_of(number(32, 8))?, offset_of(number(54, 2))?, offset_of(number(56, 2))?);
        (0..count).map(|index| number(first + index * size, 4)).collect::<Option<Vec<u64>>>()
    };
    let is_elf = elf.starts_with(b"\x7fELF\x02\x01");
    let headers = is_elf.then(headers).flatten().context("this is no program of this machine")?;
    Ok(headers.contains(&PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert!(needs_loader(&own).unwrap());
        let mut elf = own;
        let first = usize::from(elf[32]);
        let count = usize::from(elf[56]);
        for index in 0..count {
            let header = first + index * 56;
            if elf[header] == 3 {
                elf[header] = 0;
            }
        }
        assert!(!needs_loader(&elf).unwrap());
        assert!(needs_loader(b"#!/bin/sh\n").is_err());
        assert!(needs_loader(&elf[..80]).is_err());
    }
}
