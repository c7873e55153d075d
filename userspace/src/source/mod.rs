//! Where the cluster's objects come from.

use std::path::PathBuf;

use serde::Serialize;

use crate::cluster::model::{Kind, Object, ObjectName};

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or as it now is.
    Set(Object),
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
}

/// Why a file or an object is refused. What it said before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceError {
    /// The file.
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
