//! What a cluster costs an agent. It is measured by `tests/benches/control`, which needs the
//! agent's own code beside it; here what it says becomes tables.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use signal_hook::{consts::SIGINT, flag};

use super::{
    machine,
    table::{Row, lay_out},
};
use crate::{
    build,
    process::{cargo, is_root, run, say},
    repository::Repository,
};

/// The page with the table, and the same as JSON.
const PAGE: &str = "docs/benchmarks/control.md";
const RESULTS: &str = "docs/benchmarks/control.json";
/// Around the table of the page.
const BEGIN: &str = "<!-- what `cargo xtask bench control --record` measured: begin -->\n";
const END: &str = "<!-- end -->\n";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A minute instead of ten: a small cluster, fewer changes, and a wider spread.
    #[arg(long)]
    quick: bool,
    /// How many Services there are, each of ten endpoints; one run for each number.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    services: Vec<u32>,
    /// Where objects come from.
    #[arg(long, value_enum, default_value_t = Source::Manifests)]
    source: Source,
    /// Write the table to docs/benchmarks/control.md, and the numbers beside it.
    #[arg(long)]
    record: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// A folder of files.
    Manifests,
    /// A double of an API server, or a real one where `SHUNT_CONTROL_PLANE` names a folder with
    /// kube-apiserver and etcd.
    ApiServer,
}

impl Arguments {
    fn sizes(&self) -> Vec<u32> {
        match (self.services.as_slice(), self.quick, self.source) {
            ([], true, _) => vec![1_000],
            ([], false, Source::ApiServer) => vec![1_000, 5_000],
            ([], false, Source::Manifests) => vec![1_000, 10_000, 50_000],
            (chosen, _, _) => chosen.to_vec(),
        }
    }
}

/// All that was measured.
#[derive(Debug, Deserialize, Serialize)]
struct Results {
    machine: String,
    build: String,
    clusters: Vec<Measured>,
}

/// What was measured of one size, as the measuring program says it.
#[derive(Debug, Deserialize, Serialize)]
struct Measured {
    services: u32,
    source: String,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Line {
    what: String,
    value: f64,
    unit: String,
}

/// Measures everything; a table, or JSON. Interrupted, it has what was measured until then.
pub(super) fn measure(repository: &Repository, arguments: &Arguments) -> Result<String> {
    if !is_root() {
        bail!("measuring an agent needs root: run it with sudo");
    }
    let mut results =
        Results { machine: machine::describe(), build: build_profile(), clusters: Vec::new() };
    let mut child = start(repository, arguments)?;
    // Who interrupts this interrupts the program that measures, which ends with that. That is so for
    // both of them already while programs are being built.
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = flag::register(SIGINT, interrupted).context("catching interrupts")?;
    let output = child.stdout.take().context("what the measurement says")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("reading what was measured")?;
        results.clusters.push(serde_json::from_str(&line).context(line)?);
        if let Some(Measured { services, .. }) = results.clusters.last() {
            say(&format!("{services} Services: done"));
        }
    }
    let status = child.wait().context("waiting for the measurement")?;
    signal_hook::low_level::unregister(handler);
    if !status.success() {
        if results.clusters.is_empty() {
            bail!("the measurement ended with {status}; what is above says why");
        }
        say(&format!("the measurement ended with {status}: this is what it had"));
    } else if arguments.record {
        record(repository, &results)?;
    }
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&results)? + "\n");
    }
    let (heading, rows) = rows(&results);
    Ok(format!("{}build: {}\n\n{}", results.machine, results.build, lay_out(&heading, &rows)))
}

