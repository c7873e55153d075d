//! What a run has found, as it is kept in JSON: every value, and what follows from them.

use std::{collections::BTreeMap, time::Duration};

use ::tests::contenders::Contender;
use serde::{Deserialize, Serialize};

use super::{
    interval::{Interval, median},
    metric::{Better, Metric},
    names,
    plan::{Path, Workload, limit},
    rounds::{Key, Measured},
    worlds::Worlds,
};

/// The form of the file; another number is another form.
pub(super) const SCHEMA: u32 = 1;

/// A run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Results {
    pub(super) schema: u32,
    /// When it began, in UTC.
    pub(super) begun: String,
    /// Whether it came to its end.
    pub(super) complete: bool,
    pub(super) rounds: usize,
    pub(super) sample_milliseconds: u64,
    /// How long building took, and how long measuring.
    pub(super) seconds: [u64; 2],
    /// What it ran on, and with which programs.
    pub(super) machine: BTreeMap<String, String>,
    pub(super) loaded: Vec<Loaded>,
    pub(super) cells: Vec<Cell>,
    /// Samples that do not count, and why.
    pub(super) failures: Vec<String>,
}

/// How long it took to put Services in force.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) what: String,
    pub(super) contender: String,
    pub(super) services: u32,
    pub(super) seconds: f64,
}

/// A figure of a contender.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cell {
    pub(super) path: String,
    pub(super) workload: String,
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) contender: String,
    /// None where it has none.
    pub(super) services: Option<u32>,
    /// By round, from 1 on.
    pub(super) samples: BTreeMap<usize, f64>,
    pub(super) median: f64,
    /// Against the raw veth pair, round by round.
    pub(super) against_limit: Option<Interval>,
    /// shunt against this contender with as many Services, round by round; above one where shunt is
    /// better.
    pub(super) shunt_against_it: Option<Interval>,
}

/// Of whom, when and where.
pub(super) struct Circumstances {
    pub(super) begun: String,
    pub(super) complete: bool,
    pub(super) sample: Duration,
    pub(super) building: Duration,
    pub(super) measuring: Duration,
    pub(super) machine: BTreeMap<String, String>,
}

impl Results {
    /// Brings everything together.
    pub(super) fn new(circumstances: Circumstances, measured: Measured, worlds: &Worlds) -> Self {
        let cells = measured.values.keys().map(|key| Cell::of(*key, &measured)).collect();
        let loaded = worlds
            .values()
            .filter(|world| world.setup().contender.has_services())
            .map(|world| Loaded {
                what: names::of(world.setup()),
                contender: world.setup().contender.name().to_owned(),
                services: world.setup().services,
                seconds: (world.took().as_secs_f64() * 10.0).round() / 10.0,
            })
            .collect();
        Self {
            schema: SCHEMA,
            begun: circumstances.begun,
            complete: circumstances.complete,
            rounds: measured.rounds,
            sample_milliseconds: u64::try_from(circumstances.sample.as_millis())
                .unwrap_or(u64::MAX),
            seconds: [circumstances.building.as_secs(), circumstances.measuring.as_secs()],
            machine: circumstances.machine,
            loaded,
            cells,
            failures: measured.failures,
        }
    }

    /// A contender's cell.
    pub(super) fn cell(
        &self,
        path: Path,
        workload: Workload,
        metric: Metric,
        contender: Contender,
        services: u32,
    ) -> Option<&Cell> {
        let services = contender.has_services().then_some(services);
        self.cells.iter().find(|cell| {
            cell.path == path.name()
                && cell.workload == workload.name()
                && cell.metric == metric.name(workload)
                && cell.contender == contender.name()
                && cell.services == services
        })
    }

    /// The numbers of Services that a figure was measured with.
    pub(super) fn sizes(&self, path: Path, workload: Workload) -> Vec<u32> {
        let cells = self
            .cells
            .iter()
            .filter(|cell| cell.path == path.name() && cell.workload == workload.name());
        let mut sizes: Vec<u32> = cells.filter_map(|cell| cell.services).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

impl Cell {
    fn of(key: Key, measured: &Measured) -> Self {
        let values = &measured.values[&key];
        let contender = key.setup.contender;
        let limit = Key { setup: limit(), ..key };
        let mut shunt = key;
        shunt.setup.contender = Contender::Shunt;
        let is_against_shunt = contender.has_services() && contender != Contender::Shunt;
        let better = |(own, shunt): (f64, f64)| match key.metric.better() {
            Better::More => shunt / own,
            Better::Less => own / shunt,
        };
        Self {
            path: key.path.name().to_owned(),
            workload: key.workload.name().to_owned(),
            metric: key.metric.name(key.workload).to_owned(),
            unit: key.metric.unit(key.workload).to_owned(),
            contender: contender.name().to_owned(),
            services: contender.has_services().then_some(key.setup.services),
            samples: values.iter().map(|(round, value)| (round + 1, *value)).collect(),
            median: median(&mut values.values().copied().collect::<Vec<_>>()),
            against_limit: (key != limit)
                .then(|| measured.interval(key, limit, |(own, limit)| own / limit))
                .flatten(),
            shunt_against_it: is_against_shunt
                .then(|| measured.interval(key, shunt, better))
                .flatten(),
        }
    }
}

impl Measured {
    /// The interval of what `ratio` makes of two figures in each round that has both.
    fn interval(
        &self,
        one: Key,
        other: Key,
        ratio: impl Fn((f64, f64)) -> f64,
    ) -> Option<Interval> {
        let (one, other) = (self.values.get(&one)?, self.values.get(&other)?);
        let pairs = one.iter().filter_map(|(round, value)| Some((*value, *other.get(round)?)));
        Interval::of(&pairs.map(ratio).collect::<Vec<_>>())
    }
}
