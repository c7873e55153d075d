//! `cargo xtask tidy`: formatting, lints, and the rules of the house that no compiler knows.
//!
//! The rules read files and nothing else, so the tests of this crate run them too; formatting and
//! lints need a compiler and run only here. A rule returns what it found, one line per finding,
//! each with the place and the remedy.

mod compilers;
mod documents;
mod manifests;
mod sources;

use anyhow::{Context, Result};

use crate::{Outcome, chart, process::say, repository::Repository};

/// What to do about findings.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Format the sources and write the generated documents, rather than complain about them.
    #[arg(long)]
    fix: bool,
}

/// A rule: what it is called, and what finds its violations.
type Rule = (&'static str, fn(&Repository) -> Result<Vec<String>>);

/// The rules, which only read files.
const RULES: [Rule; 12] = [
    ("every member inherits the lints", manifests::members_inherit_lints),
    ("the licences are there", manifests::licences_are_there),
    ("no source file is too long", sources::files_are_short),
    ("every task left open has an issue", sources::open_tasks_have_issues),
    ("byte order is in one file", sources::byte_order_is_in_one_file),
    ("no program of others is called", sources::no_foreign_programs),
    ("ignored tests need root", sources::ignored_tests_need_root),
    ("every drop reason is documented", documents::drop_reasons_are_documented),
    ("the guide to semantics is the table's", documents::semantics_are_documented),
    ("the Helm chart is the Kustomize base's", documents::chart_is_the_base),
    ("the index of decisions is complete", documents::decisions_are_indexed),
    ("links between documents lead somewhere", documents::links_lead_somewhere),
];

/// Checks everything, or first repairs what can be repaired.
pub(crate) fn run(repository: &Repository, arguments: Arguments) -> Result<Outcome> {
    if arguments.fix {
        documents::write_drop_reasons(repository)?;
        documents::write_semantics(repository)?;
        chart::write(repository)?;
    }
    let mut findings = broken_rules(repository)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    findings.extend(compilers::formatting(repository, arguments.fix)?);
    findings.extend(compilers::lints(repository)?);

    if findings.is_empty() {
        say("tidy");
        return Ok(Outcome::Done);
    }
    say(&format!("NOT tidy:\n  {}", findings.join("\n  ")));
    Ok(Outcome::Negative)
}

fn broken_rules(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for (name, rule) in RULES {
        let found = rule(repository).with_context(|| format!("checking that {name}"))?;
        findings.extend(found.into_iter().map(|finding| format!("{name}: {finding}")));
    }
    Ok(findings)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// A repository made of these files.
    pub(crate) fn repository_of(files: &[(&str, &str)]) -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let repository = Repository::at(folder.path());
        (folder, repository)
    }

    #[test]
    fn this_repository_keeps_every_rule() {
        let findings = broken_rules(&Repository::find().unwrap()).unwrap();
        assert!(findings.is_empty(), "run `cargo xtask tidy`:\n{}", findings.join("\n"));
    }
}
