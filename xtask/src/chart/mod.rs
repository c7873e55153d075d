//! The Helm chart's templates, made line by line of the Kustomize base, so that the two cannot
//! differ.
//!
//! The base is plain YAML. Comments in it say what a template has there instead:
//!
//! | in the base | in the template |
//! |---|---|
//! | `key: value # helm: TEXT` | `key: TEXT` |
//! | `key: # helm-yaml: NAME`, and what is indented below | the value `NAME`, as YAML |
//! | `key: \| # helm-text: NAME`, and what is indented below | the value `NAME`, as text |
//! | `# helm-only: TEXT` | `TEXT` |
//!
//! With the values of `values.yaml`, each template says what the base says; [`values`] sees to it.

mod values;

use std::fs;

use anyhow::{Context as _, Result, bail};

pub(crate) use self::values::differences;
use crate::repository::Repository;

/// The Kustomize base.
const BASE: &str = "deploy/kubernetes";
/// The chart.
pub(crate) const CHART: &str = "deploy/helm/shunt";
/// What of the base is for Kustomize only.
const KUSTOMIZATION: &str = "kustomization.yaml";

/// The templates by path, as they are to be.
pub(crate) fn templates(repository: &Repository) -> Result<Vec<(String, String)>> {
    base(repository)?
        .into_iter()
        .map(|(path, text)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let template = template(&text).with_context(|| format!("reading {path}"))?;
            Ok((format!("{CHART}/templates/{name}"), template))
        })
        .collect()
}

/// Writes the templates.
pub(crate) fn write(repository: &Repository) -> Result<()> {
    for (path, text) in templates(repository)? {
        let path = repository.path(&path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The files of the base, with their paths.
fn base(repository: &Repository) -> Result<Vec<(String, String)>> {
    repository
        .files(&[".yaml"])?
        .into_iter()
        .filter(|path| {
            path.strip_prefix(BASE)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|name| name != KUSTOMIZATION && !name.contains('/'))
        })
        .map(|path| repository.read(&path).map(|text| (path, text)))
        .collect()
}

/// What a line of the base is to the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    /// The same.
    Same(&'a str),
    /// A key or list item whose value is another text.
    Value { key: &'a str, value: &'a str, text: &'a str },
    /// A key whose value is a block of YAML.
    Yaml { key: &'a str, name: &'a str },
    /// A key whose value is a block of text.
    Text { key: &'a str, name: &'a str },
    /// A text of the template only.
    Only { indent: &'a str, text: &'a str },
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Result<Self> {
        let Some((before, marker)) = line.split_once("# helm") else {
            return Ok(Self::Same(line));
        };
        let Some((kind, text)) = marker.split_once(": ") else {
            bail!("`{line}`: no colon and blank after `# helm`");
        };
        let read = match kind {
            "" => before
                .split_once(": ")
                .map(|(key, value)| (key, value.trim()))
                .filter(|(_, value)| !value.is_empty() && !value.starts_with('|'))
                .map(|(key, value)| Self::Value { key, value, text }),
            "-yaml" => {
                before.trim_end().strip_suffix(':').map(|key| Self::Yaml { key, name: text })
            }
            "-text" => {
                before.trim_end().strip_suffix(": |").map(|key| Self::Text { key, name: text })
            }
            "-only" if before.trim().is_empty() => Some(Self::Only { indent: before, text }),
            _ => None,
        };
        read.with_context(|| format!("`{line}`: no such note about the template"))
    }

    /// Whether the lines that are indented below are this one's value.
    fn has_block(&self) -> bool {
        matches!(self, Self::Yaml { .. } | Self::Text { .. })
    }
}

/// A line of the base, and the lines of its block without their common indentation.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    line: Line<'a>,
    block: String,
}

fn parts(base: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut lines = base.lines().peekable();
    while let Some(line) = lines.next() {
        let read = Line::read(line)?;
        let mut block = String::new();
        if read.has_block() {
            let inner = indentation(line) + 2;
            while let Some(below) = lines.next_if(|below| indentation(below) >= inner) {
                block.push_str(below.get(inner..).unwrap_or_default());
                block.push('\n');
            }
        }
        parts.push(Part { line: read, block });
    }
    Ok(parts)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The template of a file of the base.
fn template(base: &str) -> Result<String> {
    let mut template = String::new();
    for part in parts(base)? {
        let line = match part.line {
            Line::Same(line) => line.to_owned(),
            Line::Value { key, text, .. } => format!("{key}: {text}"),
            Line::Yaml { key, name } => {
                let inner = indentation(key) + 2;
                format!("{key}: {{{{- toYaml .Values.{name} | nindent {inner} }}}}")
            }
            Line::Text { key, name } => {
                let inner = indentation(key) + 2;
                format!("{key}: | {{{{- .Values.{name} | nindent {inner} }}}}")
            }
            Line::Only { indent, text } => format!("{indent}{text}"),
        };
        template.push_str(&line);
        template.push('\n');
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_in_the_base_become_what_they_say() {
        let base = "\
a: 1
  # helm-only: {{- with .Values.b }}
  image: x:1 # helm: \"{{ .Values.image }}\"
  list: # helm-yaml: list
    - one
    - two
  text: | # helm-text: text
    # a comment
    line
after: 2
";
        let expected = "\
a: 1
  {{- with .Values.b }}
  image: \"{{ .Values.image }}\"
  list: {{- toYaml .Values.list | nindent 4 }}
  text: | {{- .Values.text | nindent 4 }}
after: 2
";
        assert_eq!(template(base).unwrap(), expected);
    }

    #[test]
    fn a_note_that_is_none_is_refused() {
        for base in
            ["a: 1 # helm-yml: b\n", "a: 1 # helm-yaml: b\n", "a: | # helm: b\n", "a: 1 # helm x\n"]
        {
            assert!(template(base).is_err(), "{base}");
        }
    }
}
