//! What the programs cost, packet by packet, in a network namespace of its own. How that is measured,
//! `tests::measure` says.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use ::tests::{
    measure::{
        Effort, Figures,
        cases::{self, Case, Flows, Table},
        measure,
        replay::Replayer,
        sockets::{SocketFigure, measure_sockets},
        world::FLOWS,
    },
    sandbox::Sandbox,
};
use anyhow::{Context as _, Result, anyhow, bail};
use maps_schema::address::{Family, Protocol};
use serde_json::{Value, json};

use super::machine;
use crate::{process::say, repository::Repository};

/// What is to be measured.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// How often each program is measured, in turns with nothing: fewer are quicker, and spread wider.
    #[arg(long, default_value_t = 49)]
    rounds: u32,
    /// Write the table into docs/benchmarks/programs.md.
    #[arg(long)]
    record: bool,
    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases whose name contains one of these.
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// A measurement takes so long at most.
const DEADLINE: Duration = Duration::from_mins(30);

/// How many entries the table of few flows has room for.
const SMALL_TABLE: usize = 1 << 13;

/// How often a socket calls in one round.
const CALLS: u32 = 1000;

/// A case and what was measured of it.
type Measured = (Case, Figures);

/// Measures what is asked for; a table.
pub(super) fn run(repository: &Repository, arguments: &Arguments) -> Result<String> {
    let chosen = arguments.choose(cases::all());
    if chosen.is_empty() {
        bail!("no case has a name like that: {}", arguments.filters.join(", "));
    }
    let measured = measure_all(chosen, Effort { rounds: arguments.rounds, packets: 1 << 14 })?;
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&to_json(&measured)).context("writing JSON")?;
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    let mut table = lay_out(&measured);
    if arguments.filters.is_empty() {
        table.push_str(&lay_out_sockets(&measure_of_sockets(arguments.rounds)?));
    }
    if arguments.record {
        record(&repository.root().join(PAGE), &table)?;
    }
    Ok(table)
}

impl Arguments {
    /// The cases that are asked for, and those whose flows they go on with.
    fn choose(&self, all: Vec<Case>) -> Vec<Case> {
        let is_chosen = |case: &Case| {
            let name = case.to_string();
            self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
        };
        let goes_on = |case: &Case| matches!(case.flows, Flows::OfTheCaseBefore);
        let keep: Vec<bool> = (0..all.len())
            .map(|index| {
                let next = all.get(index + 1).is_some_and(|next| goes_on(next) && is_chosen(next));
                all.get(index).is_some_and(is_chosen) || next
            })
            .collect();
        all.into_iter().zip(keep).filter_map(|(case, keep)| keep.then_some(case)).collect()
    }
}

/// Measures in the order of the cases: those of few flows with a table that fits into caches, all
/// others with one of the size that an agent makes.
fn measure_all(cases: Vec<Case>, effort: Effort) -> Result<Vec<Measured>> {
    let (cold, warm): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.table == Table::Cold);
    // The sandbox takes a thread for good.
    let work = move |cases: Vec<Case>, entries: usize| {
        let Some(_sandbox) = Sandbox::enter_for(DEADLINE) else {
            bail!("measuring programs needs root: run it with sudo");
        };
        let mut replayer = Replayer::new(entries);
        let mut measured = Vec::new();
        for case in cases {
            let figures = measure(&mut replayer, &case, effort);
            say(&format!("{case}: {:.0} ns", figures.net()));
            measured.push((case, figures));
        }
        Ok(measured)
    };
    let mut measured = Vec::new();
    for (cases, entries) in [(warm, SMALL_TABLE), (cold, FLOWS as usize * 2)] {
        if cases.is_empty() {
            continue;
        }
        let thread = thread::spawn(move || work(cases, entries));
        let panicked = |_| anyhow!("measuring panicked; what is above says why");
        measured.extend(thread.join().map_err(panicked)??);
    }
    measured.sort_by_key(|(case, _)| case.stream.program as u8);
    Ok(measured)
}

