//! bpf-linker, and the version of LLVM that it and a compiler speak.
//!
//! rustc hands bpf-linker LLVM bitcode. LLVM reads the bitcode of its own and of older versions, so
//! the linker's LLVM must be as new as the compiler's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    process::{answer, cargo, find_program, run, say},
    repository::Repository,
};

/// The version that is built where there is none.
const VERSION: &str = "0.13.0";

/// The LLVM of Debian 12's `rustc-web`.
const DEBIAN_LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// A major version of LLVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LlvmMajor(u32);

/// The bpf-linkers of this machine that can read what a compiler with this LLVM writes, best first.
///
/// A linker whose LLVM cannot be told is taken to be right: the build will say so if it is not.
pub(crate) fn find(repository: &Repository, compiler: Option<LlvmMajor>) -> Option<PathBuf> {
    [find_program("bpf-linker"), Some(own_root(repository).join("bin/bpf-linker"))]
        .into_iter()
        .flatten()
        .filter(|linker| linker.is_file())
        .find(|linker| can_read(llvm_of_linker(linker), compiler))
}

fn can_read(linker: Option<LlvmMajor>, compiler: Option<LlvmMajor>) -> bool {
    match (linker, compiler) {
        (Some(linker), Some(compiler)) => linker >= compiler,
        _ => true,
    }
}

/// Builds bpf-linker with Debian's LLVM 22, which takes a minute or two.
///
/// It goes into cargo's folder of installed programs, or below `target` where another bpf-linker is
/// already there.
pub(crate) fn install(repository: &Repository) -> Result<()> {
    say(&format!("building bpf-linker {VERSION} with {DEBIAN_LLVM_PREFIX} (a minute or two)"));
    let mut command = cargo(repository.root());
    command
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", DEBIAN_LLVM_PREFIX);
    if find_program("bpf-linker").is_some() {
        command.arg("--force").arg("--root").arg(own_root(repository));
    }
    run(&mut command).context("building bpf-linker")
}

fn own_root(repository: &Repository) -> PathBuf {
    repository.target().join("tools")
}

/// The LLVM of a compiler.
pub(crate) fn llvm_of_compiler(rustc: &Command) -> Option<LlvmMajor> {
    let arguments: Vec<_> = rustc.get_args().map(ToOwned::to_owned).collect();
    let version =
        answer(rustc.get_program(), arguments.into_iter().chain(["-v".into(), "-V".into()]))?;
    let version = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    leading_number(version)
}

/// The LLVM of a linker, which its `--version` does not tell: the name of the library that it
/// loads, or the name that LLVM gives itself in bitcode, is somewhere in the file.
fn llvm_of_linker(linker: &Path) -> Option<LlvmMajor> {
    let pattern = r"LLVM(\.so\.|-)?[0-9]{2}\.[0-9]";
    let found = answer("grep", ["-aoEm1".as_ref(), pattern.as_ref(), linker.as_os_str()])?;
    leading_number(found.lines().next()?.trim_start_matches(|c: char| !c.is_ascii_digit()))
}

fn leading_number(text: &str) -> Option<LlvmMajor> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok().map(LlvmMajor)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_linkers_llvm_is_found_however_it_is_linked() {
        let folder = tempfile::tempdir().unwrap();
        let linker = folder.path().join("bpf-linker");
        for (content, major) in [
            (&b"\0\x7fELF\0libLLVM.so.22.1\0"[..], Some(LlvmMajor(22))),
            (b"\0libLLVM-19.1\0", Some(LlvmMajor(19))),
            (b"\xff\0LLVM21.1.8\0", Some(LlvmMajor(21))),
            (b"\0LLVM\0", None),
        ] {
            fs::write(&linker, content).unwrap();
            assert_eq!(llvm_of_linker(&linker), major, "{content:?}");
        }
    }

    #[test]
    fn a_linker_reads_what_its_own_or_an_older_llvm_wrote() {
        let (older, newer) = (Some(LlvmMajor(21)), Some(LlvmMajor(22)));
        assert!(can_read(newer, newer));
        assert!(can_read(newer, older));
        assert!(!can_read(older, newer));
        assert!(can_read(None, newer));
    }
}
