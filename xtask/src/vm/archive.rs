//! The file system of a virtual machine, as the kernel takes it: an archive in cpio's `newc` form,
//! which it unpacks into memory when it boots (Documentation/driver-api/early-userspace in its
//! source). No driver and no file system of a disk is needed for it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;

/// What is at a path.
#[derive(Clone, Debug)]
enum Entry {
    Folder,
    /// The content of a file of this machine, with its permissions.
    Copy(PathBuf),
    Text(Vec<u8>),
    Link(PathBuf),
}

/// Files by their absolute paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Archive {
    /// Adds an empty folder, and those that it is in.
    pub(super) fn add_folder(&mut self, path: &Path) {
        for folder in path.ancestors().filter(|folder| folder.parent().is_some()) {
            // A link to a folder stays one.
            self.entries.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
    }

    /// Adds a file with the content of one of this machine.
    pub(super) fn add_copy(&mut self, path: &Path, from: &Path) {
        self.add(path, Entry::Copy(from.to_owned()));
    }

    /// Adds a file with this content.
    pub(super) fn add_text(&mut self, path: &Path, text: impl Into<Vec<u8>>) {
        self.add(path, Entry::Text(text.into()));
    }

    /// Adds a symbolic link.
    pub(super) fn add_link(&mut self, path: &Path, target: &Path) {
        self.add(path, Entry::Link(target.to_owned()));
    }

    /// Adds everything below a folder of this machine for which `wanted` says so, at `path`.
    pub(super) fn add_tree(
        &mut self,
        path: &Path,
        from: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<()> {
        let reading = || format!("reading folder {}", from.display());
        self.add_folder(path);
        for entry in fs::read_dir(from).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let (source, place) = (entry.path(), path.join(entry.file_name()));
            let kind = entry.file_type().with_context(reading)?;
            if !wanted(&source) {
                continue;
            }
            if kind.is_dir() {
                self.add_tree(&place, &source, wanted)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&source).with_context(reading)?;
                self.add_link(&place, &target);
            } else if kind.is_file() {
                self.add_copy(&place, &source);
            }
        }
        Ok(())
    }

    /// The files of this machine that are in it.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Path> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Copy(from) => Some(from.as_path()),
            _ => None,
        })
    }

    /// Whether there is something at a path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
    }

    /// Writes it to a file.
    pub(super) fn write_to(&self, path: &Path) -> Result<()> {
        let file = fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
        let mut writer = io::BufWriter::with_capacity(1 << 20, file);
        for (number, (place, entry)) in self.entries.iter().enumerate() {
            let (mode, content) = entry.read()?;
            member(&mut writer, number, mode, place, &content)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        member(&mut writer, 0, 0, Path::new("/TRAILER!!!"), &[])
            .and_then(|()| writer.flush())
            .with_context(|| format!("writing {}", path.display()))
    }

    fn add(&mut self, path: &Path, entry: Entry) {
        if let Some(folder) = path.parent() {
            self.add_folder(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

impl Entry {
    fn read(&self) -> Result<(u32, Vec<u8>)> {
        Ok(match self {
            Self::Folder => (FOLDER, Vec::new()),
            Self::Copy(from) => {
                let reading = || format!("reading {}", from.display());
                let mode = fs::metadata(from).with_context(reading)?.permissions().mode();
                (FILE | (mode & 0o777), fs::read(from).with_context(reading)?)
            }
            Self::Text(text) => (FILE | 0o644, text.clone()),
            Self::Link(target) => (LINK, target.to_string_lossy().into_owned().into_bytes()),
        })
    }
}

/// One file: fourteen numbers of eight hexadecimal digits, the name, the content; each of the latter
/// up to a multiple of four bytes.
fn member(
    writer: &mut impl Write,
    number: usize,
    mode: u32,
    place: &Path,
    content: &[u8],
) -> io::Result<()> {
    let name = place.to_string_lossy();
    let name = name.trim_start_matches('/');
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let too_large = |_| io::Error::other(format!("{name} is too large for an archive"));
    let size = u32::try_from(content.len()).map_err(too_large)?;
    let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
    let inode = u32::try_from(number + 1).map_err(too_large)?;
    write!(writer, "070701")?;
    // Inode, mode, user, group, links, time, size, device, device of a node, name's length, sum.
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
        write!(writer, "{field:08x}")?;
    }
    writer.write_all(name.as_bytes())?;
    pad(writer, 1, 110 + name.len())?;
    writer.write_all(content)?;
    pad(writer, 0, content.len())
}

/// Zeros: at least so many, and up to a multiple of four.
fn pad(writer: &mut impl Write, at_least: usize, written: usize) -> io::Result<()> {
    let zeros = (written + at_least).next_multiple_of(4) - written;
    writer.write_all(&[0; 4][..zeros])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn names_and_contents_begin_at_multiples_of_four() {
        for (name, content) in [("/a", "1"), ("/ab", "12"), ("/abc", "123"), ("/abcd", "1234")] {
            let mut bytes = Vec::new();
            member(&mut bytes, 0, FILE, Path::new(name), content.as_bytes()).unwrap();
            assert_eq!(bytes.len() % 4, 0);
            let start = bytes.len() - content.len().next_multiple_of(4);
            assert_eq!(&bytes[start..start + content.len()], content.as_bytes());
            assert_eq!(&bytes[..6], b"070701");
        }
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_links_to_folders_stay() {
        let mut archive = Archive::default();
        archive.add_link(Path::new("/bin"), Path::new("usr/bin"));
        archive.add_text(Path::new("/usr/bin/x"), "x");
        archive.add_folder(Path::new("/bin"));
        let places: Vec<String> =
            archive.entries.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(places, ["/bin", "/usr", "/usr/bin", "/usr/bin/x"]);
        assert!(matches!(archive.entries[Path::new("/bin")], Entry::Link(_)));
        assert_eq!(archive.copies().count(), 0);
    }

    #[test]
    fn what_cpio_reads_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        let mut archive = Archive::default();
        archive.add_text(Path::new("/etc/motd"), "hello");
        archive.add_copy(Path::new("/sh"), Path::new("/bin/sh"));
        archive.write_to(&path).unwrap();
        let listing = format!("cpio --quiet -itv < {}", path.display());
        // Not on every machine; the kernel, which reads the archives, is the better judge anyway.
        let Ok(output) = Command::new("cpio").arg("--version").output() else { return };
        assert!(output.status.success());
        let output = Command::new("sh").args(["-c", &listing]).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        for name in [" etc\n", " etc/motd\n", " sh\n"] {
            assert!(listed.contains(name), "{listed}");
        }
    }
}
