//! Instructions for each packet to a Service, in a virtual machine that counts them.

use std::{fmt, fs, time::Duration};

use ::tests::pktgen::{Contender, Flow, Measured, Plan, Report, Way};
use anyhow::{Context as _, Result};

use super::table::{Row, lay_out};
use crate::{
    process::say,
    repository::Repository,
    vm::{self, Kernel},
};

/// The page that holds the table.
const PAGE: &str = "docs/benchmarks/pktgen.md";

/// The lines of the page that the table is between.
const BEGIN: &str = "<!-- The table is written by `cargo xtask bench pktgen`. -->";
const END: &str = "<!-- End of the table. -->";

/// How long it may take.
const LIMIT: Duration = Duration::from_hours(1);

/// Measures everything; a table, or JSON. A run that is not quick is written to the page.
pub(super) fn measure(
    repository: &Repository,
    kernel: Kernel,
    quick: bool,
    json: bool,
) -> Result<String> {
    let plan = if quick {
        Plan { services: vec![10], packets: 400 }
    } else {
        Plan { services: vec![10, 1000], packets: 4000 }
    };
    let text = serde_json::to_string(&plan).context("writing the plan down")?;
    let files = vm::measure(repository, kernel, &text, LIMIT)?;
    let report = files.get("report.json").context("the machine left no report")?;
    let report: Report = serde_json::from_str(report).context("understanding the report")?;
    let table = lay_out_report(&report);
    if !quick {
        let page = repository.read(PAGE)?;
        let written = with_table(&page, &table)
            .with_context(|| format!("{PAGE}: there is no `{BEGIN}` before an `{END}`"))?;
        fs::write(repository.path(PAGE), written).with_context(|| format!("writing {PAGE}"))?;
        say(&format!("written: {PAGE}"));
    }
    if json {
        return Ok(serde_json::to_string_pretty(&report).context("printing the report")? + "\n");
    }
    Ok(table)
}

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    way: Way,
    contender: Contender,
    services: Option<u32>,
}

impl Name {
    fn of(&Measured { way, contender, services, .. }: &Measured) -> Self {
        Self { way, contender, services }
    }

    /// What making a packet costs on the same way.
    fn dropped(self) -> Self {
        Self { contender: Contender::Nothing, services: None, ..self }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::ClusterIp => write!(formatter, "pod: {}", self.contender)?,
            Way::NodePort => write!(formatter, "outside: {}", self.contender)?,
        }
        self.services.map_or(Ok(()), |services| write!(formatter, ", {services} Services"))
    }
}

/// A row for each contender and number of Services: instructions less those of packets that are
/// dropped on arrival.
fn lay_out_report(report: &Report) -> String {
    let columns = [(4, Flow::Established), (4, Flow::New), (6, Flow::Established), (6, Flow::New)];
    let mut names: Vec<Name> = Vec::new();
    for measured in &report.measured {
        let name = Name::of(measured);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Of each way, the ones to compare with come first, then each number of Services.
    names.sort_by_key(|name| (name.way, name.services.unwrap_or(0)));
    let find = |name: Name, column: (u8, Flow)| {
        let wanted = |measured: &&Measured| {
            Name::of(measured) == name && (measured.ip, measured.flow) == column
        };
        report.measured.iter().find(wanted)
    };
    let rows: Vec<Row> = names
        .iter()
        .map(|&name| {
            let cells = columns.map(|column| {
                let base = find(name.dropped(), column).map_or(0, |m| m.instructions);
                find(name, column).map_or_else(|| "-".to_owned(), |measured| cell(measured, base))
            });
            Row { name: name.to_string(), cells: cells.to_vec() }
        })
        .collect();
    let heading = Row {
        name: "instructions per packet".to_owned(),
        cells: ["IPv4 established", "IPv4 new", "IPv6 established", "IPv6 new"]
            .map(str::to_owned)
            .to_vec(),
    };
    let proof: Vec<String> = report
        .additions
        .iter()
        .map(|(additions, nanoseconds)| format!("{additions} additions took {nanoseconds} ns"))
        .collect();
    format!("Linux {}; {}\n\n{}", report.kernel, proof.join(", "), lay_out(&heading, &rows))
}

/// What a packet costs beyond its making and arrival; the latter itself where that is measured.
fn cell(measured: &Measured, base: u64) -> String {
    let net = match measured.contender {
        Contender::Nothing => measured.instructions,
        _ => measured.instructions.saturating_sub(base),
    };
    match measured.arrived_per_mille {
        1000 => net.to_string(),
        // A figure of packets that were lost on their way is none.
        arrived => format!("{net} ({}% lost)", (1000 - arrived).div_ceil(10)),
    }
}

/// The page with another table.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n```text\n{table}```\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(contender: Contender, services: Option<u32>, instructions: u64) -> Measured {
        Measured {
            way: Way::ClusterIp,
            contender,
            services,
            ip: 4,
            flow: Flow::New,
            instructions,
            arrived_per_mille: 1000,
        }
    }

    #[test]
    fn what_making_a_packet_costs_is_nobodys() {
        let report = Report {
            kernel: "6.12".to_owned(),
            additions: vec![(2000, 2001)],
            measured: vec![
                measured(Contender::Shunt, Some(10), 5000),
                measured(Contender::Nothing, None, 3000),
            ],
        };
        let table = lay_out_report(&report);
        let shunt = table.lines().find(|line| line.starts_with("pod: shunt")).unwrap();
        assert!(shunt.contains(" 2000 "), "{table}");
        let nothing = table.lines().position(|line| line.starts_with("pod: dropped")).unwrap();
        assert!(nothing < table.lines().position(|line| line.starts_with("pod: shunt")).unwrap());
        assert!(table.contains("2000 additions took 2001 ns"), "{table}");
    }

    #[test]
    fn packets_that_are_lost_are_said() {
        let lost = Measured { arrived_per_mille: 985, ..measured(Contender::Ipvs, Some(1), 7) };
        assert_eq!(cell(&lost, 0), "7 (2% lost)");
    }

    #[test]
    fn only_the_table_of_the_page_changes() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let written = with_table(&page, "new\n").unwrap();
        assert_eq!(written, format!("a\n{BEGIN}\n\n```text\nnew\n```\n\n{END}\nb\n"));
        assert_eq!(with_table("a", "new"), None);
    }
}
