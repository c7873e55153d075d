//! Which files events name, and whether they may be read already.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::scan::is_manifest;

/// What events have named.
#[derive(Debug, Default)]
pub(super) struct Touched {
    files: HashSet<PathBuf>,
    /// Those that are being written: half a file must not be taken for a whole one.
    open: HashSet<PathBuf>,
    /// What is no manifest and was moved away, by the number of the move. Symbolic links may have
    /// led through it.
    moved_away: HashMap<usize, PathBuf>,
    /// Whether any file may have changed.
    anything: bool,
}

/// When to read what was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is complete.
    AtOnce,
    /// More may follow.
    WhenQuiet,
    /// A file is being written.
    WhenWritten,
}

impl Touched {
    /// Any file may have changed.
    pub(super) fn all() -> Self {
        Self { anything: true, ..Self::default() }
    }

    /// The manifests that were named.
    pub(super) const fn files(&self) -> &HashSet<PathBuf> {
        &self.files
    }

    /// Whether any other file may have changed too.
    pub(super) fn is_anything(&self) -> bool {
        self.anything || !self.moved_away.is_empty()
    }

    /// Whether an event is about reading: that changes nothing.
    pub(super) fn is_reading(event: &Event) -> bool {
        matches!(event.kind, EventKind::Access(kind)
            if kind != AccessKind::Close(AccessMode::Write))
    }

    /// Takes note that events were missed.
    pub(super) fn note_missed(&mut self) -> Pace {
        self.anything = true;
        self.pace(Pace::WhenQuiet)
    }

    /// Takes note of an event about a folder or what is in it.
    pub(super) fn note(&mut self, event: &Event, folder: &Path) -> Pace {
        self.anything |= event.need_rescan();
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.open.extend(event.paths.iter().cloned()),
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
            }
            _ => {}
        }
        let (manifests, others): (Vec<&PathBuf>, Vec<&PathBuf>) = event
            .paths
            .iter()
            .partition(|path| path.parent() == Some(folder) && is_manifest(path));
        self.files.extend(manifests.iter().map(|path| (*path).clone()));
        let number = event.tracker();
        match event.kind {
            // What is in other files is not read, unless through a symbolic link.
            EventKind::Modify(ModifyKind::Data(_)) | EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) if number.is_some() => {
                let gone = number.zip(others.first().map(|path| (*path).clone()));
                self.moved_away.extend(gone);
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both))
                if !manifests.is_empty() =>
            {
                if let Some(number) = number {
                    self.moved_away.remove(&number);
                }
            }
            // A manifest's own temporary file is made and written, and takes its place.
            EventKind::Create(_) if others.iter().all(|path| is_plain_file(path)) => {}
            _ => self.anything |= !others.is_empty(),
        }
        let is_complete = match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => false,
            EventKind::Modify(ModifyKind::Name(_)) => true,
            EventKind::Access(_) | EventKind::Remove(_) => !manifests.is_empty(),
            _ => false,
        };
        self.pace(if is_complete { Pace::AtOnce } else { Pace::WhenQuiet })
    }

    fn pace(&self, pace: Pace) -> Pace {
        if self.open.is_empty() { pace } else { Pace::WhenWritten }
    }
}

fn is_plain_file(path: &Path) -> bool {
    // One that is gone already was a temporary file.
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}
