//! Holding a machine against the table: every fate that a case allows must be seen, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::Machine;
use crate::conformance::{
    Case, Cast, Fate, Scenario,
    packet::Outcome,
    scenario::{Expected, Step},
};

/// How many connections are opened at most before a backend counts as one that nobody gets. With
/// sixteen backends, one of them is missed once in 10^28 times.
const MOST_ATTEMPTS: u32 = 1024;

/// What has become of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// As the table says.
    Passed,
    /// Not carried out, and why.
    Skipped(String),
    /// Otherwise than the table says, and how.
    Failed(String),
}

/// Carries out a scenario, and tells of each of its cases.
pub fn carry_out<'a>(
    scenario: &'a Scenario,
    cast: &Cast,
    machine: &mut dyn Machine,
) -> Vec<(&'a Case, Result)> {
    if scenario.sequence {
        return in_sequence(scenario, cast, machine);
    }
    let mut results = Vec::new();
    machine.begin(cast, &scenario.config);
    for step in &scenario.steps {
        enter(step, machine);
        for case in &step.cases {
            let result = match reason_to_skip(case, machine) {
                Some(reason) => Result::Skipped(reason),
                None => alone(case, cast, machine),
            };
            results.push((case, result));
        }
    }
    results
}

/// Opens connections of one case, each as if it were the first ever.
fn alone(case: &Case, here: &Cast, machine: &mut dyn Machine) -> Result {
    let mut seen = Seen::default();
    for _ in 0..MOST_ATTEMPTS {
        machine.forget();
        let outcome = machine.open(&case.packet);
        if let Err(error) = seen.note(case, here, outcome) {
            return Result::Failed(error);
        }
        if seen.is_complete(&case.expected) {
            break;
        }
    }
    seen.verdict(case)
}

/// Carries out all steps, one case after the other, again and again, until all has been seen.
fn in_sequence<'a>(
    scenario: &'a Scenario,
    cast: &Cast,
    machine: &mut dyn Machine,
) -> Vec<(&'a Case, Result)> {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut failed: BTreeMap<&str, String> = BTreeMap::new();
    let mut skipped: BTreeMap<&str, String> = BTreeMap::new();
    let cases = || scenario.steps.iter().flat_map(|step| &step.cases);
    for _ in 0..MOST_ATTEMPTS {
        machine.begin(cast, &scenario.config);
        machine.forget();
        let mut chosen: BTreeMap<&str, SocketAddr> = BTreeMap::new();
        for step in &scenario.steps {
            enter(step, machine);
            for case in &step.cases {
                machine.wait(case.after_seconds);
                if let Some(reason) = reason_to_skip(case, machine) {
                    skipped.insert(&case.name, reason);
                    continue;
                }
                let outcome = machine.open(&case.packet);
                if let Outcome::Reached { backend, .. } = outcome {
                    chosen.insert(&case.name, backend);
                }
                let noted = seen.entry(&case.name).or_default().note(case, cast, outcome);
                let noted = noted.and_then(|()| check_affinity(case, &chosen));
                if let Err(error) = noted {
                    failed.insert(&case.name, error);
                }
            }
        }
        let is_complete = |case: &Case| {
            let seen = seen.get(case.name.as_str());
            seen.is_none_or(|seen| seen.is_complete(&case.expected))
        };
        if !failed.is_empty() || cases().all(is_complete) {
            break;
        }
    }
    cases()
        .map(|case| {
            let name = case.name.as_str();
            let result = match (failed.remove(name), skipped.remove(name), seen.get(name)) {
                (Some(error), _, _) => Result::Failed(error),
                (_, Some(reason), _) => Result::Skipped(reason),
                (_, _, Some(seen)) => seen.verdict(case),
                (None, None, None) => Result::Failed("it was not reached".to_owned()),
            };
            (case, result)
        })
        .collect()
}

fn enter(step: &Step, machine: &mut dyn Machine) {
    machine.wait(step.wait_seconds);
    machine.change(&step.set, &step.remove);
}

fn reason_to_skip(case: &Case, machine: &dyn Machine) -> Option<String> {
    let written = case.skip.get(&machine.way()).cloned();
    written.or_else(|| machine.cannot(&case.packet).map(ToOwned::to_owned))
}

fn check_affinity(
    case: &Case,
    chosen: &BTreeMap<&str, SocketAddr>,
) -> std::result::Result<(), String> {
    let Some(other) = &case.sticks_to else { return Ok(()) };
    let (own, other_backend) = (chosen.get(case.name.as_str()), chosen.get(other.as_str()));
    if own == other_backend {
        return Ok(());
    }
    Err(format!("it got {own:?}, and {other:?} {other_backend:?}"))
}

/// What was seen of one case.
#[derive(Clone, Debug, Default)]
struct Seen {
    backends: BTreeSet<SocketAddr>,
    others: u32,
}

impl Seen {
    /// A backend that is the sender itself always sees the node's address, and one that is the node
    /// itself never does, whatever the case says of the others.
    fn note(
        &mut self,
        case: &Case,
        here: &Cast,
        outcome: Outcome,
    ) -> std::result::Result<(), String> {
        let Expected { fate, masquerade } = &case.expected;
        match (outcome, fate) {
            (Outcome::Reached { backend, masqueraded }, Fate::Backends(backends))
                if backends.contains(&backend) =>
            {
                let expected = backend.ip() == case.packet.source
                    || (*masquerade && !here.is_own(backend.ip()));
                if masqueraded.is_some_and(|is| is != expected) {
                    let not = if expected { "" } else { "not " };
                    return Err(format!("{backend} was {not}to see the node's address"));
                }
                self.backends.insert(backend);
                Ok(())
            }
            (Outcome::Refused, Fate::Refuse)
            | (Outcome::Dropped, Fate::Drop)
            | (Outcome::Passed, Fate::Pass) => {
                self.others += 1;
                Ok(())
            }
            (outcome, fate) => Err(format!("{outcome}, and not {fate}")),
        }
    }

    fn is_complete(&self, expected: &Expected) -> bool {
        match &expected.fate {
            Fate::Backends(backends) => self.backends == *backends,
            Fate::Refuse | Fate::Drop | Fate::Pass => self.others > 0,
        }
    }

    fn verdict(&self, case: &Case) -> Result {
        match &case.expected.fate {
            Fate::Backends(backends) if self.backends != *backends => {
                let missing: Vec<String> =
                    backends.difference(&self.backends).map(ToString::to_string).collect();
                Result::Failed(format!("nothing got {}", missing.join(", ")))
            }
            _ => Result::Passed,
        }
    }
}
