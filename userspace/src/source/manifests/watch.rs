//! Watching the folder.
//!
//! The kernel says that something changed (inotify, on the folder and on its parent, because the
//! folder itself may be moved away and made again); what changed is found by looking. A look every
//! second besides finds what inotify does not see: writes through symbolic links and other hosts'
//! writes to network file systems.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::mpsc as events,
    thread,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

use crate::{
    heap,
    source::{
        Batch, SourceError,
        error_log::ErrorLog,
        manifests::{
            folder::{Folder, Reading},
            scan::{DirectoryId, Scanner, directory_id},
        },
    },
};

/// How long it must be quiet after an event before the folder is read.
const QUIET: Duration = Duration::from_millis(15);
/// How long after the first event it is read in any case: a file that somebody keeps open and
/// writes to must not hold up the others.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// How often it is looked at without an event.
const POLL: Duration = Duration::from_secs(1);

/// Files of so many bytes together take memory to read that is worth giving back.
const LARGE: usize = 1 << 20;

/// Why the folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel gives no inotify instance.
    #[error("cannot watch {}: raise fs.inotify.max_user_instances", directory.display())]
    Inotify {
        /// The folder.
        directory: PathBuf,
        /// What the kernel said.
        source: notify::Error,
    },
    /// The kernel gives no thread.
    #[error("cannot start a thread to watch {}", directory.display())]
    Thread {
        /// The folder.
        directory: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Watches a folder of manifests on a thread of its own, until the receiver is dropped.
///
/// The first batch comes at once: all that the folder holds, or, with `synced` false, the error
/// that it cannot be read; then one batch per change of objects or errors. New errors are logged.
pub fn watch(directory: &Path) -> Result<mpsc::Receiver<Batch>, WatchError> {
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let (sender, receiver) = mpsc::channel(1);
    let (event_sender, event_receiver) = events::channel();
    let watcher = RecommendedWatcher::new(event_sender, notify::Config::default())
        .map_err(|source| WatchError::Inotify { directory: directory.clone(), source })?;
    let mut watch = Watch {
        watcher,
        events: event_receiver,
        watched: None,
        folder: Folder::default(),
        scanner: Scanner::default(),
        synced: false,
        error_log: ErrorLog::default(),
        last_errors: None,
        has_read_much: false,
        directory: directory.clone(),
    };
    let body = move || watch.run(&sender);
    thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(body)
        .map_err(|source| WatchError::Thread { directory, source })?;
    Ok(receiver)
}

struct Watch {
    directory: PathBuf,
    watcher: RecommendedWatcher,
    events: events::Receiver<notify::Result<Event>>,
    watched: Option<DirectoryId>,
    folder: Folder,
    scanner: Scanner,
    synced: bool,
    error_log: ErrorLog,
    last_errors: Option<Vec<SourceError>>,
    /// Since memory was last given back.
    has_read_much: bool,
}

impl Watch {
    fn run(&mut self, sender: &mpsc::Sender<Batch>) {
        if let Some(parent) = self.directory.parent()
            && let Err(error) = self.watcher.watch(parent, RecursiveMode::NonRecursive)
        {
            log::debug!("unwatched directory={} reason={error}", parent.display());
        }
        let mut touched = HashSet::new();
        while !sender.is_closed() {
            let batch = self.read(&touched);
            let news =
                !batch.changes.is_empty() || self.last_errors.as_ref() != Some(&batch.errors);
            if news {
                self.error_log.update(&batch.errors);
                self.last_errors = Some(batch.errors.clone());
                if sender.blocking_send(batch).is_err() {
                    return;
                }
            }
            // The change is under way by now: this holds up nobody.
            if std::mem::take(&mut self.has_read_much) {
                heap::give_back();
            }
            touched = self.wait();
        }
    }

    /// Reads what changed. Where the folder cannot be read, all of it stays in force.
    fn read(&mut self, touched: &HashSet<PathBuf>) -> Batch {
        let readings =
            self.watch_directory().and_then(|()| self.scanner.scan(&self.directory, touched));
        match readings {
            Ok(readings) => {
                // The first batch after the folder appeared differs from an error's in its errors.
                self.synced = true;
                let read = readings.iter().map(|(_, reading)| match reading {
                    Reading::Content(bytes) => bytes.len(),
                    Reading::Unreadable(_) | Reading::Gone => 0,
                });
                self.has_read_much |= read.sum::<usize>() > LARGE;
                self.folder.update(readings)
            }
            Err(error) => {
                let mut errors = self.folder.errors();
                let message = format!(
                    "the folder cannot be read: {error}; waiting for it, and keeping what it said"
                );
                errors.insert(0, SourceError::about_file(&self.directory, message));
                Batch { changes: Vec::new(), errors, synced: self.synced }
            }
        }
    }

    /// Watches the directory that is now at the folder's path.
    fn watch_directory(&mut self) -> std::io::Result<()> {
        let id = directory_id(&self.directory).inspect_err(|_| self.watched = None)?;
        if self.watched == Some(id) {
            return Ok(());
        }
        // The old watch, if any, is of another directory, or of one that is gone.
        let _ = self.watcher.unwatch(&self.directory);
        self.watcher
            .watch(&self.directory, RecursiveMode::NonRecursive)
            .map_err(std::io::Error::other)?;
        self.watched = Some(id);
        Ok(())
    }

    /// Waits until something changed and it is quiet again, and says which files were named.
    fn wait(&self) -> HashSet<PathBuf> {
        let mut touched = HashSet::new();
        let mut open = HashSet::new();
        let mut deadline = Instant::now() + POLL;
        let mut last_moment = None;
        loop {
            let timeout = deadline.saturating_duration_since(Instant::now());
            let event = match self.events.recv_timeout(timeout) {
                Ok(event) => event,
                Err(events::RecvTimeoutError::Timeout) => return touched,
                Err(events::RecvTimeoutError::Disconnected) => {
                    thread::sleep(timeout);
                    return touched;
                }
            };
            match event {
                Ok(event) if self.concerns(&event) => {
                    note(&event, &mut open);
                    touched.extend(event.paths);
                }
                Ok(_) => continue,
                Err(error) => log::warn!(
                    "missed events directory={} reason={error}",
                    self.directory.display()
                ),
            }
            let now = Instant::now();
            let last_moment = *last_moment.get_or_insert(now + LONGEST_WAIT);
            deadline = if open.is_empty() { last_moment.min(now + QUIET) } else { last_moment };
        }
    }

    /// Whether an event can mean a change: reading is none, nor is what happens to the folder's
    /// neighbours.
    fn concerns(&self, event: &Event) -> bool {
        let reading = matches!(event.kind, EventKind::Access(kind)
            if kind != AccessKind::Close(AccessMode::Write));
        let here = |path: &PathBuf| path.starts_with(&self.directory);
        !reading && (event.need_rescan() || event.paths.iter().any(here))
    }
}

/// Keeps track of files that are being written: half a file must not be taken for a whole one.
fn note(event: &Event, open: &mut HashSet<PathBuf>) {
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => open.extend(event.paths.iter().cloned()),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(_))
        | EventKind::Remove(_) => {
            for path in &event.paths {
                open.remove(path);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
