//! Where the cluster's objects come from.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::cluster::model::{Kind, Object, ObjectName};

pub mod address;
pub mod error_log;
pub mod kubernetes;
pub mod manifests;
pub mod validate;

/// Where an object was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the address of the API server, or the network namespace of a container.
    pub file: Arc<Path>,
    /// The number of the document in the file, from 1.
    pub document: Option<usize>,
}

impl Origin {
    /// A document of a file.
    pub fn document(file: &Arc<Path>, document: usize) -> Self {
        Self { file: Arc::clone(file), document: Some(document) }
    }

    /// A container runtime, by the network namespace that it has made.
    pub fn runtime(netns: &Path) -> Self {
        Self { file: netns.into(), document: None }
    }

    /// An API server.
    pub fn server(address: &str) -> Self {
        Self { file: Path::new(address).into(), document: None }
    }

    /// An error about it as a whole.
    pub fn error(&self, message: String) -> SourceError {
        SourceError::about_file(&self.file, message)
    }
}

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or as it now is.
    Set(Object, Origin),
    /// It is gone.
    Removed(Kind, ObjectName),
}

/// Changes that belong together, and what is wrong with the source after them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The changes, in the order in which they are to be applied.
    pub changes: Vec<Change>,
    /// Everything that is refused at this moment: a complete list, not a difference.
    pub errors: Vec<SourceError>,
    /// Whether all of the source was read at least once. While it was not, what is absent may yet
    /// come: nothing that an earlier agent left may be removed.
    pub synced: bool,
}

impl Batch {
    /// Whether an object is gone after it.
    pub fn takes_away(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Removed(..)))
    }

    /// Adds what has changed since. What is gone and comes again has only changed.
    pub fn extend(&mut self, later: Self) {
        let again: HashSet<(Kind, ObjectName)> = later.changes.iter().filter_map(set_key).collect();
        self.changes.retain(|change| match change {
            Change::Removed(kind, name) => !again.contains(&(*kind, name.clone())),
            Change::Set(..) => true,
        });
        self.changes.extend(later.changes);
        (self.errors, self.synced) = (later.errors, later.synced);
    }
}

/// What a change sets.
fn set_key(change: &Change) -> Option<(Kind, ObjectName)> {
    match change {
        Change::Set(object, _) => Some((object.kind(), object.name())),
        Change::Removed(..) => None,
    }
}

/// Why a file or an object is refused. What it said before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SourceError {
    /// The file, or the address of the API server.
    pub file: PathBuf,
    /// The number of the document in the file, from 1.
    pub document: Option<usize>,
    /// The object's kind.
    pub kind: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// The path of the field, as in `spec.ports[0].port`.
    pub field: Option<String>,
    /// What is wrong with which value, and what to do.
    pub message: String,
}

impl SourceError {
    /// An error about a file as a whole.
    pub fn about_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            document: None,
            kind: None,
            namespace: None,
            name: None,
            field: None,
            message,
        }
    }

    /// An error about an object.
    pub fn about_object(origin: &Origin, kind: Kind, name: &ObjectName) -> Self {
        Self {
            document: origin.document,
            kind: Some(kind.to_string()),
            namespace: Some(name.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(name.name.clone()),
            ..Self::about_file(&origin.file, String::new())
        }
    }
}
