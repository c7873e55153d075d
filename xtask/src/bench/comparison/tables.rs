//! The tables of a run, laid out for a terminal or as Markdown.

use ::tests::contenders::Contender;

use super::{
    super::table::{Row, lay_out},
    interval::{FEW, Interval, Standing},
    metric::Metric,
    names::grouped,
    plan::{Path, Workload},
    results::{Cell, Results},
};

/// A table under a title.
pub(super) struct Table {
    title: String,
    heading: Row,
    rows: Vec<Row>,
}

/// All tables.
pub(super) fn of(results: &Results) -> Vec<Table> {
    let tables = [
        one_node(results),
        by_services(results, Metric::Rate),
        by_services(results, Metric::FirstPacketMedian),
        by_services(results, Metric::FirstPacketTail),
        paths(results),
        against_shunt(results),
        not_ahead(results),
        loading(results),
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

impl Table {
    /// For a terminal.
    pub(super) fn plain(&self) -> String {
        format!("{}\n{}", self.title, lay_out(&self.heading, &self.rows))
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let line = |row: &Row| format!("| {} | {} |\n", row.name, row.cells.join(" | "));
        let columns = "---:|".repeat(self.heading.cells.len());
        let rows: String = self.rows.iter().map(line).collect();
        format!("### {}\n\n{}|---|{columns}\n{rows}", self.title, line(&self.heading))
    }
}

fn row(name: impl Into<String>, cells: impl IntoIterator<Item = String>) -> Row {
    Row { name: name.into(), cells: cells.into_iter().collect() }
}

/// A ratio with its interval.
fn ratio(interval: &Interval) -> String {
    let few = if interval.rounds < FEW { "?" } else { "" };
    format!("{:.3} [{:.3}..{:.3}]{few}", interval.median, interval.low, interval.high)
}

fn against_limit(cell: Option<&Cell>) -> String {
    let interval = cell.and_then(|cell| cell.against_limit.as_ref());
    interval.map_or_else(|| "-".to_owned(), ratio)
}

fn absolute(cell: Option<&Cell>) -> String {
    cell.map_or_else(|| "-".to_owned(), |cell| format!("{} {}", value(cell.median), cell.unit))
}

fn value(number: f64) -> String {
    if number < 100.0 { format!("{number:.2}") } else { format!("{number:.0}") }
}

fn one_node(results: &Results) -> Table {
    const WORKLOADS: [Workload; 6] = [
        Workload::TcpExchanges,
        Workload::UdpExchanges,
        Workload::Connections,
        Workload::OneStream,
        Workload::EightStreams,
        Workload::Datagrams,
    ];
    let there: Vec<Workload> = WORKLOADS
        .into_iter()
        .filter(|workload| !results.sizes(Path::Pod, *workload).is_empty())
        .collect();
    let cell = |contender, workload| {
        let size = results.sizes(Path::Pod, workload).first().copied().unwrap_or(0);
        results.cell(Path::Pod, workload, Metric::Rate, contender, size)
    };
    let rows = Contender::ALL.map(|contender| {
        let cells = there.iter().map(|workload| match contender {
            Contender::Raw => absolute(cell(contender, *workload)),
            _ => against_limit(cell(contender, *workload)),
        });
        row(contender.name(), cells)
    });
    Table {
        title: "From a pod to a Service on its node, 10 Services: rates against the raw veth pair"
            .to_owned(),
        heading: row("contender", there.iter().map(|workload| workload.name().to_owned())),
        rows: rows.into(),
    }
}

fn by_services(results: &Results, metric: Metric) -> Table {
    let workload = Workload::Connections;
    let sizes = results.sizes(Path::Pod, workload);
    let cell = |contender, size| results.cell(Path::Pod, workload, metric, contender, size);
    let in_units = metric != Metric::Rate;
    let show = |cell: Option<&Cell>| {
        if in_units {
            format!("{}, {}", absolute(cell), against_limit(cell))
        } else {
            against_limit(cell)
        }
    };
    let rows = Contender::ALL.map(|contender| {
        let cells = sizes.iter().enumerate().map(|(index, size)| match contender {
            Contender::Raw if index == 0 => absolute(cell(contender, *size)),
            Contender::Bridge if index == 0 => show(cell(contender, *size)),
            Contender::Raw | Contender::Bridge => String::new(),
            _ => show(cell(contender, *size)),
        });
        row(contender.name(), cells)
    });
    let times = if in_units { "times" } else { "rates" };
    Table {
        title: format!(
            "{} by the number of Services, from a pod on one node: {times} against the raw veth pair",
            capital(metric.name(workload))
        ),
        heading: row("contender", sizes.iter().map(|size| grouped(*size))),
        rows: if sizes.is_empty() { Vec::new() } else { rows.into() },
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn paths(results: &Results) -> Table {
    const WORKLOADS: [Workload; 4] = [
        Workload::Connections,
        Workload::TcpExchanges,
        Workload::UdpExchanges,
        Workload::OneStream,
    ];
    let mut rows = Vec::new();
    for path in Path::ALL.into_iter().filter(|path| *path != Path::Pod) {
        for workload in WORKLOADS {
            let Some(size) = results.sizes(path, workload).first().copied() else { continue };
            let cells = Contender::ALL.map(|contender| {
                let cell = results.cell(path, workload, Metric::Rate, contender, size);
                if contender == Contender::Raw { absolute(cell) } else { against_limit(cell) }
            });
            rows.push(row(format!("{}, {}", path.name(), workload.name()), cells));
        }
    }
    Table {
        title: "Other ways, 10 Services: rates against the raw veth pair".to_owned(),
        heading: row("way", Contender::ALL.map(|contender| contender.name().to_owned())),
        rows,
    }
}

/// shunt against each of kube-proxy's modes, figure by figure.
fn against_shunt(results: &Results) -> Table {
    let row_of = |(name, cells): (String, [Option<&Cell>; 3])| {
        row(name, cells.map(|cell| cell.and_then(judged).unwrap_or_else(|| "-".to_owned())))
    };
    Table {
        title: "shunt against kube-proxy with as many Services: above 1 shunt is quicker"
            .to_owned(),
        heading: row("way, figure, Services", RIVALS.map(|other| other.name().to_owned())),
        rows: rivals(results).into_iter().map(row_of).collect(),
    }
}

/// Of these, only those figures in which shunt is not quicker than all of them.
fn not_ahead(results: &Results) -> Table {
    let is_ahead = |cell: &&Cell| {
        cell.shunt_against_it.is_none_or(|interval| interval.standing() == Standing::Above)
    };
    let mut rows = Vec::new();
    for (name, cells) in rivals(results) {
        for cell in cells.iter().flatten().filter(|cell| !is_ahead(cell)) {
            rows.push(row(format!("{name}, {}", cell.contender), judged(cell)));
        }
    }
    Table {
        title: "Of these, where shunt is not seen to be quicker".to_owned(),
        heading: row("way, figure, Services, contender", ["shunt against it".to_owned()]),
        rows,
    }
}

const RIVALS: [Contender; 3] =
    [Contender::IptablesLegacy, Contender::IptablesNft, Contender::Nftables];

/// Each figure of kube-proxy's modes, by what it is of.
fn rivals(results: &Results) -> Vec<(String, [Option<&Cell>; 3])> {
    let mut figures: Vec<(String, [Option<&Cell>; 3])> = Vec::new();
    for cell in &results.cells {
        let Some(place) = RIVALS.iter().position(|rival| rival.name() == cell.contender) else {
            continue;
        };
        let services = grouped(cell.services.unwrap_or(0));
        let name = format!("{}, {}, {services}", cell.path, cell.metric);
        let found = figures.iter().position(|(it, _)| *it == name).unwrap_or_else(|| {
            figures.push((name, [None; 3]));
            figures.len() - 1
        });
        if let Some(slot) = figures.get_mut(found).and_then(|(_, cells)| cells.get_mut(place)) {
            *slot = Some(cell);
        }
    }
    figures
}

/// shunt against a contender, and what that says.
fn judged(cell: &Cell) -> Option<String> {
    let interval = cell.shunt_against_it.as_ref()?;
    Some(format!("{}, {}", ratio(interval), verdict(interval)))
}

fn verdict(interval: &Interval) -> &'static str {
    match interval.standing() {
        _ if interval.rounds < FEW => "too few rounds",
        Standing::Above => "shunt",
        Standing::Below => "the other",
        Standing::Within => "no difference seen",
    }
}

fn loading(results: &Results) -> Table {
    let mut loaded: Vec<_> = results.loaded.iter().collect();
    loaded.sort_by_key(|one| (one.services, one.what.clone()));
    Table {
        title: "Time to load all rules, or from an agent's start until it is ready; several are \
                loaded at once"
            .to_owned(),
        heading: row("what", ["seconds".to_owned()]),
        rows: loaded
            .into_iter()
            .map(|one| row(&one.what, [format!("{:.1}", one.seconds)]))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_shows_its_interval_and_whether_rounds_were_few() {
        let mut interval = Interval { median: 0.95, low: 0.9, high: 1.01, rounds: 9 };
        assert_eq!(ratio(&interval), "0.950 [0.900..1.010]");
        assert_eq!(verdict(&interval), "no difference seen");
        interval.rounds = 2;
        assert_eq!(ratio(&interval), "0.950 [0.900..1.010]?");
        assert_eq!(verdict(&interval), "too few rounds");
    }

    #[test]
    fn a_table_reads_as_markdown() {
        let table = Table {
            title: "T".to_owned(),
            heading: row("a", ["b".to_owned()]),
            rows: vec![row("c", ["d".to_owned()])],
        };
        assert_eq!(table.markdown(), "### T\n\n| a | b |\n|---|---:|\n| c | d |\n");
    }
}
