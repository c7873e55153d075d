//! From a file's bytes to objects and refusals.
//!
//! Files are cut before parsing, at document markers and at the items of lists, so that a change of
//! one object in a large file costs the parsing of that object only.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_yaml_ng::Value;

use self::{
    list::JsonList,
    object::{list_kind, list_kind_of, read_value},
};
use crate::{
    cluster::model::{Kind, Object, ObjectName},
    source::{SourceError, validate::FieldError},
};

mod list;
mod object;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its documents, without empty ones, in their order; those that are lists in parts.
    pub documents: Vec<Document>,
}

/// A document, or one item of a document that is a list.
#[derive(Clone, Debug)]
pub struct Document {
    /// The document's number in the file, from 1; empty documents count.
    pub number: usize,
    /// What it says; several items where it is a list.
    pub items: Box<[Item]>,
    /// Of its text; 0 where it cannot be known again by that.
    hash: u64,
}

/// One object of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An object that is valid.
    Valid(Object),
    /// An object that is refused.
    Refused(Box<Refusal>),
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
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        let message = format!("it is not UTF-8 text: line {}", line + 1);
        Box::new(SourceError::about_file(path, message))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let in_file = |(number, message): (usize, String)| {
        let error = SourceError::about_file(path, message);
        Box::new(SourceError { document: Some(number), ..error })
    };
    if path.extension().is_some_and(|extension| extension == "json") {
        read_json(text, previous).map_err(in_file)
    } else {
        read_yaml(text, previous).map_err(in_file)
    }
}

fn read_json(text: &str, previous: &File) -> Result<File, (usize, String)> {
    if let Some(file) = read_json_in_parts(text, &Known::new(previous)) {
        return Ok(file);
    }
    let mut documents = Vec::new();
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for (index, value) in values.enumerate() {
        let number = index + 1;
        let value =
            value.map_err(|error| (number, format!("it does not parse as JSON: {error}")))?;
        documents.extend(document(number, items(value, None), 0));
    }
    Ok(File { documents })
}

/// Nothing where it does not parse.
fn read_json_in_parts(text: &str, known: &Known<'_>) -> Option<File> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut documents = Vec::new();
    let texts = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    for (index, text) in texts.enumerate() {
        let (number, text) = (index + 1, text.ok()?.get());
        let list = serde_json::from_str::<JsonList<'_>>(text).ok();
        let kind = list.as_ref().and_then(|list| list_kind(&list.api_version, &list.kind));
        if let (Some(list), Some(kind)) = (list, kind) {
            for item in list.items {
                documents.extend(known.document(number, item.get(), kind, parse)?);
            }
        } else {
            documents.extend(known.document(number, text, None, parse)?);
        }
    }
    Some(File { documents })
}

fn read_yaml(text: &str, previous: &File) -> Result<File, (usize, String)> {
    let known = Known::new(previous);
    let mut documents = Vec::new();
    let mut number = 0;
    for chunk in chunks(text) {
        if let Some(list) = read_yaml_list(chunk.text, number + 1, &known) {
            number += 1;
            documents.extend(list);
            continue;
        }
        let hash = hash(chunk.text, None);
        if let Some(same) = known.with_hash(hash) {
            number += 1;
            documents.extend(document(number, same.items.clone(), hash));
            continue;
        }
        // A chunk is one document, unless documents in it end with `...`; those are never reused.
        let values = parse_chunk(text, &chunk).map_err(|message| (number + 1, message))?;
        let hash = if values.len() == 1 { hash } else { 0 };
        for value in values {
            number += 1;
            documents.extend(document(number, items(value, None), hash));
        }
    }
    Ok(File { documents })
}

/// Nothing where it is no list that can be cut.
fn read_yaml_list(text: &str, number: usize, known: &Known<'_>) -> Option<Vec<Document>> {
    let list = list::cut(text)?;
    let parse_one = |text: &str| {
        let mut values = parse_yaml(text).ok()?;
        values.pop().filter(|_| values.is_empty())
    };
    let kind = list_kind_of(&parse_one(&list.rest)?)?;
    let parse_item = |text: &str| match parse_one(text)? {
        Value::Sequence(mut values) => values.pop().filter(|_| values.is_empty()),
        _ => None,
    };
    let mut documents = Vec::with_capacity(list.items.len());
    for item in list.items {
        documents.extend(known.document(number, item, kind, parse_item)?);
    }
    Some(documents)
}

/// What was read before, by the hash of its text.
struct Known<'a>(HashMap<u64, &'a Document>);

impl<'a> Known<'a> {
    fn new(file: &'a File) -> Self {
        let documents = file.documents.iter().filter(|document| document.hash != 0);
        Self(documents.map(|document| (document.hash, document)).collect())
    }

    fn with_hash(&self, hash: u64) -> Option<&'a Document> {
        self.0.get(&hash).copied()
    }

    /// A document of this text, parsed where it is not known: `Some(None)` where it is empty, and
    /// nothing where it does not parse.
    #[expect(clippy::option_option, reason = "an empty document is no failure")]
    fn document(
        &self,
        number: usize,
        text: &str,
        implied: Option<Kind>,
        parse: impl Fn(&str) -> Option<Value>,
    ) -> Option<Option<Document>> {
        let hash = hash(text, implied);
        let items = match self.with_hash(hash) {
            Some(same) => same.items.clone(),
            None => items(parse(text)?, implied),
        };
        Some(document(number, items, hash))
    }
}

/// A document, unless it is empty.
fn document(number: usize, items: Box<[Item]>, hash: u64) -> Option<Document> {
    (!items.is_empty()).then_some(Document { number, items, hash })
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
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    let chunks = starts.iter().zip(ends).enumerate().filter_map(|(index, ((start, line), end))| {
        let chunk = text.get(*start..end)?;
        let says_nothing =
            chunk.lines().all(|line| line.trim().is_empty() || line.starts_with(['#', '%']));
        (index > 0 || !says_nothing).then_some(Chunk { text: chunk, line: *line })
    });
    chunks.collect()
}

fn parse_chunk(file: &str, chunk: &Chunk<'_>) -> Result<Vec<Value>, String> {
    parse_yaml(chunk.text).map_err(|error| {
        // The parser counts lines from where it begins, and people from the file's beginning.
        let padded = "\n".repeat(chunk.line) + chunk.text;
        let error = if file.len() == chunk.text.len() {
            error
        } else {
            parse_yaml(&padded).err().unwrap_or(error)
        };
        format!("it does not parse as YAML: {error}")
    })
}

fn parse_yaml(text: &str) -> Result<Vec<Value>, serde_yaml_ng::Error> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| {
            let mut value = Value::deserialize(document)?;
            value.apply_merge()?;
            Ok(value)
        })
        .collect()
}

fn items(value: Value, implied: Option<Kind>) -> Box<[Item]> {
    let mut items = Vec::new();
    read_value(value, implied, &mut items);
    items.into()
}

/// Never 0.
fn hash(text: &str, implied: Option<Kind>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (text, implied).hash(&mut hasher);
    hasher.finish().max(1)
}

impl Refusal {
    fn unknown_object(message: impl Into<String>) -> Self {
        Self { kind: None, name: None, key: None, field: None, message: message.into() }
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
