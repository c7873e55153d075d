//! `cargo xtask setup`: finds or installs what is needed to build and to test.
//!
//! Everything is looked for first and only what is missing is installed, so that the second time
//! costs nothing and a machine that was set up in another way is left alone.

mod debian;
mod linker;
mod toolchain;
mod tools;

use anyhow::{Result, bail};

pub(crate) use self::toolchain::EbpfToolchain;
use crate::{Outcome, process::say, repository::Repository};

/// Finds or installs everything, and says what there is.
pub(crate) fn run(repository: &Repository) -> Result<Outcome> {
    let toolchain = ebpf_toolchain(repository)?;
    say(&format!("eBPF toolchain: {toolchain}"));
    let missing = test_tools()?;
    if missing.is_empty() {
        say("test tools: all there");
    }
    Ok(Outcome::Done)
}

/// Finds what builds the eBPF object, or installs it where that is possible.
pub(crate) fn ebpf_toolchain(repository: &Repository) -> Result<EbpfToolchain> {
    toolchain::ensure(repository)
}

/// Installs what boots kernels that are not this machine's, where that is possible.
pub(crate) fn virtual_machine() -> Result<()> {
    tools::ensure_virtual_machine()
}

/// Fetches the lists of packages, where that is possible.
pub(crate) fn fetch_package_lists() -> Result<()> {
    if !debian::can_install() {
        bail!("run `apt-get update` as root");
    }
    debian::fetch_lists()
}

/// Installs a C++ compiler, where that is possible.
pub(crate) fn cxx_compiler() -> Result<()> {
    if !debian::can_install() {
        bail!("install g++ or clang; `cargo xtask fuzz` does it as root on Debian");
    }
    debian::install(&["g++"])
}

/// Installs the programs that tests and the demo run, where that is possible, and returns those
/// that are still missing.
pub(crate) fn test_tools() -> Result<Vec<&'static str>> {
    tools::ensure()
}
