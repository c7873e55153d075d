//! What is mounted where, from `/proc/self/mountinfo`.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// A mount of this process's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory of its file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The type of its file system, as in `cgroup2`.
    pub file_system: String,
}

/// Reads the mounts of this process's mount namespace, in the order in which they were made.
pub fn mounts() -> io::Result<Vec<Mount>> {
    fs::read_to_string("/proc/self/mountinfo").map(|text| parse(&text))
}

/// The root of the cgroup2 hierarchy: where it is mounted as a whole, else the first mount of a
/// part of it.
pub fn cgroup2_root(mounts: &[Mount]) -> Option<&Path> {
    let cgroup2 = || mounts.iter().filter(|mount| mount.file_system == "cgroup2");
    cgroup2()
        .find(|mount| mount.root == Path::new("/"))
        .or_else(|| cgroup2().next())
        .map(|mount| mount.target.as_path())
}

/// Reads the lines of proc_pid_mountinfo(5); those of another shape are passed over.
fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    // A variable number of optional fields stands before the separator.
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    Some(Mount {
        root: unescape(fields.next()?),
        target: unescape(fields.next()?),
        file_system: file_system.split(' ').next()?.to_owned(),
    })
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = tail.get(if escaped.is_some() { 3 } else { 0 }..).unwrap_or_default();
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:38 /part /mnt/a\\040b rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_whole_cgroup2_hierarchy_is_preferred_to_a_part_of_it() {
        let mounts = parse(HYBRID);
        assert_eq!(cgroup2_root(&mounts), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_root(&mounts[..2]), Some(Path::new("/mnt/a b")));
        assert_eq!(cgroup2_root(&mounts[..1]), None);
    }

    #[test]
    fn this_machines_mounts_are_read() {
        let mounts = mounts().unwrap();
        assert!(mounts.iter().any(|mount| mount.target == Path::new("/proc")), "{mounts:?}");
    }
}
