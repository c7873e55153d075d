//! The repository: where its files are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The repository's working tree.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// Finds the repository that this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let own_folder = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let Some(root) = own_folder.parent() else {
            bail!("{} has no parent folder; run `cargo xtask`", own_folder.display());
        };
        Ok(Self::at(root))
    }

    /// The repository at a folder.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the top folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The folder that builds go to, whatever `CARGO_TARGET_DIR` says: other people's scripts know
    /// it.
    pub(crate) fn target(&self) -> PathBuf {
        self.path("target")
    }

    /// The text of a file; the path is relative to the top folder.
    pub(crate) fn read(&self, relative: &str) -> Result<String> {
        let path = self.path(relative);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// The workspace's members, as the root manifest lists them.
    pub(crate) fn members(&self) -> Result<Vec<String>> {
        let manifest = self.read("Cargo.toml")?;
        let list = manifest
            .lines()
            .find_map(|line| line.strip_prefix("members = ["))
            .and_then(|rest| rest.strip_suffix(']'))
            .context("Cargo.toml: `members = [...]` is not on one line of its own")?;
        Ok(list.split(',').map(|member| member.trim().trim_matches('"').to_owned()).collect())
    }

    /// The version of all members, as the root manifest has it.
    pub(crate) fn version(&self) -> Result<String> {
        let manifest = self.read("Cargo.toml")?;
        let version = manifest
            .lines()
            .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
            .context("Cargo.toml: `version = \"...\"` is not on one line of its own")?;
        Ok(version.to_owned())
    }

    /// Every text file whose name ends in one of `suffixes`, relative to the top folder, in order.
    /// Builds and the version control's own files are left out.
    pub(crate) fn files(&self, suffixes: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let reading = || format!("reading folder {}", folder.display());
            for entry in fs::read_dir(&folder).with_context(reading)? {
                let entry = entry.with_context(reading)?;
                let name = entry.file_name();
                let kind = entry.file_type().with_context(reading)?;
                if kind.is_dir() && name != "target" && name != ".git" {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && suffixes.iter().any(|suffix| name.to_string_lossy().ends_with(suffix))
                    && let Ok(relative) = entry.path().strip_prefix(&self.root)
                {
                    found.push(relative.to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_of_the_root_manifest() {
        let members = Repository::find().unwrap().members().unwrap();
        assert!(members.contains(&"xtask".to_owned()), "{members:?}");
        assert!(members.contains(&"maps-schema".to_owned()), "{members:?}");
    }

    #[test]
    fn builds_are_no_files_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["target/a.rs", "b/target/c.rs", ".git/d.rs", "b/e.rs", "b/f.txt"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(Repository::at(folder.path()).files(&[".rs"]).unwrap(), ["b/e.rs"]);
    }
}
