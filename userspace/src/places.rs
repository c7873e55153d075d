//! What an agent has put outside of its run directory, noted there before it is put, so that
//! `shunt cleanup` finds it whatever settings the agent had.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{atomic_file, config::AgentConfig};

/// The note's name under the run directory.
const NOTE: &str = "places.json";

/// Where there may be something of an agent's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Places {
    /// Folders of state.
    pub state_dirs: BTreeSet<PathBuf>,
    /// Files that shunt has made for container runtimes: lists of network configurations, plugins.
    pub files: BTreeSet<PathBuf>,
}

impl Places {
    /// Reads the note. One that is missing or cannot be read says nothing but the run directory.
    pub fn read(run_dir: &Path) -> Self {
        let read = fs::read(run_dir.join(NOTE)).ok();
        let mut places: Self =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        places.state_dirs.insert(run_dir.to_owned());
        places
    }

    /// Adds an agent's places to the note.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn note(config: &AgentConfig, files: &[PathBuf]) -> io::Result<()> {
        let before = Self::read(&config.run_dir);
        let mut places = before.clone();
        places.state_dirs.insert(config.state_dir.clone());
        places.files.extend(files.iter().cloned());
        if places == before {
            return Ok(());
        }
        atomic_file::write(&config.run_dir.join(NOTE), &serde_json::to_vec_pretty(&places)?)
    }

    /// Removes the note.
    ///
    /// # Errors
    /// The system will not remove it.
    pub fn forget(run_dir: &Path) -> io::Result<()> {
        match fs::remove_file(run_dir.join(NOTE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
