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
            EventKind::Access(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => {
                for path in &event.paths {
                    self.open.remove(path);
                }
            }
            _ => {}
        }
        let (manifests, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
            event.paths.iter().partition(|path| path.parent() == Some(folder) && is_manifest(path));
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

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind};

    use super::*;

    const FOLDER: &str = "/nowhere/manifests";

    fn event(kind: EventKind, names: &[&str]) -> Event {
        let paths = names.iter().map(|name| Path::new(FOLDER).join(name));
        paths.fold(Event::new(kind), Event::add_path)
    }

    fn moved(mode: RenameMode, names: &[&str]) -> Event {
        event(EventKind::Modify(ModifyKind::Name(mode)), names).set_tracker(7)
    }

    /// What to do after these events, and whether all files are to be looked at.
    fn after(events: &[Event]) -> (Pace, bool, Vec<String>) {
        let mut touched = Touched::default();
        let mut pace = Pace::WhenQuiet;
        for event in events {
            pace = touched.note(event, Path::new(FOLDER));
        }
        let names = touched.files().iter().filter_map(|path| path.file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        (pace, touched.is_anything(), names)
    }

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    #[test]
    fn a_file_is_read_at_once_when_it_is_whole_and_not_before() {
        let written = event(WRITTEN, &["a.yaml"]);
        let closed = event(CLOSED, &["a.yaml"]);
        let names = vec!["a.yaml".to_owned()];
        assert_eq!(
            after(std::slice::from_ref(&written)),
            (Pace::WhenWritten, false, names.clone())
        );
        assert_eq!(after(&[written.clone(), closed.clone()]), (Pace::AtOnce, false, names));
        let other = event(WRITTEN, &["b.yaml"]);
        assert_eq!(after(&[written, other, closed]).0, Pace::WhenWritten);
        let made = event(EventKind::Create(CreateKind::File), &["a.yaml"]);
        assert_eq!(after(&[made]).0, Pace::WhenQuiet);
        let gone = event(EventKind::Remove(RemoveKind::File), &["a.yaml"]);
        assert_eq!(after(&[gone]).0, Pace::AtOnce);
    }

    #[test]
    fn a_temporary_file_that_takes_a_files_place_is_that_file_alone() {
        let events = [
            event(WRITTEN, &[".a.yaml.new"]),
            event(CLOSED, &[".a.yaml.new"]),
            moved(RenameMode::From, &[".a.yaml.new"]),
            moved(RenameMode::To, &["a.yaml"]),
        ];
        let names = vec!["a.yaml".to_owned()];
        assert_eq!(after(&events[..2]), (Pace::WhenQuiet, false, vec![]));
        assert_eq!(after(&events[..3]), (Pace::WhenQuiet, true, vec![]));
        assert_eq!(after(&events), (Pace::AtOnce, false, names));
    }

    #[test]
    fn what_symbolic_links_may_lead_through_concerns_all_files() {
        assert_eq!(after(&[moved(RenameMode::To, &["..data"])]), (Pace::AtOnce, true, vec![]));
        assert!(after(&[event(EventKind::Remove(RemoveKind::Any), &["..data"])]).1);
        assert!(
            after(&[event(EventKind::Any, &["a.yaml"]).set_flag(notify::event::Flag::Rescan)]).1
        );
    }
}
