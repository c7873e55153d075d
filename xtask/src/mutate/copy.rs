//! A copy of the sources, for mutations: the working tree stays as it is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::list::Mutation;
use crate::repository::Repository;

/// The copy, and where it is built.
pub(super) struct Copy {
    from: Repository,
    to: Repository,
    build: PathBuf,
}

impl Copy {
    /// The copy of a repository. It is not made yet.
    pub(super) fn of(repository: &Repository) -> Self {
        let folder = repository.target().join("mutants");
        Self {
            from: repository.clone(),
            to: Repository::at(&folder.join("source")),
            build: folder.join("build"),
        }
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        self.to.root()
    }

    /// Where it is built.
    pub(super) fn build(&self) -> &Path {
        &self.build
    }

    /// Makes the copy the same as what it is a copy of. Files that are the same stay, so that they
    /// are not compiled again.
    pub(super) fn reset(&self) -> Result<()> {
        fs::create_dir_all(self.root())
            .with_context(|| format!("making {}", self.root().display()))?;
        let wanted: BTreeSet<String> = self.from.files(&[""])?.into_iter().collect();
        for path in self.to.files(&[""])? {
            if !wanted.contains(&path) {
                let path = self.to.path(&path);
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        for path in &wanted {
            let from = self.from.path(path);
            let content = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            self.write(path, &content)?;
        }
        Ok(())
    }

    /// Breaks a rule.
    pub(super) fn apply(&self, mutation: &Mutation) -> Result<()> {
        let text = mutation.apply(&self.to.read(&mutation.file)?)?;
        self.write(&mutation.file, text.as_bytes())
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.to.path(path);
        if fs::read(&path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(self.root());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_again_after_a_mutation() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b.rs"), "one two").unwrap();
        let copy = Copy::of(&Repository::at(folder.path()));
        copy.reset().unwrap();
        let mutation = Mutation {
            name: String::new(),
            file: "a/b.rs".to_owned(),
            before: "two".to_owned(),
            after: "three".to_owned(),
        };
        copy.apply(&mutation).unwrap();
        fs::write(copy.root().join("a/left.txt"), "").unwrap();
        assert_eq!(fs::read(copy.root().join("a/b.rs")).unwrap(), b"one three");
        assert_eq!(fs::read(folder.path().join("a/b.rs")).unwrap(), b"one two");
        copy.reset().unwrap();
        assert_eq!(fs::read(copy.root().join("a/b.rs")).unwrap(), b"one two");
        assert!(!copy.root().join("a/left.txt").exists());
    }
}
