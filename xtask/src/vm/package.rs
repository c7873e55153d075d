//! Debian's kernel packages: found in apt's index, fetched, unpacked below `target/vm`, and never
//! installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::{
    process::{answer, find_program, run, say},
    setup,
};

/// An unpacked kernel package.
#[derive(Clone, Debug)]
pub(super) struct KernelPackage {
    folder: PathBuf,
    release: String,
}

impl KernelPackage {
    /// Fetches and unpacks the newest package of a line, unless that was done before.
    pub(super) fn fetch(kernel: Kernel, folder: &Path) -> Result<Self> {
        let name = newest(kernel)?;
        Self::named(&name, folder).or_else(|error| {
            // The index may name what the archive does not have any more.
            say(&format!("{error:#}; once more, with a new index"));
            setup::fetch_package_lists()?;
            Self::named(&newest(kernel)?, folder)
        })
    }

    fn named(name: &str, folder: &Path) -> Result<Self> {
        let folder = folder.join(name);
        let release = release_of(name).to_owned();
        let unpacked = Self { folder, release };
        if !unpacked.image().is_file() {
            unpacked.unpack(name)?;
        }
        say(&format!("kernel: {name}"));
        Ok(unpacked)
    }

    /// What `uname -r` says on it.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// The kernel itself.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// Its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }

    /// The folder that is this package's alone.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn unpack(&self, name: &str) -> Result<()> {
        // What an interrupted run has left is no kernel.
        let _ = fs::remove_dir_all(&self.folder);
        let download = self.folder.with_file_name(format!("{name}.download"));
        let _ = fs::remove_dir_all(&download);
        fs::create_dir_all(&download).with_context(|| format!("making {}", download.display()))?;
        say(&format!("fetching {name}"));
        run(Command::new("apt-get").args(["-q", "download", name]).current_dir(&download))
            .with_context(|| format!("fetching {name}"))?;
        let package = only_file(&download)?;
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&self.folder))?;
        fs::remove_dir_all(&download)
            .with_context(|| format!("removing {}", download.display()))?;
        if !self.image().is_file() {
            bail!("{name} holds no {}", self.image().display());
        }
        Ok(())
    }
}

/// Its newest package in apt's index, which is fetched anew where it knows none.
fn newest(kernel: Kernel) -> Result<String> {
    if find_program("apt-get").is_none() {
        bail!("kernels are Debian packages, and there is no apt here: run this on Debian 12");
    }
    let in_index =
        || newest_of(&answer("apt-cache", ["pkgnames", "linux-image-"])?, kernel, has_version);
    if let Some(name) = in_index() {
        return Ok(name);
    }
    setup::fetch_package_lists()?;
    in_index().with_context(|| {
        format!(
            "apt knows no package linux-image-{kernel}.*-cloud-amd64-unsigned; `bookworm` and \
             `bookworm-security` have one: name both in /etc/apt, and run `apt-get update`"
        )
    })
}

/// The newest of the packages, by their names, that apt could fetch.
fn newest_of(names: &str, kernel: Kernel, has_version: impl Fn(&str) -> bool) -> Option<String> {
    let mut candidates: Vec<(Vec<u32>, &str)> = names
        .lines()
        .filter(|name| name.ends_with("-cloud-amd64-unsigned"))
        .filter(|name| release_of(name).starts_with(&format!("{kernel}.")))
        .map(|name| (numbers(release_of(name)), name))
        .collect();
    candidates.sort();
    let newest = candidates.iter().rev().find(|(_, name)| has_version(name))?;
    Some(newest.1.to_owned())
}

fn has_version(name: &str) -> bool {
    // Index files keep names of packages that they have no version of any more.
    answer("apt-cache", ["madison", name]).is_some_and(|versions| !versions.trim().is_empty())
}

/// `linux-image-6.1.0-57-cloud-amd64-unsigned` is of release `6.1.0-57-cloud-amd64`.
fn release_of(name: &str) -> &str {
    let name = name.strip_prefix("linux-image-").unwrap_or(name);
    name.strip_suffix("-unsigned").unwrap_or(name)
}

/// The numbers of a release, for which one is newer.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let reading = || format!("reading {}", folder.display());
    let mut entries = fs::read_dir(folder).with_context(reading)?;
    let entry = entries.next().with_context(|| format!("{} is empty", folder.display()))?;
    Ok(entry.with_context(reading)?.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64-unsigned\n\
                         linux-image-6.1.0-57-cloud-amd64-unsigned\n\
                         linux-image-6.1.0-58-cloud-amd64-unsigned\n\
                         linux-image-6.1.0-59-cloud-amd64\n\
                         linux-image-6.1.0-60-rt-amd64-unsigned\n\
                         linux-image-6.12.117+deb12-cloud-amd64-unsigned\n\
                         linux-image-6.12.99+deb12-cloud-amd64-unsigned\n";

    #[test]
    fn the_newest_package_of_a_line_is_the_one_with_the_highest_numbers() {
        let newest = |kernel| newest_of(NAMES, kernel, |_| true).unwrap();
        assert_eq!(newest(Kernel::V6_1), "linux-image-6.1.0-58-cloud-amd64-unsigned");
        assert_eq!(newest(Kernel::V6_12), "linux-image-6.12.117+deb12-cloud-amd64-unsigned");
    }

    #[test]
    fn a_package_that_apt_has_no_version_of_is_passed_over() {
        let newest = newest_of(NAMES, Kernel::V6_1, |name| !name.contains("-58-"));
        assert_eq!(newest.unwrap(), "linux-image-6.1.0-57-cloud-amd64-unsigned");
        assert_eq!(newest_of(NAMES, Kernel::V6_1, |_| false), None);
    }
}
