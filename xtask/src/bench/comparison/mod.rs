//! `cargo xtask bench` without a subject: shunt beside everything that a user could choose instead.
//!
//! All contenders stand at once, each with a node and pods of its own, and are measured in turns, so
//! that whatever the machine does meanwhile meets all of them. A figure is a ratio to the raw veth
//! pair of the same round.

mod circumstances;
mod document;
mod interval;
mod metric;
mod names;
mod plan;
mod plot;
mod results;
mod rounds;
mod sample;
mod tables;
mod worlds;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    time::Instant,
};

use ::tests::load::processors::Processors;
use anyhow::{Context as _, Result, bail};

use self::{
    plan::Plan,
    results::{Circumstances, Results},
    tables::Table,
};
use crate::{
    Outcome, build, interrupt,
    process::{is_root, say},
    repository::Repository,
    setup,
};

/// How the comparison is made.
#[derive(clap::Args)]
#[group(id = "comparison")]
pub(crate) struct Arguments {
    /// A minute instead of a quarter of an hour: fewer Services, fewer ways, wider intervals.
    #[arg(long)]
    quick: bool,
    /// So many rounds.
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<usize>,
    /// Leave out larger numbers of Services: tens of thousands take minutes to load.
    #[arg(long, value_name = "NUMBER")]
    most_services: Option<u32>,
    /// Measure only what has this in its name: `pod, one node`, `connect`, `VXLAN`, `stream`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Hold only these against the raw veth pair: `bridge`, `iptables`, `nftables`, `shunt`.
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    contenders: Vec<String>,
    /// Also write every value into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where tables, plots and values go. If nothing is said, a full run that came to its end
    /// replaces those in docs/benchmarks, and any other goes to target/benchmarks.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Arguments {
    /// What was asked for.
    fn plan(&self) -> Result<Plan> {
        let mut plan = if self.quick { Plan::quick() } else { Plan::full() };
        plan.rounds = self.rounds.unwrap_or(plan.rounds);
        if let Some(most) = self.most_services {
            plan = plan.with_at_most(most);
        }
        if let Some(text) = &self.only {
            plan = plan.with_only(text);
        }
        if !self.contenders.is_empty() {
            plan = plan.with_contenders(&self.contenders);
        }
        if plan.samples() == 0 {
            bail!("nothing has such a name; `cargo xtask bench --help` has examples");
        }
        Ok(plan)
    }

    /// Whether nothing of the whole was left out.
    fn is_full(&self) -> bool {
        !self.quick
            && self.rounds.is_none()
            && self.most_services.is_none()
            && self.only.is_none()
            && self.contenders.is_empty()
    }
}

/// Builds everything, measures, prints tables on stdout, and writes files.
pub(super) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    if !is_root() {
        bail!("the comparison makes network namespaces and loads programs: run it as root");
    }
    let plan = arguments.plan()?;
    build::everything(repository)?;
    setup::test_tools()?;
    interrupt::watch("printing what there is, and removing everything")?;

    let begun = circumstances::now();
    let machine = circumstances::machine(repository);
    let processors = Processors::choose().context("choosing processors")?;
    let clock = Instant::now();
    let (worlds, failures) = worlds::build(plan.setups())?;
    let building = clock.elapsed();
    let clock = Instant::now();
    let mut measured = rounds::play(&plan, &worlds, processors);
    measured.failures.splice(..0, failures);
    let complete = measured.rounds == plan.rounds;
    let circumstances = Circumstances {
        begun,
        complete,
        sample: plan.sample,
        building,
        measuring: clock.elapsed(),
        machine,
    };
    let results = Results::new(circumstances, measured, &worlds);
    drop(worlds);

    let tables: Vec<String> = tables::of(&results).iter().map(Table::plain).collect();
    let text = format!("{}\n{}", circumstances::in_lines(&results.machine), tables.join("\n"));
    io::stdout().write_all(text.as_bytes()).context("printing the tables")?;
    let folder = match &arguments.output {
        Some(folder) => folder.clone(),
        None if complete && arguments.is_full() => repository.path(document::FOLDER),
        None => repository.target().join("benchmarks"),
    };
    for path in document::write(&results, &folder)? {
        say(&format!("wrote {}", path.display()));
    }
    if let Some(path) = &arguments.json {
        fs::copy(folder.join(document::JSON), path)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if !results.failures.is_empty() {
        say(&format!("{} samples were not counted", results.failures.len()));
    }
    Ok(if complete && results.failures.is_empty() { Outcome::Done } else { Outcome::Negative })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn every_contender_is_measured_on_every_way_with_nothing_amiss() {
        let mut plan = Plan::full().with_at_most(10);
        (plan.rounds, plan.sample) = (1, Duration::from_millis(30));
        let (worlds, failures) = worlds::build(plan.setups()).unwrap();
        assert_eq!((worlds.len(), failures), (plan.setups().len(), Vec::new()));
        let measured = rounds::play(&plan, &worlds, Processors::choose().unwrap());
        assert_eq!(measured.failures, Vec::<String>::new());
        let rates = measured.values.keys().filter(|key| key.metric == metric::Metric::Rate);
        assert_eq!(rates.count(), plan.samples());
        assert!(measured.values.values().flat_map(|rounds| rounds.values()).all(|it| *it > 0.0));
    }
}