fn measure_of_sockets(rounds: u32) -> Result<Vec<SocketFigure>> {
    let work = move || {
        let Some(_sandbox) = Sandbox::enter_for(DEADLINE) else {
            bail!("measuring programs needs root: run it with sudo");
        };
        Ok(measure_sockets(rounds, CALLS))
    };
    thread::spawn(work).join().map_err(|_| anyhow!("measuring panicked; what is above says why"))?
}

/// As [`lay_out`], for the programs of sockets.
fn lay_out_sockets(figures: &[SocketFigure]) -> String {
    let mut text = String::from("\n| program | call | IPv4 | IPv6 |\n|---|---|---:|---:|\n");
    for figure in figures.iter().filter(|figure| figure.family == Family::V4) {
        let other = figures.iter().find(|other| {
            (other.program, other.what, other.family) == (figure.program, figure.what, Family::V6)
        });
        let v6 = other.map_or(String::new(), |other| format!("{:.0}", other.nanoseconds));
        let SocketFigure { program, what, nanoseconds: v4, .. } = figure;
        let _ = writeln!(text, "| `{program}4`, `…6` | {what} | {v4:.0} | {v6} |");
    }
    text
}

fn to_json(measured: &[Measured]) -> Value {
    let cases: Vec<Value> = measured
        .iter()
        .map(|(case, figures)| {
            json!({
                "program": case.stream.program.name(),
                "packet": case.what,
                "family": format!("{:?}", case.family),
                "protocol": protocol(case.protocol),
                "flows": case.flow_count(),
                "nanoseconds": figures.net(),
                "p10": figures.net_at(10),
                "p90": figures.net_at(90),
                "withReplay": figures.gross.iter().map(Duration::as_nanos).collect::<Vec<_>>(),
                "replayAlone": figures.nothing.iter().map(Duration::as_nanos).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "machine": machine::describe(), "cases": cases })
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "TCP",
        _ => "UDP",
    }
}

const COLUMNS: [(&str, Family, Protocol); 4] = [
    ("IPv4 TCP", Family::V4, Protocol::TCP),
    ("IPv4 UDP", Family::V4, Protocol::UDP),
    ("IPv6 TCP", Family::V6, Protocol::TCP),
    ("IPv6 UDP", Family::V6, Protocol::UDP),
];

/// A row for each kind of packet, a column for each family and protocol; in Markdown.
fn lay_out(measured: &[Measured]) -> String {
    let mut text = String::from("| program | packet | flows |");
    for (name, ..) in COLUMNS {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|---|---:|---:|---:|---:|---:|\n");
    let mut seen = Vec::new();
    for (case, _) in measured {
        let row = (case.stream.program, case.what, case.table);
        if seen.contains(&row) {
            continue;
        }
        seen.push(row);
        let _ = write!(text, "| `{}` | {} |", row.0.name(), row.1);
        let _ = write!(text, " {} |", if row.2 == Table::Warm { "1,024" } else { "1,048,576" });
        for (_, family, protocol) in COLUMNS {
            let figures = measured.iter().find(|(case, _)| {
                (case.stream.program, case.what, case.table) == row
                    && (case.family, case.protocol) == (family, protocol)
            });
            match figures {
                Some((_, figures)) => {
                    let [low, high] = [10, 90].map(|percent| figures.net_at(percent));
                    let _ = write!(text, " {:.0} ({low:.0}–{high:.0}) |", figures.net());
                }
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text
}

/// Where the table is published, and what it stands between.
const PAGE: &str = "docs/benchmarks/programs.md";
const BEGIN: &str = "<!-- cargo xtask bench programs --record -->\n";
const END: &str = "<!-- end -->";

fn record(page: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let replaced = between(&text, &format!("\n{}\n\n{table}\n", machine::describe().trim()))
        .with_context(|| format!("{}: the markers are gone: {BEGIN}{END}", page.display()))?;
    fs::write(page, replaced).with_context(|| format!("writing {}", page.display()))
}

/// The page with other text between the markers; none where it has no markers.
fn between(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{text}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let page = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let wanted = format!("before\n{BEGIN}new\n{END}\nafter\n");
        assert_eq!(between(&page, "new\n").as_deref(), Some(wanted.as_str()));
        assert_eq!(between("no markers", "new"), None);
    }
}
