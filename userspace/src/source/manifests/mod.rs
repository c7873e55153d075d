//! The embedded source of state: a folder of Kubernetes objects in files.
//!
//! Reading is split in three, so that two of them need no file system: [`documents`] turns bytes
//! into objects and refusals, [`folder`] decides what is in force given what the files say now and
//! what they said before, and [`watch()`] alone does I/O, on a thread of its own.

pub mod documents;
pub mod folder;
mod scan;
mod touched;
mod watch;

pub use self::watch::watch;
