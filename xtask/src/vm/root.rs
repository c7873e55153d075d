//! The files of a virtual machine: the programs that tests run, with their libraries, from this
//! machine, each at the place where it is here.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::archive::Archive;
use crate::{process::answer, repository::Repository};

/// What tests, and the programs that they call, run.
const PROGRAMS: [&str; 33] = [
    "bash",
    "bridge",
    "cat",
    "curl",
    "date",
    "dig",
    "ethtool",
    "find",
    "getent",
    "ip",
    "ip6tables",
    "ip6tables-legacy-restore",
    "ip6tables-restore",
    "ip6tables-save",
    "iperf3",
    "iptables",
    "iptables-legacy-restore",
    "iptables-restore",
    "iptables-save",
    "ls",
    "modprobe",
    "mount",
    "nft",
    "nsenter",
    "openssl",
    "python3",
    "rmmod",
    "setpriv",
    "sh",
    "sleep",
    "sysctl",
    "tc",
    "timeout",
];

/// What a person at the console would miss; it is there where it is here.
const HANDY: [&str; 30] = [
    "bpftool", "chmod", "cp", "cut", "dd", "df", "dmesg", "echo", "env", "false", "grep", "head",
    "id", "ipvsadm", "kill", "ln", "lsmod", "mkdir", "mv", "ps", "readlink", "rm", "sed", "ss",
    "tail", "touch", "true", "umount", "uname", "wc",
];

/// Folders that programs read, as they are here.
const FOLDERS: [&str; 6] = [
    "/etc/iproute2",
    "/usr/lib/python3/dist-packages/scapy",
    "/usr/lib/ssl",
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/share/iproute2",
    "/etc/alternatives",
];

/// Files that programs read.
const FILES: [&str; 8] = [
    "/etc/group",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/openssl.cnf",
    "/etc/ethertypes",
];

/// Parts of Python's own library that nobody here needs, and that are most of it.
const NOT_OF_PYTHON: [&str; 6] =
    ["test", "idlelib", "lib2to3", "ensurepip", "pydoc_data", "__pycache__"];

/// Where the kernel mounts what it makes, and where tests work.
const EMPTY: [&str; 9] =
    ["/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/var/lib", "/var/tmp", "/mnt"];

/// Where programs are, inside.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a program is that is found inside, too: not what this machine's user has put before it.
fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The file system without what is under test.
pub(super) fn of_this_machine() -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in ["bin", "sbin", "lib", "lib64"] {
        // Where these are links, everything is below `/usr`.
        if let Ok(target) = fs::read_link(Path::new("/").join(folder)) {
            archive.add_link(&Path::new("/").join(folder), &target);
            archive.add_folder(&Path::new("/").join(&target));
        }
    }
    for folder in EMPTY {
        archive.add_folder(Path::new(folder));
    }
    let mut missing = Vec::new();
    for name in PROGRAMS {
        match find(name) {
            Some(path) => add_program(&mut archive, &path)?,
            None => missing.push(name),
        }
    }
    for path in HANDY.into_iter().filter_map(find) {
        add_program(&mut archive, &path)?;
    }
    if !missing.is_empty() {
        bail!(
            "tests need programs that are not here: {}; try `cargo xtask setup`",
            missing.join(" ")
        );
    }
    for file in FILES {
        if Path::new(file).is_file() {
            archive.add_copy(Path::new(file), Path::new(file));
        }
    }
    for folder in FOLDERS {
        if Path::new(folder).is_dir() {
            archive.add_tree(Path::new(folder), Path::new(folder), &|_| true)?;
        }
    }
    add_python(&mut archive)?;
    Ok(archive)
}

/// Adds what is under test: tests' own files, at the places that are compiled into them.
pub(super) fn add_repository(archive: &mut Archive, repository: &Repository) -> Result<()> {
    for folder in ["tests/conformance", "tests/fixtures", "tests/tests", "tests/verifier"] {
        let folder = repository.path(folder);
        if folder.is_dir() {
            archive.add_tree(&folder, &folder, &|_| true)?;
        }
    }
    Ok(())
}

/// Adds a program under its name here, and the libraries of all programs that are there by then.
pub(super) fn add_program(archive: &mut Archive, path: &Path) -> Result<()> {
    let finding = || format!("finding {}", path.display());
    let real = fs::canonicalize(path).with_context(finding)?;
    let folder = fs::canonicalize(path.parent().unwrap_or(Path::new("/"))).with_context(finding)?;
    let place = folder.join(path.file_name().with_context(finding)?);
    if place != real {
        archive.add_link(&place, &real);
    }
    archive.add_copy(&real, &real);
    Ok(())
}

/// Adds the shared libraries that what is in the archive needs.
pub(super) fn add_libraries(archive: &mut Archive) -> Result<()> {
    let programs: Vec<PathBuf> =
        archive.copies().filter(|path| is_elf(path)).map(Path::to_owned).collect();
    // Programs that are linked statically make ldd fail; it tells of the others all the same.
    let output = Command::new("ldd")
        .args(&programs)
        .output()
        .context("asking ldd for libraries; `apt-get install libc-bin` brings it")?;
    for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
        let real = fs::canonicalize(&library)
            .with_context(|| format!("finding library {}", library.display()))?;
        add_program(archive, &library)?;
        debug_assert!(archive.has(&real));
    }
    Ok(())
}

/// The paths in what ldd prints.
fn libraries(printed: &str) -> BTreeSet<PathBuf> {
    printed
        .lines()
        .filter(|line| line.starts_with('\t'))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
        // Kernel modules and BPF objects have no libraries.
        && !path.to_string_lossy().ends_with(".ko")
        && path.extension().is_none_or(|extension| extension != "o")
}

fn add_python(archive: &mut Archive) -> Result<()> {
    let asked =
        answer("/usr/bin/python3", ["-c", "import os; print(os.path.dirname(os.__file__))"])
            .context("/usr/bin/python3 does not run; `apt-get install python3`")?;
    let folder = PathBuf::from(asked.trim());
    archive.add_tree(&folder, &folder, &|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !NOT_OF_PYTHON.contains(&&*name) && !name.starts_with("config-")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_a_library_in_each_of_its_ways() {
        let printed = "/bin/x:\n\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x3)\n/bin/y:\n\tnot a dynamic executable\n";
        let found: Vec<PathBuf> = libraries(printed).into_iter().collect();
        assert_eq!(
            found,
            [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]
        );
    }

    #[test]
    fn a_program_is_there_by_its_name_and_with_its_libraries() {
        let mut archive = Archive::default();
        let shell = find("sh").unwrap();
        add_program(&mut archive, &shell).unwrap();
        assert!(archive.has(&fs::canonicalize(&shell).unwrap()));
        let before = archive.copies().count();
        add_libraries(&mut archive).unwrap();
        assert!(archive.copies().count() > before);
    }
}
