//! A tree of files in memory, and archives of it.
//!
//! An archive of the same tree has the same bytes, wherever and whenever it is made: files are in
//! order, belong to root, and have one time.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// The time that all files of an archive have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(Duration);

impl Timestamp {
    /// So many seconds after the beginning of 1970.
    pub(super) const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Seconds since the beginning of 1970.
    pub(super) const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

/// Who may do what with a file: everybody may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everybody may run it.
    Program,
    /// It is data.
    Data,
}

impl Mode {
    const fn bits(self) -> u32 {
        match self {
            Self::Program => 0o755,
            Self::Data => 0o644,
        }
    }
}

/// Files by their paths, without a slash in front.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<PathBuf, (Mode, Vec<u8>)>,
    folders: BTreeMap<PathBuf, u32>,
}

impl Tree {
    /// Adds a file.
    pub(super) fn add(
        &mut self,
        path: impl Into<PathBuf>,
        mode: Mode,
        content: impl Into<Vec<u8>>,
    ) {
        self.files.insert(path.into(), (mode, content.into()));
    }

    /// Adds a file of the disk.
    pub(super) fn add_from(
        &mut self,
        path: impl Into<PathBuf>,
        mode: Mode,
        from: &Path,
    ) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.add(path, mode, content);
        Ok(())
    }

    /// Adds a folder of these permissions, with nothing in it.
    pub(super) fn add_folder(&mut self, path: impl Into<PathBuf>, permissions: u32) {
        self.folders.insert(path.into(), permissions);
    }

    /// The same files below a folder.
    pub(super) fn below(self, folder: impl AsRef<Path>) -> Self {
        let below = |path: PathBuf| folder.as_ref().join(path);
        Self {
            files: self.files.into_iter().map(|(path, file)| (below(path), file)).collect(),
            folders: self.folders.into_iter().map(|(path, mode)| (below(path), mode)).collect(),
        }
    }

    /// The paths of the files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// How many bytes all files have.
    pub(super) fn size(&self) -> usize {
        self.files.values().map(|(_, content)| content.len()).sum()
    }

    /// A tar archive with every folder before what is in it; paths begin with `prefix`.
    pub(super) fn to_tar(&self, prefix: &str, time: Timestamp) -> Result<Vec<u8>> {
        let mut folders = self.folders.clone();
        for path in self.files.keys().chain(self.folders.keys()) {
            for parent in path.ancestors().skip(1).filter(|parent| *parent != Path::new("")) {
                folders.entry(parent.to_owned()).or_insert(0o755);
            }
        }
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode) in &folders {
            let mut header = header(EntryType::Directory, *mode, time);
            let path = format!("{prefix}{}/", path.display());
            append(&mut archive, &mut header, &path, &[])?;
        }
        for (path, (mode, content)) in &self.files {
            let mut header = header(EntryType::Regular, mode.bits(), time);
            header.set_size(content.len() as u64);
            let path = format!("{prefix}{}", path.display());
            append(&mut archive, &mut header, &path, content)?;
        }
        archive.into_inner().context("ending an archive")
    }
}

/// Adds a file by this very path: `Builder::append_data` leaves out the `./` in front, which dpkg
/// is used to.
fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    header: &mut Header,
    path: &str,
    content: &[u8],
) -> Result<()> {
    let written = match header.as_gnu_mut().and_then(|gnu| gnu.name.get_mut(..path.len())) {
        Some(name) => {
            name.copy_from_slice(path.as_bytes());
            header.set_cksum();
            archive.append(header, content)
        }
        // A long one takes an entry of its own.
        None => archive.append_data(header, path, content),
    };
    written.with_context(|| format!("writing {path} to an archive"))
}

fn header(kind: EntryType, mode: u32, time: Timestamp) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time.as_secs());
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

/// Compresses, without a name or time.
pub(super) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(content).context("compressing")?;
    encoder.finish().context("compressing")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.add("usr/bin/a", Mode::Program, "program");
        tree.add("etc/b", Mode::Data, "data");
        tree.add_folder("tmp", 0o1777);
        tree
    }

    #[test]
    fn an_archive_has_every_folder_before_its_files_and_one_time() {
        let bytes = tree().to_tar("./", Timestamp::from_secs(7)).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (7, 0));
            let mode = header.mode().unwrap();
            seen.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), mode, content));
        }
        let expected = [
            ("./etc/", 0o755, ""),
            ("./tmp/", 0o1777, ""),
            ("./usr/", 0o755, ""),
            ("./usr/bin/", 0o755, ""),
            ("./etc/b", 0o644, "data"),
            ("./usr/bin/a", 0o755, "program"),
        ];
        let expected = expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn long_paths_are_kept_whole() {
        let long = format!("{}/{}", "folder".repeat(20), "file".repeat(20));
        let mut tree = Tree::default();
        tree.add(&long, Mode::Data, "x");
        let bytes = tree.to_tar("", Timestamp::from_secs(0)).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let last = archive.entries().unwrap().last().unwrap().unwrap();
        assert_eq!(last.path().unwrap(), Path::new(&long));
    }

    #[test]
    fn compressed_twice_is_the_same_and_comes_back() {
        let content = b"some text".repeat(100);
        let packed = gzip(&content).unwrap();
        assert_eq!(packed, gzip(&content).unwrap());
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, content);
    }
}
