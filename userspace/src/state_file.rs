//! Files of state that outlive the agent: read when it starts, and moved aside where they cannot be
//! understood, so that a person can look at them and the agent goes on without.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::atomic_file;

/// One of them.
#[derive(Debug)]
pub(crate) struct StateFile {
    /// Its name in the state directory.
    pub(crate) name: &'static str,
    /// What it is to a person.
    pub(crate) what: &'static str,
    /// What becomes of the node without it.
    pub(crate) without: &'static str,
}

/// What a file said.
#[derive(Debug)]
pub(crate) struct Found<T> {
    /// Where the file is, or will be.
    pub(crate) path: PathBuf,
    /// What it holds; nothing where it is missing or damaged.
    pub(crate) state: T,
    /// What was wrong with it, where something was.
    pub(crate) damage: Option<StateDamage>,
}

/// A file of state that could not be understood.
#[derive(Debug, Error)]
#[error(
    "{what} {}: {reason}; what was there is kept as {}; {without}",
    path.display(),
    kept_as.display()
)]
pub struct StateDamage {
    what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it could not be understood.
    pub reason: String,
    /// Where it is now.
    pub kept_as: PathBuf,
    without: &'static str,
}

impl StateFile {
    /// Reads the file in `state_dir`, which a former agent may have kept in `run_dir`. One that is
    /// missing is an empty one; one that does not parse is moved aside and reported.
    ///
    /// # Errors
    /// The file exists and the system will not read it, or move it.
    pub(crate) fn open<T: Default>(
        &self,
        state_dir: &Path,
        run_dir: &Path,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> io::Result<Found<T>> {
        self.bring_along(run_dir, state_dir)?;
        let path = state_dir.join(self.name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Found { path, state: T::default(), damage: None });
            }
            Err(error) => return Err(error),
        };
        let (state, damage) = match parse(&bytes) {
            Ok(state) => (state, None),
            Err(reason) => {
                let kept_as = atomic_file::keep_aside(&path)?;
                let Self { what, without, .. } = *self;
                let path = path.clone();
                (T::default(), Some(StateDamage { what, path, reason, kept_as, without }))
            }
        };
        Ok(Found { path, state, damage })
    }

    /// Removes the file, for `shunt cleanup`; one that was kept aside stays.
    ///
    /// # Errors
    /// The system will not remove it.
    pub(crate) fn remove(&self, state_dir: &Path) -> io::Result<()> {
        match fs::remove_file(state_dir.join(self.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Brings the file along that a former agent kept in its run directory, where this one is told to
    /// keep its state elsewhere.
    fn bring_along(&self, run_dir: &Path, state_dir: &Path) -> io::Result<()> {
        let (from, to) = (run_dir.join(self.name), state_dir.join(self.name));
        if from == to || to.exists() || !from.exists() {
            return Ok(());
        }
        atomic_file::write(&to, &fs::read(&from)?)?;
        fs::remove_file(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: StateFile =
        StateFile { name: "number.json", what: "number", without: "counting from zero" };

    fn open(state_dir: &Path, run_dir: &Path) -> Found<u32> {
        let parse = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|error| error.to_string());
        FILE.open(state_dir, run_dir, parse).unwrap()
    }

    #[test]
    fn what_is_damaged_is_named_and_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number.json");
        fs::write(&path, "7x").unwrap();
        let found = open(folder.path(), folder.path());
        let damage = found.damage.unwrap();
        assert_eq!((found.state, &found.path), (0, &path));
        assert_eq!(fs::read_to_string(&damage.kept_as).unwrap(), "7x");
        let text = damage.to_string();
        for part in ["number ", "number.json.corrupt; counting from zero", &damage.reason] {
            assert!(text.contains(part), "{text}");
        }
        // The next one begins afresh.
        let found = open(folder.path(), folder.path());
        assert!(found.damage.is_none() && found.state == 0);
    }

    #[test]
    fn a_file_of_the_run_directory_is_brought_along_once() {
        let (state, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(run.path().join("number.json"), "7").unwrap();
        assert_eq!(open(state.path(), run.path()).state, 7);
        assert!(!run.path().join("number.json").exists());
        fs::write(run.path().join("number.json"), "8").unwrap();
        assert_eq!(open(state.path(), run.path()).state, 7, "the state directory's counts");
        FILE.remove(state.path()).unwrap();
        FILE.remove(state.path()).unwrap();
        assert_eq!(open(run.path(), run.path()).state, 8);
    }
}
