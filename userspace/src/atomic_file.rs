//! Files that are either as they were or as they shall be, never half written: written beside their
//! place, brought to the disk, then renamed into it.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Puts `bytes` into the file at `path`; folders on the way are made. One writer at a time per
/// path.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_then(path, bytes, |_| Ok(()))
}

/// The same for a file whose mode matters.
pub(crate) fn write_with_mode(path: &Path, bytes: &[u8], mode: &Permissions) -> io::Result<()> {
    write_and_then(path, bytes, |file| file.set_permissions(mode.clone()))
}

fn write_and_then(
    path: &Path,
    bytes: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = with_suffix(path, ".tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    finish(&file)?;
    file.sync_all()?;
    // Whoever runs the file may do so at once, and it must not be open for writing then.
    drop(file);
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Moves the file at `path` aside, so that it can be looked at, and says where it went.
pub(crate) fn keep_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = with_suffix(path, ".corrupt");
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/state.json");
        write(&path, b"first, and longer").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_file_kept_aside_is_no_longer_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write(&path, b"{").unwrap();
        let aside = keep_aside(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(aside).unwrap(), b"{");
    }
}
