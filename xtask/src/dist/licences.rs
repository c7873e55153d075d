//! The licences of everybody's work that is inside the programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{process::answer, repository::Repository};

/// What the eBPF programs, which are inside the agent, are compiled for.
const EBPF_TARGET: &str = "bpfel-unknown-none";

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// A text that names every crate inside the programs with its licence, and holds the licences'
/// texts, each once.
pub(super) fn text(repository: &Repository) -> Result<String> {
    let manifest = repository.path("Cargo.toml").display().to_string();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        &target,
        "--filter-platform",
        EBPF_TARGET,
        "--manifest-path",
        &manifest,
    ];
    let metadata = answer(cargo, arguments).context("`cargo metadata` failed")?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let (mut list, mut texts) = (String::new(), BTreeMap::<String, Vec<String>>::new());
    for package in linked(&metadata) {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text");
        let home = package.repository.as_deref().unwrap_or("crates.io");
        // Writing to a String does not fail.
        let _ = writeln!(list, "{name}: {licence} ({home})");
        for text in texts_of(package.manifest_path.parent().unwrap_or(Path::new("")))? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut all = format!(
        "The programs of shunt hold the work of others, under these licences. The GNU C library,\n\
         which is linked in, is under the LGPL 2.1 or later (https://sourceware.org/glibc/); with\n\
         the sources of shunt, the programs can be linked with another version of it.\n\n{list}"
    );
    for (text, names) in texts {
        let line = "-".repeat(80);
        let _ = write!(all, "\n{line}\n{}\n{line}\n\n{}\n", names.join(", "), text.trim_end());
    }
    Ok(all)
}

/// The packages of others that the programs are linked with, in order.
fn linked(metadata: &Metadata) -> Vec<&Package> {
    let dependencies: BTreeMap<&str, &[Dependency]> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), &node.deps[..])).collect();
    let roots = metadata.packages.iter().filter(|package| {
        package.source.is_none() && ["userspace", "ebpf"].contains(&package.name.as_str())
    });
    let mut waiting: Vec<&str> = roots.map(|package| package.id.as_str()).collect();
    let mut seen: BTreeSet<&str> = waiting.iter().copied().collect();
    while let Some(id) = waiting.pop() {
        for dependency in dependencies.get(id).copied().unwrap_or_default() {
            let is_linked = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if is_linked && seen.insert(&dependency.pkg) {
                waiting.push(&dependency.pkg);
            }
        }
    }
    let mut packages: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some() && seen.contains(package.id.as_str()))
        .collect();
    packages.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    packages
}

/// The licence texts in a package's folder.
fn texts_of(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry.context("reading a folder")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let names = ["licen", "copying", "copyright", "notice", "unlicense"];
        if path.is_file() && names.iter().any(|start| name.starts_with(start)) {
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            texts.push(String::from_utf8_lossy(&text).replace('\r', ""));
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_inside_the_programs_are_named_and_those_of_tests_are_not() {
        let text = text(&Repository::find().unwrap()).unwrap();
        let names = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert!(names("tokio") && names("kube") && names("aya-ebpf"), "{}", &text[..2000]);
        assert!(!names("proptest") && !names("insta") && !names("userspace"));
        assert!(text.contains("Permission is hereby granted, free of charge"));
    }
}
