//! The chart's values: with them, the templates say what the base says.

use anyhow::{Context as _, Result};
use serde_yaml_ng::Value;

use super::{CHART, Line, base, parts};
use crate::repository::Repository;

/// Where the base and the chart with its own values differ, one line each.
pub(crate) fn differences(repository: &Repository) -> Result<Vec<String>> {
    let values: Value = read(repository, "values.yaml")?;
    let chart: Value = read(repository, "Chart.yaml")?;
    let version = repository.version()?;
    let mut findings: Vec<String> = ["version", "appVersion"]
        .into_iter()
        .filter(|key| chart[*key].as_str() != Some(&version))
        .map(|key| format!("{CHART}/Chart.yaml: {key}: say {version}, as Cargo.toml does"))
        .collect();
    for (path, text) in base(repository)? {
        for part in parts(&text)? {
            let (name, same) = match part.line {
                Line::Same(_) | Line::Only { .. } => continue,
                Line::Value { value, text, .. } => {
                    let rendered = render(text, &values, &version);
                    (text, rendered.is_some_and(|rendered| scalar(&rendered) == scalar(value)))
                }
                Line::Yaml { name, .. } => {
                    let block: Value = serde_yaml_ng::from_str(&part.block)
                        .with_context(|| format!("reading {path}: {name}"))?;
                    (name, block == values[name])
                }
                Line::Text { name, .. } => (name, values[name].as_str() == Some(&part.block)),
            };
            if !same {
                findings.push(format!("{path}: {name} is something else in {CHART}/values.yaml"));
            }
        }
    }
    Ok(findings)
}

fn read(repository: &Repository, name: &str) -> Result<Value> {
    let path = format!("{CHART}/{name}");
    serde_yaml_ng::from_str(&repository.read(&path)?).with_context(|| format!("reading {path}"))
}

/// A text with what is in double braces replaced, as far as the base's notes need it: values, the
/// release's namespace, and the chart's version for an empty tag. None for anything else.
fn render(text: &str, values: &Value, version: &str) -> Option<String> {
    let mut rendered = String::new();
    let mut rest = text;
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = action.split_once("}}")?;
        let mut steps = action.split('|').map(str::trim);
        let first = steps.next()?;
        let mut result = match first.strip_prefix(".Values.") {
            Some(path) => path.split('.').fold(values, |value, key| &value[key]).clone(),
            None if first == ".Release.Namespace" => Value::from("kube-system"),
            None => return None,
        };
        let mut quoted = false;
        for step in steps {
            match step {
                "quote" => quoted = true,
                "default .Chart.AppVersion" if result.as_str() == Some("") => {
                    result = Value::from(version);
                }
                "default .Chart.AppVersion" => {}
                _ => return None,
            }
        }
        let word = match result {
            Value::String(word) => word,
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        rendered.push_str(before);
        let mark = if quoted { "\"" } else { "" };
        rendered.extend([mark, &word, mark]);
        rest = after;
    }
    rendered.push_str(rest);
    Some(rendered)
}

fn scalar(text: &str) -> Option<Value> {
    serde_yaml_ng::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::repository_of;

    fn findings(base: &str, values: &str) -> usize {
        let (_folder, repository) = repository_of(&[
            ("Cargo.toml", "[workspace.package]\nversion = \"1.2.3\"\n"),
            ("deploy/kubernetes/a.yaml", base),
            ("deploy/kubernetes/kustomization.yaml", "no: 1 # helm: read\n"),
            ("deploy/helm/shunt/Chart.yaml", "version: 1.2.3\nappVersion: 1.2.3\n"),
            ("deploy/helm/shunt/values.yaml", values),
        ]);
        differences(&repository).unwrap().len()
    }

    #[test]
    fn values_that_say_something_else_than_the_base_are_found() {
        let image = "image: x:1.2.3 # helm: \"{{ .Values.image }}:{{ .Values.tag | default .Chart.AppVersion }}\"\n";
        assert_eq!(findings(image, "image: x\ntag: ''\n"), 0);
        assert_eq!(findings(image, "image: y\ntag: ''\n"), 1);
        assert_eq!(findings(image, "image: x\ntag: '1'\n"), 1);
        assert_eq!(findings(image, "tag: ''\n"), 1);
        let quoted = "port: \"64\" # helm: {{ .Values.a.port | quote }}\n";
        assert_eq!(findings(quoted, "a: {port: 64}\n"), 0);
        assert_eq!(findings(&quoted.replace("| quote ", ""), "a: {port: 64}\n"), 1);
        let list = "list: # helm-yaml: list\n  - a: 1\n";
        assert_eq!(findings(list, "list: [{a: 1}]\n"), 0);
        assert_eq!(findings(list, "list: [{a: 2}]\n"), 1);
        let text = "text: | # helm-text: text\n  a\n  b\n";
        assert_eq!(findings(text, "text: |\n  a\n  b\n"), 0);
        assert_eq!(findings(text, "text: |\n  a\n"), 1);
    }
}
