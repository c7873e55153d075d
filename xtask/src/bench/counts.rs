//! How many instructions the path from objects to tables takes, against what is recorded: they do
//! not depend on how busy the machine is, so that a jump is the code's.
//!
//! The program that is counted, `control-path`, is built by the repository's own release profile,
//! whatever the environment says of that. Hash tables have another seed on every run, the C library
//! chooses its copying by the processor, and compilers differ: what is far less than a tenth says
//! nothing.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::{
    large_cluster::{ENDPOINTS, NODES, list, node, service, slice},
    manifests::ManifestDir,
};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::table::{Row, lay_out};
use crate::{
    Outcome,
    process::{answer, cargo, run, say},
    repository::Repository,
    setup,
};

/// Where the counts are recorded.
const RECORD: &str = "docs/benchmarks/control-counts.json";
/// How many Services are read, compiled and written.
const SERVICES: u32 = 500;
/// What a stage may take more than is recorded, in percent.
const TOLERANCE: i64 = 10;
/// The file whose change is counted.
const CHANGED_FILE: &str = "last.yaml";
/// What the names of the functions begin with that are counted, as valgrind shows them.
const STAGES: &str = "control_path::stages::stage_";

/// What was counted.
#[derive(Debug, Deserialize, Serialize)]
struct Counts {
    /// The compiler that built what was counted.
    compiler: String,
    /// Instructions by stage.
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares with what is recorded; or records that.
pub(super) fn measure(repository: &Repository, record: bool) -> Result<(String, Outcome)> {
    setup::test_tools()?;
    let counted = count(repository)?;
    let path = repository.path(RECORD);
    if record {
        let text = serde_json::to_string_pretty(&counted)?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    let recorded: Counts = serde_json::from_str(&repository.read(RECORD)?)
        .with_context(|| format!("reading {}", path.display()))?;
    let verdict = compare(&counted, &recorded);
    for line in &verdict.complaints {
        say(line);
    }
    let outcome = if verdict.complaints.is_empty() { Outcome::Done } else { Outcome::Negative };
    Ok((verdict.table, outcome))
}

fn count(repository: &Repository) -> Result<Counts> {
    let program = build(repository)?;
    let folder = repository.target().join("control-counts");
    let changed = write_objects(&folder)?;
    let output = folder.join("callgrind.out");
    say("counting instructions (valgrind)");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind", &format!("--toggle-collect={STAGES}*")])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(program)
        .args([folder.join("manifests"), changed]);
    run(&mut valgrind)?;
    let output = output.display().to_string();
    let report =
        answer("callgrind_annotate", ["--inclusive=yes", "--threshold=100", "--auto=no", &output])
            .context("callgrind_annotate, which is a part of valgrind, has failed")?;
    let instructions = inclusive(&report);
    if instructions.len() < 2 {
        bail!("valgrind has not seen the stages of control-path: {report}");
    }
    let compiler = answer("rustc", ["--version"]).unwrap_or_default().trim().to_owned();
    Ok(Counts { compiler, instructions })
}

/// Builds it by the repository's own profile.
fn build(repository: &Repository) -> Result<PathBuf> {
    say("building control-path (release, by the repository's own profile)");
    let mut command = cargo(repository.root());
    command
        .args(["build", "--release", "--package", "userspace", "--bin", "control-path"])
        .arg("--target-dir")
        .arg(repository.target());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_RELEASE_") {
            command.env_remove(name);
        }
    }
    run(&mut command)?;
    Ok(repository.target().join("release/control-path"))
}

/// Writes the objects, and the file whose change is counted; where that is.
fn write_objects(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    let manifests = ManifestDir::create(&folder.join("manifests"));
    let nodes: Vec<_> = (0..NODES).map(node).collect();
    manifests.write("nodes.yaml", &nodes);
    let services: Vec<String> = (0..SERVICES).map(service).collect();
    manifests.write_text("services.yaml", &list(&services));
    let slices: Vec<String> = (1..SERVICES).map(|number| slice(number, ENDPOINTS)).collect();
    manifests.write_text("slices.yaml", &list(&slices));
    manifests.write_text(CHANGED_FILE, &slice(0, ENDPOINTS));
    let changed = ManifestDir::create(&folder.join("changed"));
    changed.write_text(CHANGED_FILE, &slice(0, ENDPOINTS - 1));
    Ok(changed.path().join(CHANGED_FILE))
}

