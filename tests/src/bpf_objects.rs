//! Which BPF maps and programs belong to one agent, and whether they are gone.
//!
//! Identities are the kernel's and machine-wide, so tests beside each other do not mistake each
//! other's objects.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use aya::{
    maps::{MapInfo, loaded_maps},
    programs::loaded_programs,
};

/// Identities of BPF objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BpfObjects {
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Programs.
    pub programs: BTreeSet<u32>,
}

impl BpfObjects {
    /// The maps pinned below a folder, and the programs that use any of them.
    pub fn pinned_below(folder: &Path) -> Self {
        let mut maps = BTreeSet::new();
        for path in files_below(folder) {
            if let Ok(info) = MapInfo::from_pin(&path) {
                maps.insert(info.id());
            }
        }
        let programs = loaded_programs()
            .flatten()
            .filter(|program| {
                program
                    .map_ids()
                    .ok()
                    .flatten()
                    .is_some_and(|ids| ids.iter().any(|id| maps.contains(id)))
            })
            .map(|program| program.id())
            .collect();
        Self { maps, programs }
    }

    /// Those that the kernel still has.
    #[must_use]
    pub fn still_loaded(&self) -> Self {
        let maps: BTreeSet<u32> = loaded_maps().flatten().map(|map| map.id()).collect();
        let programs: BTreeSet<u32> =
            loaded_programs().flatten().map(|program| program.id()).collect();
        Self {
            maps: self.maps.intersection(&maps).copied().collect(),
            programs: self.programs.intersection(&programs).copied().collect(),
        }
    }
}

/// All files below a folder; none if it is not there.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
