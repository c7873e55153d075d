//! Which files of the folder changed since they were last read.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::source::manifests::folder::Reading;

/// Tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The files as last read.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    files: BTreeMap<Arc<Path>, Option<Signature>>,
}

/// The identity of a directory: its device and inode.
pub(super) type DirectoryId = (u64, u64);

/// The identity of the directory at this path, symbolic links followed.
pub(super) fn directory_id(directory: &Path) -> io::Result<DirectoryId> {
    let metadata = fs::metadata(directory)?;
    if metadata.is_dir() {
        Ok((metadata.dev(), metadata.ino()))
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

impl Scanner {
    /// Reads the files that are new or changed, and finds those that are gone. A file in `touched`
    /// is read whatever its signature says: two writes can fall into one tick of its clock.
    pub(super) fn scan(
        &mut self,
        directory: &Path,
        touched: &HashSet<PathBuf>,
    ) -> io::Result<Vec<(Arc<Path>, Reading)>> {
        let mut found: BTreeMap<Arc<Path>, Option<Signature>> = BTreeMap::new();
        let mut readings = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if is_manifest(&path) {
                let is_touched = touched.contains(&path);
                self.read(path.into(), is_touched, &mut found, &mut readings);
            }
        }
        let gone = self.files.keys().filter(|path| !found.contains_key(*path));
        readings.extend(gone.map(|path| (Arc::clone(path), Reading::Gone)));
        self.files = found;
        Ok(readings)
    }

    /// Reads these files, where they are there, and no others.
    pub(super) fn look_at(&mut self, touched: &HashSet<PathBuf>) -> Vec<(Arc<Path>, Reading)> {
        let mut readings = Vec::new();
        for path in touched {
            let path: Arc<Path> = path.as_path().into();
            let mut found = BTreeMap::new();
            self.read(Arc::clone(&path), true, &mut found, &mut readings);
            if found.is_empty() && self.files.remove(&path).is_some() {
                readings.push((path, Reading::Gone));
            }
            self.files.extend(found);
        }
        readings
    }

    fn read(
        &self,
        path: Arc<Path>,
        is_touched: bool,
        found: &mut BTreeMap<Arc<Path>, Option<Signature>>,
        readings: &mut Vec<(Arc<Path>, Reading)>,
    ) {
        let known = self.files.get(&path).copied();
        match look(&path) {
            Ok(None) => {}
            Ok(Some(signature)) if known == Some(Some(signature)) && !is_touched => {
                found.insert(path, Some(signature));
            }
            Ok(Some(signature)) => match fs::read(&path) {
                Ok(bytes) => {
                    readings.push((Arc::clone(&path), Reading::Content(bytes)));
                    found.insert(path, Some(signature));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable(path, &error, readings, found),
            },
            Err(error) => unreadable(path, &error, readings, found),
        }
    }
}

fn unreadable(
    path: Arc<Path>,
    error: &io::Error,
    readings: &mut Vec<(Arc<Path>, Reading)>,
    found: &mut BTreeMap<Arc<Path>, Option<Signature>>,
) {
    readings.push((Arc::clone(&path), Reading::Unreadable(format!("it cannot be read: {error}"))));
    found.insert(path, None);
}

/// The file's signature; nothing where there is no file, or a directory.
fn look(path: &Path) -> io::Result<Option<Signature>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() {
        return Ok(None);
    }
    // A pipe or device would block the reader.
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(Some(Signature {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    }))
}

/// Whether a shell's `*.yaml`, `*.yml` or `*.json` would find the file: hidden files, which editors
/// make, are none.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_bytes().starts_with(b"."));
    let extension = path.extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}
