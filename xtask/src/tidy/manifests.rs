//! Rules about manifests and licences.

use anyhow::Result;

use crate::repository::Repository;

/// Every member says `lints.workspace = true`.
pub(super) fn members_inherit_lints(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for member in repository.members()? {
        let path = format!("{member}/Cargo.toml");
        if !inherits_lints(&repository.read(&path)?) {
            findings.push(format!("{path}: add `[lints]` with `workspace = true`"));
        }
    }
    Ok(findings)
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    let in_table = lines.by_ref().any(|line| line == "[lints]")
        && lines.take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true");
    in_table || manifest.lines().any(|line| line.trim() == "lints.workspace = true")
}

/// The text of both licences is in the top folder, and every member is under them.
pub(super) fn licences_are_there(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for (path, title) in [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")] {
        if !repository.read(path).is_ok_and(|text| text.contains(title)) {
            findings.push(format!("{path}: put the text of the {title} there"));
        }
    }
    for member in repository.members()? {
        let path = format!("{member}/Cargo.toml");
        if !repository.read(&path)?.lines().any(|line| line.trim() == "license.workspace = true") {
            findings.push(format!("{path}: add `license.workspace = true`"));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::repository_of, *};

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n");

    #[test]
    fn a_member_without_the_lints_is_found() {
        for (manifest, expected) in [
            ("[package]\n[lints]\nworkspace = true\n", 0),
            ("lints.workspace = true\n", 0),
            ("[package]\nname = \"a\"\n", 1),
            ("[lints]\n[dependencies]\nworkspace = true\n", 1),
        ] {
            let (_folder, repository) = repository_of(&[ROOT, ("a/Cargo.toml", manifest)]);
            assert_eq!(members_inherit_lints(&repository).unwrap().len(), expected, "{manifest}");
        }
    }

    #[test]
    fn a_missing_licence_is_found() {
        let member = ("a/Cargo.toml", "license.workspace = true\n");
        let mit = ("LICENSE-MIT", "MIT License\n");
        let (_folder, repository) = repository_of(&[ROOT, member, mit]);
        let findings = licences_are_there(&repository).unwrap();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("LICENSE-APACHE"), "{findings:?}");
    }
}