/// What each stage has taken with all that it called, by `callgrind_annotate`. A function that holds
/// inlined ones is in several lines, the first of which is its own.
fn inclusive(report: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in report.lines() {
        let Some((count, function)) = line.split_once('(') else { continue };
        let Some((_, stage)) = function.split_once(STAGES) else { continue };
        let stage = stage.split([' ', '\'']).next().unwrap_or_default();
        let Ok(count) = count.trim().replace(',', "").parse::<u64>() else { continue };
        let known = counts.entry(stage.to_owned()).or_insert(count);
        *known = count.max(*known);
    }
    counts
}

struct Verdict {
    table: String,
    complaints: Vec<String>,
}

fn compare(counted: &Counts, recorded: &Counts) -> Verdict {
    let mut complaints = Vec::new();
    let mut rows = Vec::new();
    let names = counted.instructions.keys().chain(recorded.instructions.keys());
    for stage in names.collect::<std::collections::BTreeSet<_>>() {
        let (now, before) = (counted.instructions.get(stage), recorded.instructions.get(stage));
        let change = now.zip(before).map(|(now, before)| percent(*now, *before));
        let text = |count: Option<&u64>| count.map_or("none".to_owned(), u64::to_string);
        let shown = change.map_or("?".to_owned(), |change| format!("{change:+} %"));
        rows.push(Row { name: stage.clone(), cells: vec![text(before), text(now), shown] });
        if change.is_none_or(|change| change > TOLERANCE) {
            let mut complaint = format!(
                "{stage}: {} instructions, and {} are recorded in {RECORD}",
                text(now),
                text(before)
            );
            if recorded.compiler != counted.compiler {
                let _ =
                    write!(complaint, " ({} then, {} now)", recorded.compiler, counted.compiler);
            }
            complaint.push_str(
                ": see what has become dearer (`callgrind_annotate \
                 target/control-counts/callgrind.out`), or, if it is worth that, \
                 `cargo xtask bench counts --record`",
            );
            complaints.push(complaint);
        }
    }
    let heading = ["recorded", "now", "change"].map(str::to_owned).to_vec();
    let name = format!("instructions, {SERVICES} Services of {ENDPOINTS} endpoints");
    Verdict { table: lay_out(&Row { name, cells: heading }, &rows), complaints }
}

/// How much more one is than the other.
fn percent(now: u64, before: u64) -> i64 {
    let (now, before) = (i128::from(now), i128::from(before).max(1));
    i64::try_from((now - before) * 100 / before).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: &[(&str, u64)]) -> Counts {
        Counts {
            compiler: "rustc".to_owned(),
            instructions: instructions.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
        }
    }

    #[test]
    fn a_jump_of_more_than_a_tenth_is_told() {
        let recorded = counts(&[("read", 1000), ("write", 1000)]);
        let complaints = |now: &[(&str, u64)]| compare(&counts(now), &recorded).complaints.len();
        assert_eq!(complaints(&[("read", 1100), ("write", 500)]), 0);
        assert_eq!(complaints(&[("read", 1111), ("write", 1000)]), 1);
        assert_eq!(complaints(&[("read", 1000)]), 1, "a stage that is not seen any more");
        assert_eq!(complaints(&[("read", 1000), ("write", 1000), ("new", 1)]), 1);
    }

    #[test]
    fn stages_are_found_in_what_callgrind_says() {
        let report = "1,302,163,073 (100.0%)  PROGRAM TOTALS
1,233,961,612 (94.76%)  ???:control_path::stages::stage_read [/x/control-path]
    9,793,559 ( 0.75%)  vec.rs:control_path::stages::stage_compile
    9,793,612 ( 0.75%)  stages.rs:control_path::stages::stage_compile [/x/control-path]
";
        let expected = counts(&[("read", 1_233_961_612), ("compile", 9_793_612)]).instructions;
        assert_eq!(inclusive(report), expected);
    }
}
