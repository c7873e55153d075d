//! What tests have counted (cases of the conformance table, of the oracle, of random worlds): a test
//! runner keeps what tests print to itself, so they leave it in files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process::say;

/// A folder with a file for each test that counts.
pub(super) struct Counts {
    folder: PathBuf,
}

impl Counts {
    /// Forgets what tests have counted before.
    pub(super) fn expect_at(target: &Path) -> Result<Self> {
        let folder = target.join("counts");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", folder.display()))
            }
            _ => Ok(Self { folder }),
        }
    }

    /// Tells the tests where to leave what they count.
    pub(super) fn pass_on(&self, command: &mut Command) {
        command.env("SHUNT_TEST_COUNTS", &self.folder);
    }

    /// Shows what they have counted, if any has.
    pub(super) fn show(&self) -> Result<()> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            for line in text.lines() {
                say(line);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_an_earlier_run_are_not_shown() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join("counts");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("model.txt"), "1 case").unwrap();
        let counts = Counts::expect_at(target.path()).unwrap();
        assert!(!folder.exists());
        counts.show().unwrap();
    }
}
