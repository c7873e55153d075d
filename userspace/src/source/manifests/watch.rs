//! Watching the folder.
//!
//! The kernel says which files changed (inotify, on the folder and on its parent, because the folder
//! itself may be moved away and made again), and they are read. A look at all of them every second
//! finds what inotify does not see: writes through symbolic links and other hosts' writes to network
//! file systems.
//!
//! A file that is complete is read at once, and what changes meanwhile is read together after that.
//! Only what takes an object away waits for a moment: the object may be on its way to another file.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc as events},
    thread,
    time::{Duration, Instant},
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::{
    heap,
    source::{
        Batch, SourceError,
        error_log::ErrorLog,
        manifests::{
            folder::{Folder, Reading},
            scan::{DirectoryId, Scanner, directory_id},
            touched::{Pace, Touched},
        },
    },
};

/// How long it must be quiet after an event that says nothing of a file's being complete, and after
/// what has taken objects away.
const QUIET: Duration = Duration::from_millis(15);
/// How long after the first event it is read in any case: a file that somebody keeps open and
/// writes to must not hold up the others.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// How often all of it is looked at, with or without events.
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
        scanned: Instant::now(),
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
    /// When all files were looked at last.
    scanned: Instant,
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
        let mut touched = Touched::all();
        while !sender.is_closed() {
            let mut batch = self.read(&touched);
            let last_moment = Instant::now() + LONGEST_WAIT;
            while batch.takes_away() && Instant::now() < last_moment {
                let Some(touched) = self.wait(Instant::now() + QUIET) else { break };
                batch.extend(self.read(&touched));
            }
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
            touched = self.wait(self.scanned + POLL).unwrap_or_else(Touched::all);
        }
    }

    /// Reads what changed. Where the folder cannot be read, all of it stays in force.
    fn read(&mut self, touched: &Touched) -> Batch {
        let readings = self.look(touched);
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
                self.scanned = Instant::now();
                let mut errors = self.folder.errors();
                let message = format!(
                    "the folder cannot be read: {error}; waiting for it, and keeping what it said"
                );
                errors.insert(0, SourceError::about_file(&self.directory, message));
                Batch { changes: Vec::new(), errors, synced: self.synced }
            }
        }
    }

    fn look(&mut self, touched: &Touched) -> std::io::Result<Vec<(Arc<Path>, Reading)>> {
        let is_another = self.watch_directory()?;
        if !is_another && !touched.is_anything() {
            return Ok(self.scanner.look_at(touched.files()));
        }
        self.scanned = Instant::now();
        self.scanner.scan(&self.directory, touched.files())
    }

    /// Watches the directory that is now at the folder's path. Returns whether that is another one.
    fn watch_directory(&mut self) -> std::io::Result<bool> {
        let id = directory_id(&self.directory).inspect_err(|_| self.watched = None)?;
        if self.watched == Some(id) {
            return Ok(false);
        }
        // The old watch, if any, is of another directory, or of one that is gone.
        let _ = self.watcher.unwatch(&self.directory);
        self.watcher
            .watch(&self.directory, RecursiveMode::NonRecursive)
            .map_err(std::io::Error::other)?;
        self.watched = Some(id);
        Ok(true)
    }

    /// Waits until something changed that may be read, and says what; nothing where nothing has.
    fn wait(&self, mut deadline: Instant) -> Option<Touched> {
        let mut touched = Touched::default();
        let mut last_moment = None;
        loop {
            let timeout = deadline.saturating_duration_since(Instant::now());
            let event = match self.events.recv_timeout(timeout) {
                Ok(event) => event,
                Err(events::RecvTimeoutError::Timeout) => {
                    return last_moment.is_some().then_some(touched);
                }
                Err(events::RecvTimeoutError::Disconnected) => {
                    thread::sleep(timeout);
                    return None;
                }
            };
            let pace = match event {
                Ok(event) if self.concerns(&event) => touched.note(&event, &self.directory),
                Ok(_) => continue,
                Err(error) => {
                    log::warn!(
                        "missed events directory={} reason={error}",
                        self.directory.display()
                    );
                    touched.note_missed()
                }
            };
            let now = Instant::now();
            let last_moment = *last_moment.get_or_insert(now + LONGEST_WAIT);
            deadline = match pace {
                Pace::AtOnce => now,
                Pace::WhenQuiet => last_moment.min(now + QUIET),
                Pace::WhenWritten => last_moment,
            };
        }
    }

    /// Whether an event can mean a change: what happens to the folder's neighbours is none.
    fn concerns(&self, event: &Event) -> bool {
        let here = |path: &PathBuf| path.starts_with(&self.directory);
        !Touched::is_reading(event) && (event.need_rescan() || event.paths.iter().any(here))
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
