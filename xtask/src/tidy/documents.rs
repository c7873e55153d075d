//! Rules about documents, and the documents that are generated.

use std::{fmt::Write, fs};

use ::tests::conformance::{Table, guide};
use anyhow::{Context, Result};
use maps_schema::drop_reason::DropReason;

use crate::{chart, repository::Repository};

const DROP_REASONS: &str = "docs/drop-reasons.md";
const SEMANTICS: &str = "docs/semantics.md";
const CONFORMANCE: &str = "tests/conformance";
const DECISIONS: &str = "docs/adr";

/// [`DROP_REASONS`] says what the enum says.
pub(super) fn drop_reasons_are_documented(repository: &Repository) -> Result<Vec<String>> {
    let up_to_date = repository.read(DROP_REASONS)? == drop_reasons();
    Ok(if up_to_date {
        Vec::new()
    } else {
        vec![format!("{DROP_REASONS} differs from the code; run `cargo xtask tidy --fix`")]
    })
}

/// [`SEMANTICS`] says what the table in [`CONFORMANCE`] says.
pub(super) fn semantics_are_documented(repository: &Repository) -> Result<Vec<String>> {
    let up_to_date = repository.read(SEMANTICS)? == semantics(repository)?;
    Ok(if up_to_date {
        Vec::new()
    } else {
        vec![format!("{SEMANTICS} differs from {CONFORMANCE}; run `cargo xtask tidy --fix`")]
    })
}

/// Writes [`SEMANTICS`].
pub(super) fn write_semantics(repository: &Repository) -> Result<()> {
    let path = repository.path(SEMANTICS);
    fs::write(&path, semantics(repository)?).with_context(|| format!("writing {}", path.display()))
}

fn semantics(repository: &Repository) -> Result<String> {
    let table = Table::read_folder(&repository.path(CONFORMANCE)).map_err(anyhow::Error::msg)?;
    Ok(guide::semantics(&table))
}

/// Writes [`DROP_REASONS`].
pub(super) fn write_drop_reasons(repository: &Repository) -> Result<()> {
    let path = repository.path(DROP_REASONS);
    fs::write(&path, drop_reasons()).with_context(|| format!("writing {}", path.display()))
}

fn drop_reasons() -> String {
    let mut text = String::from(
        "# Drop reasons\n\n\
         Every packet that shunt drops or refuses is counted under one of these reasons; `shunt get drops` lists the\n\
         counters. A *refused* packet is answered (TCP RST, or ICMP unreachable); a *dropped* one is not. Packets that\n\
         are not shunt's business are never counted here: they go on to the kernel.\n\n\
         This file is generated from `maps-schema/src/drop_reason.rs` by `cargo xtask tidy --fix`.\n\n\
         | number | reason | meaning and likely cause |\n|---:|---|---|\n",
    );
    for reason in DropReason::ALL {
        let description = reason.description().replace('|', "\\|");
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| {} | `{}` | {} |",
            *reason as u8,
            reason.as_str(),
            description.trim()
        );
    }
    text
}

/// The Helm chart's templates are made of the Kustomize base.
pub(super) fn chart_is_the_base(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = chart::differences(repository)?;
    let templates = chart::templates(repository)?;
    for (path, text) in &templates {
        if !repository.read(path).is_ok_and(|present| present == *text) {
            findings.push(format!("{path} differs from the base; run `cargo xtask tidy --fix`"));
        }
    }
    let of_chart = format!("{}/templates/", chart::CHART);
    let present = repository.files(&[""])?.into_iter().filter(|path| path.starts_with(&of_chart));
    findings.extend(
        present
            .filter(|path| !templates.iter().any(|(made, _)| made == path))
            .map(|path| format!("{path} is of no file of the base; remove it")),
    );
    Ok(findings)
}

/// Every decision is in the index, and the index names no other.
pub(super) fn decisions_are_indexed(repository: &Repository) -> Result<Vec<String>> {
    let index_path = format!("{DECISIONS}/README.md");
    let index = repository.read(&index_path)?;
    let decisions: Vec<String> = repository
        .files(&[".md"])?
        .into_iter()
        .filter_map(|path| path.strip_prefix(DECISIONS)?.strip_prefix('/').map(ToOwned::to_owned))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    Ok(decisions
        .into_iter()
        .filter(|name| !index.contains(&format!("({name})")))
        .map(|name| format!("{index_path}: {name} is missing"))
        .collect())
}

/// A link from a document to a file of the repository leads to a file that is there.
pub(super) fn links_lead_somewhere(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in repository.files(&[".md"])? {
        let document = repository.path(&path);
        for target in links(&repository.read(&path)?) {
            let file = target.split('#').next().unwrap_or_default();
            let there = document.parent().is_some_and(|folder| folder.join(file).exists());
            if !file.is_empty() && !target.contains("://") && !there {
                findings.push(format!("{path}: nothing is at {target}"));
            }
        }
    }
    Ok(findings)
}

/// The targets of the links in Markdown: what stands between `](` and `)`.
fn links(markdown: &str) -> Vec<&str> {
    markdown.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::repository_of, *};

    #[test]
    fn every_reason_has_one_row() {
        let text = drop_reasons();
        for reason in DropReason::ALL {
            let name = format!("| `{}` |", reason.as_str());
            assert_eq!(text.matches(&name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_reason_that_is_not_documented_is_found_and_fixed() {
        let (_folder, repository) = repository_of(&[(DROP_REASONS, "| 1 | `no-endpoints` |\n")]);
        assert_eq!(drop_reasons_are_documented(&repository).unwrap().len(), 1);
        write_drop_reasons(&repository).unwrap();
        assert!(drop_reasons_are_documented(&repository).unwrap().is_empty());
    }

    #[test]
    fn a_decision_that_the_index_lacks_is_found() {
        let (_folder, repository) = repository_of(&[
            ("docs/adr/README.md", "[one](0001-one.md)"),
            ("docs/adr/0001-one.md", ""),
            ("docs/adr/0002-two.md", ""),
            ("docs/adr/template.md", ""),
        ]);
        let findings = decisions_are_indexed(&repository).unwrap();
        assert_eq!(findings, ["docs/adr/README.md: 0002-two.md is missing"]);
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let text = "[a](b.md#x) [c](https://example.org/) [d](#here) [e](gone.md)";
        let (_folder, repository) = repository_of(&[("docs/a.md", text), ("docs/b.md", "")]);
        assert_eq!(
            links_lead_somewhere(&repository).unwrap(),
            ["docs/a.md: nothing is at gone.md"]
        );
    }
}
