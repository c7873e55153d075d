//! Debian packages.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{answer, find_program, is_root, run, say, status};

/// Whether packages can be installed here: that needs apt, and root.
pub(crate) fn can_install() -> bool {
    is_root() && find_program("apt-get").is_some()
}

/// Installs those of `packages` that are not installed.
///
/// Lists of packages that are missing or out of date are fetched, once. Call it only where
/// [`can_install`] says so.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing Debian packages: {}", missing.join(" ")));
    let lists_fetched = !missing.iter().all(|package| has_candidate(package));
    if lists_fetched {
        fetch_lists()?;
    }
    if status(&mut install_command(&missing))?.success() {
        return Ok(());
    }
    if !lists_fetched {
        // A mirror forgets the versions that old lists name.
        fetch_lists()?;
    }
    run(&mut install_command(&missing)).with_context(|| {
        format!("installing Debian packages; try `apt-get install {}` yourself", missing.join(" "))
    })
}

fn is_installed(package: &str) -> bool {
    answer("dpkg-query", ["-W", "-f", "${db:Status-Status}", package])
        .is_some_and(|status| status == "installed")
}

/// Whether apt's lists know a version of the package.
fn has_candidate(package: &str) -> bool {
    answer("apt-cache", ["policy", package]).is_some_and(|policy| policy_names_candidate(&policy))
}

fn policy_names_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|candidate| candidate.trim() != "(none)")
}

/// Fetches the lists of packages. Call it only where [`can_install`] says so.
pub(super) fn fetch_lists() -> Result<()> {
    say("fetching the lists of Debian packages");
    run(apt_get().arg("update"))
}

fn install_command(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    command
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Wait for another apt to finish, rather than fail.
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_apt_does_not_know_has_no_candidate() {
        assert!(!policy_names_candidate(""));
        assert!(!policy_names_candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(policy_names_candidate("x:\n  Installed: (none)\n  Candidate: 1.96.0-1\n"));
    }
}
