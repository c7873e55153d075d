//! `cargo xtask dist`: what users install, into `target/dist`.
//!
//! Everything is made here, without a container engine or packaging tools. The same commit, built by
//! the same compiler, makes the same bytes.

mod contents;
mod deb;
mod licences;
mod oci;
mod static_build;
mod tree;

use std::{
    env, fs,
    io::{self, Write as _},
    time::SystemTime,
};

use anyhow::{Context as _, Result, bail};

use self::{
    contents::Contents,
    tree::{Timestamp, gzip},
};
use crate::{
    Outcome, build,
    process::{answer, say},
    repository::Repository,
};

/// The image's name, without its tag.
const IMAGE: &str = "shunt.dev/shunt";

/// Builds all artefacts, and prints their paths.
pub(crate) fn run(repository: &Repository) -> Result<Outcome> {
    let (deb_architecture, oci_architecture) = match env::consts::ARCH {
        "x86_64" => ("amd64", "amd64"),
        "aarch64" => ("arm64", "arm64"),
        other => bail!("there are no packages for {other}"),
    };
    let version = repository.version()?;
    let revision = git(repository, &["rev-parse", "--short=12", "HEAD"]);
    let time = timestamp(repository)?;
    build::ebpf_object(repository)?;
    let shown = match &revision {
        Some(revision) => format!("{version} ({revision})"),
        None => version.clone(),
    };
    let programs = static_build::build(repository, &shown)?;
    let licences = licences::text(repository)?;
    let contents = Contents { repository, programs: &programs, licences: &licences };

    say("packing");
    let name = format!("shunt-{version}-{}-linux", env::consts::ARCH);
    let tarball = gzip(&contents.of_tarball()?.below(&name).to_tar("", time)?)?;
    let package = deb::Package {
        version: &version,
        architecture: deb_architecture,
        files: contents.of_deb()?,
    };
    let image = oci::Image {
        name: &format!("{IMAGE}:{version}"),
        version: &version,
        revision: revision.as_deref().unwrap_or_default(),
        architecture: oci_architecture,
        files: contents.of_image()?,
    };
    let artefacts = [
        (format!("{name}.tar.gz"), tarball),
        (format!("shunt_{version}_{deb_architecture}.deb"), deb::package(&package, time)?),
        (format!("shunt-{version}-oci.tar"), oci::archive(&image, time)?),
        (
            format!("shunt-chart-{version}.tgz"),
            gzip(&contents.of_chart()?.below("shunt").to_tar("", time)?)?,
        ),
    ];
    write(repository, &artefacts)?;
    Ok(Outcome::Done)
}

/// Writes the artefacts and their checksums, in place of former ones.
fn write(repository: &Repository, artefacts: &[(String, Vec<u8>)]) -> Result<()> {
    let folder = repository.target().join("dist");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let sums: Vec<String> = artefacts
        .iter()
        .map(|(name, content)| format!("{}  {name}", oci::sha256(content)))
        .collect();
    let sums = ("SHA256SUMS".to_owned(), (sums.join("\n") + "\n").into_bytes());
    let mut paths = Vec::new();
    for (name, content) in artefacts.iter().chain([&sums]) {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        paths.push(path.display().to_string());
    }
    writeln!(io::stdout(), "{}", paths.join("\n")).context("printing the paths")
}

/// The time of all files: `SOURCE_DATE_EPOCH`, or else the commit's.
fn timestamp(repository: &Repository) -> Result<Timestamp> {
    let told = env::var("SOURCE_DATE_EPOCH").ok();
    let told = told.or_else(|| git(repository, &["log", "-1", "--format=%ct"]));
    if let Some(told) = told {
        let seconds =
            told.trim().parse().with_context(|| format!("`{told}` is no time in seconds"))?;
        return Ok(Timestamp::from_secs(seconds));
    }
    // Sources without their history have no other time.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_secs(now.as_secs()))
}

fn git(repository: &Repository, arguments: &[&str]) -> Option<String> {
    let root = repository.root().display().to_string();
    let answer = answer("git", ["-C", &root].iter().chain(arguments))?;
    Some(answer.trim().to_owned())
}
