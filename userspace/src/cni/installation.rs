//! Putting the plugin and its configuration where the container runtime looks for them.
//!
//! The configuration comes last: a runtime that finds it calls the node ready for pods.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{SUPPORTED_VERSIONS, version::SpecVersion};
use crate::{atomic_file, config::CniPlaces};

/// The name of the list of network configurations: before those of others, because runtimes take
/// the first one.
pub const LIST_NAME: &str = "05-shunt.conflist";

/// The name of the plugin.
pub const PLUGIN_NAME: &str = "shunt-cni";

/// Why something could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The plugin is not beside the agent.
    #[error(
        "there is no {PLUGIN_NAME} beside this program ({}): {source}; put it there, or leave \
         --cni-bin-dir out",
        path.display()
    )]
    NoPlugin {
        /// Where it was looked for.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The files that will be made.
pub fn files(places: &CniPlaces) -> Vec<PathBuf> {
    let list = places.configurations.as_ref().map(|folder| folder.join(LIST_NAME));
    let plugin = places.plugins.as_ref().map(|folder| folder.join(PLUGIN_NAME));
    list.into_iter().chain(plugin).collect()
}

/// Puts both in their places, the plugin first; what is there already is not touched. Returns what
/// was written.
pub fn install(places: &CniPlaces, run_dir: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut written = Vec::new();
    if let Some(folder) = &places.plugins {
        written.extend(install_plugin(&folder.join(PLUGIN_NAME))?);
    }
    if let Some(folder) = &places.configurations {
        let path = folder.join(LIST_NAME);
        let text = format!("{:#}\n", list(run_dir));
        if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            return Ok(written);
        }
        let failed = |source| InstallError::Write { path: path.clone(), source };
        atomic_file::write(&path, text.as_bytes()).map_err(failed)?;
        written.push(path);
    }
    Ok(written)
}

/// A plugin that runs is not disturbed: its file is replaced, not written to.
fn install_plugin(path: &Path) -> Result<Option<PathBuf>, InstallError> {
    let own = env::current_exe().unwrap_or_default().with_file_name(PLUGIN_NAME);
    let missing = |source| InstallError::NoPlugin { path: own.clone(), source };
    let wanted = fs::read(&own).map_err(missing)?;
    if fs::read(path).is_ok_and(|present| present == wanted) {
        return Ok(None);
    }
    let failed = |source| InstallError::Write { path: path.to_owned(), source };
    let mode = fs::metadata(&own).map_err(missing)?.permissions();
    atomic_file::write_with_mode(path, &wanted, &mode).map_err(failed)?;
    Ok(Some(path.to_owned()))
}

/// The list of network configurations.
fn list(run_dir: &Path) -> Value {
    json!({
        "cniVersion": SpecVersion::CURRENT.as_str(),
        "cniVersions": SUPPORTED_VERSIONS,
        "name": "shunt",
        "plugins": [{
            "type": PLUGIN_NAME,
            "runDir": run_dir,
            "capabilities": { "portMappings": true },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_written_once_and_again_when_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let configurations = Some(folder.path().join("net.d"));
        let places = CniPlaces { configurations, plugins: None };
        let path = folder.path().join("net.d").join(LIST_NAME);
        assert_eq!(install(&places, Path::new("/run/a")).unwrap(), std::slice::from_ref(&path));
        assert_eq!(install(&places, Path::new("/run/a")).unwrap(), [] as [PathBuf; 0]);
        assert_eq!(install(&places, Path::new("/run/b")).unwrap(), std::slice::from_ref(&path));
        let list: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(list["plugins"][0]["runDir"], "/run/b");
        assert_eq!(list["cniVersion"], "1.1.0");
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn without_a_plugin_the_list_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let places = CniPlaces {
            configurations: Some(folder.path().join("net.d")),
            plugins: Some(folder.path().join("bin")),
        };
        // Tests run from a folder without a plugin.
        let error = install(&places, Path::new("/run/a")).unwrap_err();
        assert!(matches!(error, InstallError::NoPlugin { .. }), "{error}");
        assert!(!folder.path().join("net.d").exists());
    }
}
