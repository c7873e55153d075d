//! What the machine looks like, to compare before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

/// Where `ip netns` finds namespaces.
pub(super) const NETNS: &str = "/run/netns";
/// Where `ip netns exec` finds files for a namespace.
pub(super) const NETNS_FILES: &str = "/etc/netns";

/// Settings of the machine's own network namespace that a node's networking changes in its own.
const SETTINGS: [&str; 2] =
    ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// Named namespaces, mounts, links and settings of the machine, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    lines: BTreeSet<String>,
}

impl State {
    /// Looks.
    pub(super) fn now() -> Self {
        let mut lines = BTreeSet::new();
        for folder in [NETNS, NETNS_FILES] {
            let folder = Path::new(folder);
            if folder.exists() {
                lines.insert(folder_line(folder));
            }
            lines.extend(names_in(folder).iter().map(|name| {
                let path = folder.join(name);
                format!("entry {}", path.display())
            }));
        }
        lines.extend(
            names_in(Path::new("/sys/class/net")).iter().map(|name| format!("link {name}")),
        );
        for setting in SETTINGS {
            let value = fs::read_to_string(setting).unwrap_or_default();
            lines.insert(format!("setting {setting} = {}", value.trim()));
        }
        let mut mounts: BTreeMap<String, usize> = BTreeMap::new();
        for target in mount_targets() {
            *mounts.entry(target).or_default() += 1;
        }
        for (target, count) in mounts {
            let target = Path::new(&target);
            lines.extend((1..=count).map(|layer| mount_line(target, layer)));
        }
        Self { lines }
    }

    /// Reads what [`State::save`] wrote.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// Writes it down.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        fs::write(path, lines.join("\n")).with_context(|| format!("writing {}", path.display()))
    }

    /// Whether a folder was there.
    pub(super) fn has_folder(&self, folder: &Path) -> bool {
        self.lines.contains(&folder_line(folder))
    }

    /// How many file systems are mounted on a folder, those included that nobody sees because
    /// another is mounted on them, or on a folder above.
    pub(super) fn mounts(&self, target: &Path) -> usize {
        let is_there = |layer: &usize| self.lines.contains(&mount_line(target, *layer));
        (1..=self.lines.len()).take_while(is_there).count()
    }

    /// What is only in `later`, and what is only here, a line each.
    pub(super) fn differences(&self, later: &Self) -> Vec<String> {
        let left = later.lines.difference(&self.lines);
        let gone = self.lines.difference(&later.lines);
        left.map(|line| format!("left behind: {line}"))
            .chain(gone.map(|line| format!("gone: {line}")))
            .collect()
    }
}

fn folder_line(folder: &Path) -> String {
    format!("folder {}", folder.display())
}

fn mount_line(target: &Path, layer: usize) -> String {
    format!("mount {} (layer {layer})", target.display())
}

/// The names in a folder; none if it is not there.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn mount_targets() -> Vec<String> {
    // proc_pid_mountinfo(5): the mount point is the fifth field.
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_differs_in_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::now();
        assert!(state.mounts(Path::new("/")) > 0, "{state:?}");
        assert_eq!(state.mounts(folder.path()), 0);
        let path = folder.path().join("before");
        state.save(&path).unwrap();
        let loaded = State::load(&path).unwrap();
        assert_eq!(state.differences(&loaded), Vec::<String>::new());
    }

    #[test]
    fn both_what_is_left_and_what_is_gone_is_named() {
        let state = |line: &str| State { lines: BTreeSet::from([line.to_owned()]) };
        assert_eq!(
            state("link a").differences(&state("link b")),
            ["left behind: link b", "gone: link a"]
        );
    }
}
