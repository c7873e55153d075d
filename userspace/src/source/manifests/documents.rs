//! From a file's bytes to objects and refusals.
//!
//! YAML files are cut at their document markers before parsing, so that a change of one document
//! in a large file costs the parsing of that document only.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::{
    cluster::model::{Kind, Object, ObjectName},
    source::{SourceError, manifests::documents::object::read_value, validate::FieldError},
};

mod object;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its documents, without empty ones.
    pub documents: Vec<Document>,
}

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its number in the file, from 1; empty documents count.
    pub number: usize,
    /// What it says; several items where it is a list.
    pub items: Vec<Item>,
    hash: u64,
}

/// One object of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An object that is valid.
    Valid(Object),
    /// An object that is refused.
    Refused(Refusal),
    /// An object of a kind that is not read: `apiVersion` and `kind`.
    Skipped(String),
}

/// An object that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind, where it says so.
    pub kind: Option<String>,
    /// Its namespace and name, where it says so.
    pub name: Option<ObjectName>,
    /// Which object it would be; nothing where it does not say.
    pub key: Option<(Kind, ObjectName)>,
    /// The path of the field, where it is one field.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
}

/// Reads a file: YAML, or JSON where its name ends in `.json`. Documents that `previous` has
/// already are taken from it. The error refuses the file as a whole.
pub fn read_file(path: &Path, bytes: &[u8], previous: &File) -> Result<File, Box<SourceError>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|byte| **byte == b'\n')
            .count();
        let message = format!("it is not UTF-8 text: line {}", line + 1);
        Box::new(SourceError::about_file(path, message))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let in_file = |(number, message): (usize, String)| {
        let error = SourceError::about_file(path, message);
        Box::new(SourceError {
            document: Some(number),
            ..error
        })
    };
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        read_json(text).map_err(in_file)
    } else {
        read_yaml(text, previous).map_err(in_file)
    }
}

fn read_json(text: &str) -> Result<File, (usize, String)> {
    let mut documents = Vec::new();
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for (index, value) in values.enumerate() {
        let number = index + 1;
        let value =
            value.map_err(|error| (number, format!("it does not parse as JSON: {error}")))?;
        documents.push(Document {
            number,
            items: items(value),
            hash: 0,
        });
    }
    Ok(File { documents })
}

fn read_yaml(text: &str, previous: &File) -> Result<File, (usize, String)> {
    let known: HashMap<u64, &Document> = previous
        .documents
        .iter()
        .map(|document| (document.hash, document))
        .collect();
    let mut documents = Vec::new();
    let mut number = 0;
    for chunk in chunks(text) {
        let hash = hash(chunk.text);
        if let Some(same) = known.get(&hash) {
            number += 1;
            documents.push(Document {
                number,
                items: same.items.clone(),
                hash,
            });
            continue;
        }
        // A chunk is one document, unless documents in it end with `...`; those are never reused.
        let values = parse_chunk(text, &chunk).map_err(|message| (number + 1, message))?;
        let hash = if values.len() == 1 { hash } else { 0 };
        for value in values {
            number += 1;
            let items = items(value);
            if !items.is_empty() {
                documents.push(Document {
                    number,
                    items,
                    hash,
                });
            }
        }
    }
    Ok(File { documents })
}

struct Chunk<'a> {
    text: &'a str,
    /// The number of its first line, from 0.
    line: usize,
}

/// Cuts YAML at the lines that begin with `---`, which YAML allows nowhere but between documents.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut starts = vec![(0, 0)];
    let mut offset = 0;
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let marker = content.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            starts.push((offset, line));
        }
        offset += content.len();
    }
    let ends = starts
        .iter()
        .skip(1)
        .map(|(start, _)| *start)
        .chain([text.len()]);
    let chunks = starts
        .iter()
        .zip(ends)
        .enumerate()
        .filter_map(|(index, ((start, line), end))| {
            let chunk = text.get(*start..end)?;
            let says_nothing = chunk
                .lines()
                .all(|line| line.trim().is_empty() || line.starts_with(['#', '%']));
            (index > 0 || !says_nothing).then_some(Chunk {
                text: chunk,
                line: *line,
            })
        });
    chunks.collect()
}

fn parse_chunk(file: &str, chunk: &Chunk<'_>) -> Result<Vec<Value>, String> {
    let parse = |text: &str| {
        serde_yaml_ng::Deserializer::from_str(text)
            .map(|document| {
                let mut value = Value::deserialize(document)?;
                value.apply_merge()?;
                Ok(value)
            })
            .collect::<Result<Vec<Value>, serde_yaml_ng::Error>>()
    };
    parse(chunk.text).map_err(|error| {
        // The parser counts lines from where it begins, and people from the file's beginning.
        let padded = "\n".repeat(chunk.line) + chunk.text;
        let error = if file.len() == chunk.text.len() {
            error
        } else {
            parse(&padded).err().unwrap_or(error)
        };
        format!("it does not parse as YAML: {error}")
    })
}

fn items(value: Value) -> Vec<Item> {
    let mut items = Vec::new();
    read_value(value, None, &mut items);
    items
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish().max(1)
}

impl Refusal {
    fn unknown_object(message: impl Into<String>) -> Self {
        Self {
            kind: None,
            name: None,
            key: None,
            field: None,
            message: message.into(),
        }
    }

    fn object(kind: Kind, name: ObjectName, error: FieldError) -> Self {
        let known = !name.name.is_empty();
        Self {
            kind: Some(kind.to_string()),
            key: known.then(|| (kind, name.clone())),
            name: known.then_some(name),
            field: Some(error.field),
            message: error.message,
        }
    }

    /// The refusal as people see it.
    pub fn to_error(&self, file: &Path, document: usize) -> SourceError {
        let name = self.name.as_ref();
        SourceError {
            document: Some(document),
            kind: self.kind.clone(),
            namespace: name
                .map(|name| name.namespace.clone())
                .filter(|namespace| !namespace.is_empty()),
            name: name.map(|name| name.name.clone()),
            field: self.field.clone(),
            ..SourceError::about_file(file, self.message.clone())
        }
    }
}

#[cfg(test)]
#[path = "documents_tests.rs"]
mod tests;
