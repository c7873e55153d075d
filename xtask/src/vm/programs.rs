//! What is under test, and the tests: built here, run inside, each at the place where it is here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::archive::Archive;
use crate::{
    build::{self, Artifacts},
    process::{cargo, run, say},
    repository::Repository,
    test,
};

/// Where process 1 is, inside.
pub(super) const INIT: &str = "/xtask";

/// Programs that are built.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    artifacts: Artifacts,
    /// Other eBPF objects that tests load.
    objects: Vec<PathBuf>,
    /// Tests by the name of their program: where they are inside, and the copy for there.
    tests: BTreeMap<String, PathBuf>,
    copies: BTreeMap<PathBuf, PathBuf>,
    init: PathBuf,
}

/// A line of what cargo prints about what it builds.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Programs {
    /// Builds what is under test, and the tests.
    pub(super) fn build(repository: &Repository) -> Result<Self> {
        let mut programs = Self::build_without_tests(repository)?;
        let built = build_tests(repository)?;
        let folder = stripped(repository)?;
        for path in built.values() {
            let name = path.file_name().with_context(|| format!("{} is a file", path.display()))?;
            let copy = folder.join(name);
            strip(path, &copy)?;
            programs.copies.insert(path.clone(), copy);
        }
        programs.tests = built;
        Ok(programs)
    }

    /// Builds what is under test.
    pub(super) fn build_without_tests(repository: &Repository) -> Result<Self> {
        let artifacts = build::everything(repository)?;
        let init = stripped(repository)?.join("xtask");
        // By this name also where a build has put another in its place meanwhile.
        strip(&PathBuf::from(format!("/proc/{}/exe", std::process::id())), &init)?;
        Ok(Self {
            objects: objects(&repository.target())?,
            artifacts,
            tests: BTreeMap::new(),
            copies: BTreeMap::new(),
            init,
        })
    }

    /// The tests by the name of their program.
    pub(super) fn tests(&self) -> &BTreeMap<String, PathBuf> {
        &self.tests
    }

    /// The variables by which tests find what is under test.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let mut command = Command::new("env");
        self.artifacts.pass_on(&mut command);
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect()
    }

    /// Puts them into a file system.
    pub(super) fn add_to(&self, archive: &mut Archive) {
        let Artifacts { shunt, shunt_cni, ebpf_object } = &self.artifacts;
        for path in [shunt, shunt_cni, ebpf_object].into_iter().chain(&self.objects) {
            archive.add_copy(path, path);
        }
        for (place, copy) in &self.copies {
            archive.add_copy(place, copy);
        }
        archive.add_copy(Path::new(INIT), &self.init);
    }
}

/// The programs of tests that cargo names, of the package with this manifest.
fn tests_in(messages: &str, manifest: &Path) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.manifest_path.as_deref() == Some(manifest))
        .filter(|message| message.profile.as_ref().is_some_and(|profile| profile.test))
        .filter_map(|message| Some((message.target?.name, message.executable?)))
        .collect()
}

/// The eBPF objects that builds have left.
fn objects(target: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", target.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(target).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.extension().is_some_and(|extension| extension == "o") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Builds the tests; where they are, by the name of their program.
fn build_tests(repository: &Repository) -> Result<BTreeMap<String, PathBuf>> {
    say("building the tests");
    let mut command = cargo(repository.root());
    command.args(["test", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(repository.target());
    // The same crates in one command as `cargo xtask test` has: other features would build them all
    // over again.
    for package in test::all_packages() {
        command.args(["--package", package]);
    }
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        bail!("building the tests failed: {}", output.status);
    }
    let manifest = repository.path("tests").join("Cargo.toml");
    let built = tests_in(&String::from_utf8_lossy(&output.stdout), &manifest);
    if built.is_empty() {
        bail!("cargo named no program of tests");
    }
    Ok(built)
}

/// The folder of copies.
fn stripped(repository: &Repository) -> Result<PathBuf> {
    let folder = repository.target().join("vm/stripped");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Makes a copy without debugging information, which is most of a program of tests.
fn strip(program: &Path, copy: &Path) -> Result<()> {
    run(Command::new("strip").arg("--strip-debug").arg("-o").arg(copy).arg(program))
        .context("`apt-get install binutils` brings strip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_of_the_package_are_taken() {
        let line = |manifest: &str, name: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"name":"{name}"}},"profile":{{"test":{test}}},"executable":"/t/{name}"}}"#
            )
        };
        let messages = [
            line("/r/tests/Cargo.toml", "namespaces", true),
            line("/r/userspace/Cargo.toml", "shunt", true),
            line("/r/tests/Cargo.toml", "control", false),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let found = tests_in(&messages.join("\n"), Path::new("/r/tests/Cargo.toml"));
        assert_eq!(found.len(), 1);
        assert_eq!(found["namespaces"], Path::new("/t/namespaces"));
    }
}