fn start(repository: &Repository, arguments: &Arguments) -> Result<Child> {
    let artifacts = build::everything(repository)?;
    let mut path = cargo(repository.root());
    path.args(["build", "--release", "--package", "userspace", "--bin", "control-path"]);
    run(path.arg("--target-dir").arg(repository.target()))?;
    let mut command = cargo(repository.root());
    command.args(["bench", "--package", "tests", "--bench", "control", "--target-dir"]);
    command.arg(repository.target()).arg("--");
    command.args(arguments.quick.then_some("--quick"));
    command.args((arguments.source == Source::ApiServer).then_some("--api-server"));
    command.args(arguments.sizes().iter().map(u32::to_string));
    artifacts.pass_on(&mut command);
    command
        .env("SHUNT_CONTROL_PATH", repository.target().join("release/control-path"))
        // What is measured is the agent, and not its talk.
        .env("RUST_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    spawn(&mut command)
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().context("starting cargo bench")
}

/// What the environment makes different from the repository's release profile.
fn build_profile() -> String {
    const PREFIX: &str = "CARGO_PROFILE_RELEASE_";
    let mut others: Vec<String> = env::vars()
        .filter_map(|(name, value)| {
            let setting = name.strip_prefix(PREFIX)?.to_lowercase().replace('_', "-");
            Some(format!("{setting} = {value}"))
        })
        .collect();
    others.sort();
    if others.is_empty() {
        return "the repository's release profile".to_owned();
    }
    format!("release profile, with {}", others.join(", "))
}

/// A row for all that was measured of any size, in the order of the first that has it.
fn rows(results: &Results) -> (Row, Vec<Row>) {
    let mut names: Vec<&str> = Vec::new();
    for line in results.clusters.iter().flat_map(|cluster| &cluster.lines) {
        if !names.contains(&line.what.as_str()) {
            names.push(&line.what);
        }
    }
    let rows = names.iter().map(|name| Row {
        name: (*name).to_owned(),
        cells: results.clusters.iter().map(|cluster| cell(cluster, name)).collect(),
    });
    let source = results.clusters.first().map_or("", |cluster| &cluster.source);
    let heading = Row {
        name: format!("Services of 10 endpoints, from {source}"),
        cells: results.clusters.iter().map(|cluster| cluster.services.to_string()).collect(),
    };
    (heading, rows.collect())
}

fn cell(cluster: &Measured, name: &str) -> String {
    let Some(Line { value, unit, .. }) = cluster.lines.iter().find(|line| line.what == name) else {
        return String::new();
    };
    match unit.as_str() {
        "×" => format!("{value:.3}"),
        _ if *value >= 100.0 => format!("{value:.0} {unit}"),
        _ if *value >= 10.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

fn record(repository: &Repository, results: &Results) -> Result<()> {
    let write = |path: &str, text: String| {
        fs::write(repository.path(path), text).with_context(|| format!("writing {path}"))
    };
    write(RESULTS, serde_json::to_string_pretty(results)? + "\n")?;
    let page = repository.read(PAGE)?;
    write(PAGE, with_table(&page, &markdown(results))?)
}

fn markdown(results: &Results) -> String {
    let (heading, rows) = rows(results);
    let mut text =
        format!("\nMeasured with {}, on:\n\n```\n{}```\n\n", results.build, results.machine);
    let line =
        |row: &Row| format!("| {} | {} |\n", row.name.replace("  ", "… "), row.cells.join(" | "));
    text.push_str(&line(&heading));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(heading.cells.len()));
    text.extend(rows.iter().map(line));
    text.push('\n');
    text
}

/// The page with another table between its marks.
fn with_table(page: &str, table: &str) -> Result<String> {
    let marks = || format!("{PAGE} lacks the marks of its table, {BEGIN}and {END}");
    let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let line =
            |what: &str, value, unit: &str| Line { what: what.into(), value, unit: unit.into() };
        let cluster = |services, lines| Measured { services, source: "manifests".into(), lines };
        Results {
            machine: "a machine\n".to_owned(),
            build: "the repository's release profile".to_owned(),
            clusters: vec![
                cluster(10, vec![line("start", 1.234, "ms")]),
                cluster(20, vec![line("start", 123.4, "ms"), line("  ratio", 1.0004, "×")]),
            ],
        }
    }

    #[test]
    fn a_line_that_one_size_lacks_is_empty_there() {
        let (heading, rows) = rows(&results());
        assert_eq!(heading.cells, ["10", "20"]);
        assert_eq!(rows[0].cells, ["1.23 ms", "123 ms"]);
        assert_eq!(rows[1].cells, ["", "1.000"]);
    }

    #[test]
    fn the_table_takes_the_place_of_the_former_one() {
        let page = format!("# Title\n\n{BEGIN}old\n{END}\nafter\n");
        let page = with_table(&page, &markdown(&results())).unwrap();
        assert!(page.starts_with("# Title\n\n<!--") && page.ends_with("end -->\n\nafter\n"));
        assert!(page.contains("| start | 1.23 ms | 123 ms |") && !page.contains("old"));
        assert!(page.contains("| … ratio |"));
        assert!(with_table("no marks", "").is_err());
    }
}
