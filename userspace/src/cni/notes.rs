//! Word for the next agent of a DEL that no agent could carry out.
//!
//! The plugin writes a file for each into a folder of the run directory, then asks once more: an
//! agent that listens by then did not see the file when it began, and one that does not listen yet
//! will. So no word is lost, whenever the agent starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{atomic_file, attachments::AttachmentKey, podnet::host_interface_of};

/// The folder's name under the run directory.
const FOLDER: &str = "cni-deleted";

/// File names are at most 255 bytes; the rest is for suffixes.
const LONGEST_NAME: usize = 200;

/// Leaves word that an attachment is deleted.
///
/// # Errors
/// The file cannot be written.
pub fn leave(run_dir: &Path, key: &AttachmentKey) -> io::Result<()> {
    atomic_file::write(&path(run_dir, key), &serde_json::to_vec(key)?)
}

/// Takes the word back. That there is none is fine.
///
/// # Errors
/// The file cannot be removed.
pub fn take_back(run_dir: &Path, key: &AttachmentKey) -> io::Result<()> {
    gone_is_fine(fs::remove_file(path(run_dir, key)))
}

/// The attachments that are deleted. What cannot be read as one is removed, with a warning.
pub fn read(run_dir: &Path) -> Vec<AttachmentKey> {
    let entries = fs::read_dir(run_dir.join(FOLDER)).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let files = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "json"));
    files.filter_map(|path| read_one(&path)).collect()
}

/// Removes all that was left, for `shunt cleanup`.
///
/// # Errors
/// The folder cannot be removed.
pub fn remove(run_dir: &Path) -> io::Result<()> {
    gone_is_fine(fs::remove_dir_all(run_dir.join(FOLDER)))
}

fn read_one(path: &Path) -> Option<AttachmentKey> {
    let read = fs::read(path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
    match read {
        Ok(key) => Some(key),
        Err(error) => {
            log::warn!("removing {}, which is no word of a DEL: {error}", path.display());
            // It is looked at again at the next start.
            let _ = fs::remove_file(path);
            None
        }
    }
}

fn path(run_dir: &Path, key: &AttachmentKey) -> PathBuf {
    let AttachmentKey { container_id, interface } = key;
    let mut name = format!("{container_id}@{interface}");
    if name.len() > LONGEST_NAME {
        name = host_interface_of(container_id, interface);
    }
    run_dir.join(FOLDER).join(format!("{name}.json"))
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container_id: &str) -> AttachmentKey {
        AttachmentKey { container_id: container_id.to_owned(), interface: "eth0".to_owned() }
    }

    #[test]
    fn what_was_left_is_read_until_it_is_taken_back() {
        let run_dir = tempfile::tempdir().unwrap();
        let folder = run_dir.path().join("not/there/yet");
        let keys = [key("a"), key(&"b".repeat(300))];
        for key in &keys {
            leave(&folder, key).unwrap();
            leave(&folder, key).unwrap();
        }
        let mut found = read(&folder);
        found.sort();
        assert_eq!(found, keys);
        take_back(&folder, &keys[0]).unwrap();
        take_back(&folder, &keys[0]).unwrap();
        assert_eq!(read(&folder), [keys[1].clone()]);
        remove(&folder).unwrap();
        remove(&folder).unwrap();
        assert_eq!(read(&folder), []);
    }

    #[test]
    fn what_is_no_word_of_a_del_is_removed() {
        let run_dir = tempfile::tempdir().unwrap();
        let file = run_dir.path().join(FOLDER).join("broken.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "{").unwrap();
        assert_eq!(read(run_dir.path()), []);
        assert!(!file.exists());
    }
}
