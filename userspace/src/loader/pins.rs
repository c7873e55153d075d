//! What is pinned below `--bpffs`, so that packets need no process: the maps and the links.
//!
//! ```text
//! <bpffs>/<schema version>/maps/CONNECTIONS_V4 ...
//! <bpffs>/<schema version>/links/tc_pod_ingress@veth1234abcd ...
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;
use maps_schema::maps::SCHEMA_VERSION;
use nix::{
    mount::{MsFlags, mount, umount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::LoadError;

/// The file in the run directory that says where a BPF file system was mounted.
pub const MOUNT_RECORD: &str = "bpffs-mount";

/// The directories of one agent.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Names the directories below `bpffs`; makes nothing.
    pub fn below(bpffs: &Path) -> Self {
        Self { root: bpffs.to_owned() }
    }

    /// Makes the directories. Where `bpffs` is on no BPF file system, one is mounted: on it, or,
    /// for a directory below `/sys/fs/bpf`, on that. A file in `run_dir` remembers that.
    pub fn create(&self, run_dir: &Path) -> Result<(), LoadError> {
        let failed = |path: &Path, error| LoadError::Directory { path: path.to_owned(), error };
        let mount_point = mount_point(&self.root);
        if !is_bpffs(mount_point) {
            if mount_point == self.root {
                fs::create_dir_all(mount_point).map_err(|error| failed(mount_point, error))?;
            }
            mount(Some("bpf"), mount_point, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .map_err(|error| failed(mount_point, error.into()))?;
            let record = run_dir.join(MOUNT_RECORD);
            fs::write(&record, mount_point.as_os_str().as_encoded_bytes())
                .map_err(|error| failed(&record, error))?;
        }
        for directory in [self.maps(), self.links()] {
            fs::create_dir_all(&directory).map_err(|error| failed(&directory, error))?;
        }
        Ok(())
    }

    /// Where the maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.root.join(SCHEMA_VERSION).join("maps")
    }

    /// Where the links are pinned.
    pub fn links(&self) -> PathBuf {
        self.root.join(SCHEMA_VERSION).join("links")
    }

    /// Where a program's link to a place is pinned.
    pub fn link(&self, program: &str, place: &str) -> PathBuf {
        // bpffs refuses names with a dot.
        self.links().join(format!("{program}@{}", place.replace('.', ":")))
    }

    /// The places that a program has a pinned link to.
    pub(super) fn places(&self, program: &str) -> Vec<String> {
        let pins = entries(&self.links()).unwrap_or_default();
        let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
        names
            .filter_map(|name| name.strip_prefix(program)?.strip_prefix('@'))
            .map(|place| place.replace(':', "."))
            .collect()
    }

    /// Removes every pin of every schema version; with the links go the attachments. Unmounts the
    /// file system if an agent with this `run_dir` has mounted it, and nobody else uses it.
    pub fn remove(&self, run_dir: &Path) -> io::Result<()> {
        if !self.root.exists() || !is_bpffs(&self.root) {
            return Ok(());
        }
        // The kernel has files of its own at the top (`maps.debug`).
        for version in entries(&self.root)?.into_iter().filter(|path| path.is_dir()) {
            // Links first: what has no link needs no map.
            for kind in ["links", "maps"] {
                let directory = version.join(kind);
                if !directory.is_dir() {
                    continue;
                }
                for pin in entries(&directory)? {
                    fs::remove_file(&pin)?;
                }
                fs::remove_dir(&directory)?;
            }
            fs::remove_dir(&version)?;
        }
        let mount_point = mount_point(&self.root);
        if mount_point != self.root {
            fs::remove_dir(&self.root)?;
        }
        let record = fs::read(run_dir.join(MOUNT_RECORD)).unwrap_or_default();
        let used = entries(mount_point)?.iter().any(|entry| entry.is_dir());
        if record == mount_point.as_os_str().as_encoded_bytes() && !used {
            umount(mount_point)?;
            if mount_point == self.root {
                fs::remove_dir(&self.root)?;
            }
        }
        Ok(())
    }
}

/// A directory below `/sys/fs/bpf` cannot be made before that is a BPF file system.
fn mount_point(root: &Path) -> &Path {
    let standard = Path::new("/sys/fs/bpf");
    if root.starts_with(standard) { standard } else { root }
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// The shape that a map must have to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapShape {
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
}

/// aya takes whatever is pinned under a map's name: what does not fit must be found before.
pub(super) fn check_pin(path: &Path, wanted: MapShape) -> Result<(), LoadError> {
    if !path.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(path)
        .map_err(|error| LoadError::Pin { path: path.to_owned(), error: error.to_string() })?;
    let found = MapShape {
        key_size: info.key_size(),
        value_size: info.value_size(),
        max_entries: info.max_entries(),
    };
    if found == wanted {
        Ok(())
    } else {
        Err(LoadError::Pin {
            path: path.to_owned(),
            error: format!("it holds a map of another shape ({found:?}, wanted {wanted:?})"),
        })
    }
}
