//! Network namespaces as the runtime names them: by path.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Whether a path is this process's own network namespace. What is nothing is not it.
pub(super) fn is_own(path: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(path).is_some() && identity(path) == identity(Path::new("/proc/self/ns/net"))
}

/// The path without symbolic links, as `/var/run` is one on most systems: the agent may be in a
/// container that has the folder by its real name only. The last part is not followed: in `/proc`
/// it leads nowhere that has a name.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let real = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    match (real, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
