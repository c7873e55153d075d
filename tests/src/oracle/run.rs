//! Scenarios carried out with real connections, whoever translates them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    client::Outcome,
    ruling::{Report, Ruling, Strictness, backends_seen, judge},
    world::World,
};
use crate::conformance::{
    Case, Config, Expected, Fate, Protocol, Proxy, Scenario, Step, Way, scenario::ObjectRef,
};

/// How long silence must be to be a drop where one is expected: a connection takes a few
/// milliseconds.
const DROP_PATIENCE: Duration = Duration::from_millis(300);
/// How long an answer may take where one is expected.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest that a scenario may want to wait.
const LONGEST_WAIT: u32 = 3;
/// How many clients are at work at once.
const CLIENTS: usize = 6;

/// Whoever translates.
pub trait Translator {
    /// The mode of kube-proxy, if it is one.
    fn proxy(&self) -> Option<Proxy>;

    /// Why a scenario cannot be carried out, if so.
    fn refuses(&self, scenario: &Scenario) -> Option<String>;

    /// Begins a scenario: nothing of the one before is left.
    fn begin(&mut self, config: &Config);

    /// Brings these objects into effect, all that there are.
    fn apply(&mut self, objects: &[Value]);
}

/// Carries out scenarios, one after the other.
pub fn all<'a>(
    world: &World,
    translator: &mut impl Translator,
    scenarios: impl IntoIterator<Item = &'a Scenario>,
) -> Report {
    let mut report = Report::default();
    for scenario in scenarios {
        let run = Run::new(world, translator.proxy(), scenario);
        if let Some(because) = translator.refuses(scenario) {
            skip(&scenario.steps, &because, &mut report);
            continue;
        }
        translator.begin(&scenario.config);
        let mut objects: BTreeMap<ObjectRef, Value> = BTreeMap::new();
        for (number, step) in scenario.steps.iter().enumerate() {
            if step.wait_seconds > LONGEST_WAIT {
                let because = "it waits for longer than a test of all may";
                skip(&scenario.steps[number..], because, &mut report);
                break;
            }
            thread::sleep(Duration::from_secs(step.wait_seconds.into()));
            for gone in &step.remove {
                objects.remove(gone);
            }
            for object in &step.set {
                objects.insert(ObjectRef::of(object), object.clone());
            }
            let all: Vec<Value> = objects.values().cloned().collect();
            translator.apply(&all);
            run.step(step, &mut report);
        }
    }
    report
}

fn skip(steps: &[Step], because: &str, report: &mut Report) {
    for _ in steps.iter().flat_map(|step| &step.cases) {
        report.count("", Ruling::Skipped { because: because.to_owned() });
    }
}

struct Run<'a> {
    world: &'a World,
    proxy: Option<Proxy>,
    scenario: &'a Scenario,
    /// Whether a client stays with an endpoint.
    is_sticky: bool,
    connections: AtomicUsize,
    /// Which backend a case of the sequence got.
    got: Mutex<BTreeMap<&'a str, SocketAddr>>,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, proxy: Option<Proxy>, scenario: &'a Scenario) -> Self {
        let objects = scenario.steps.iter().flat_map(|step| &step.set);
        let is_sticky = scenario.sequence
            || objects.into_iter().any(|object| object["spec"]["sessionAffinity"] == "ClientIP");
        Self {
            world,
            proxy,
            scenario,
            is_sticky,
            connections: AtomicUsize::new(0),
            got: Mutex::new(BTreeMap::new()),
        }
    }

    fn step(&self, step: &'a Step, report: &mut Report) {
        let rulings: Vec<Ruling> = if self.is_sticky {
            self.sequence(&step.cases)
        } else {
            self.several_at_once(&step.cases)
        };
        for (case, ruling) in step.cases.iter().zip(rulings) {
            let after = if step.name.is_empty() { "" } else { " after " };
            let name = format!("{}, {:?}{after}{}", self.scenario.id(), case.name, step.name);
            report.count(&name, ruling);
        }
        report.connections += self.connections.swap(0, Ordering::Relaxed);
    }

    /// Those that borrow an address come last, as others would see it.
    fn several_at_once(&self, cases: &'a [Case]) -> Vec<Ruling> {
        let is_borrower = |case: &Case| self.world.is_borrowed(&case.packet);
        let first = at_once(cases, |case| (!is_borrower(case)).then(|| self.case(case)));
        cases
            .iter()
            .zip(first)
            .map(|(case, ruling)| {
                ruling.unwrap_or_else(|| self.world.with_borrowed(&case.packet, || self.case(case)))
            })
            .collect()
    }

    fn sequence(&self, cases: &'a [Case]) -> Vec<Ruling> {
        let mut is_over = false;
        cases
            .iter()
            .map(|case| {
                is_over |= case.after_seconds > LONGEST_WAIT;
                if is_over {
                    let because = "it waits for longer than a test of all may".to_owned();
                    return Ruling::Skipped { because };
                }
                thread::sleep(Duration::from_secs(case.after_seconds.into()));
                self.case(case)
            })
            .collect()
    }

    fn case(&self, case: &'a Case) -> Ruling {
        let skipped = |because: &str| Ruling::Skipped { because: because.to_owned() };
        if let Some(because) = case.skip.get(&Way::Oracle) {
            return skipped(because);
        }
        if case.packet.protocol == Protocol::Sctp {
            return skipped("there are no SCTP sockets to try it with");
        }
        let sender = match self.world.sender(&case.packet) {
            Ok(sender) => sender,
            Err(because) => return skipped(because),
        };
        let expected = self.proxy.map_or(&case.expected, |proxy| case.expected_of(proxy));
        let mut outcomes = self.connect(sender, case, expected);
        // The kernel may lose an ICMP error, as where it comes while the socket is at work: its
        // rules are judged by a second silence. Those of shunt are given no second chance.
        if self.proxy.is_some()
            && expected.fate != Fate::Drop
            && outcomes.contains(&Outcome::Silence)
        {
            outcomes = self.connect(sender, case, expected);
        }
        self.connections.fetch_add(outcomes.len(), Ordering::Relaxed);
        let strictness = Strictness { all_backends: !self.is_sticky, ports: self.proxy.is_some() };
        let judged = judge(&case.packet, expected, &outcomes, strictness)
            .and_then(|()| self.stays(case, &outcomes));
        let different = self.proxy.and_then(|proxy| case.differs.get(&proxy));
        match (judged, different) {
            (Err(how), _) => Ruling::Wrong { how: format!("{}: {how}", case.packet) },
            (Ok(()), Some(difference)) => {
                Ruling::DeliberatelyDifferent { because: difference.because.clone() }
            }
            (Ok(()), None) => Ruling::Equal,
        }
    }

    fn connect(
        &self,
        sender: super::places::Home,
        case: &Case,
        expected: &Expected,
    ) -> Vec<Outcome> {
        let (patience, times, wanted) = match &expected.fate {
            Fate::Drop => (DROP_PATIENCE, 1, 1),
            Fate::Refuse | Fate::Pass => (PATIENCE, 1, 1),
            Fate::Backends(_) if self.is_sticky => (PATIENCE, 1, 1),
            Fate::Backends(backends) if backends.len() == 1 => (PATIENCE, 3, 1),
            Fate::Backends(backends) => (PATIENCE, 40 * backends.len(), backends.len()),
        };
        let start = Instant::now();
        self.world.send(sender, &case.packet, patience, times, |outcomes| {
            let is_over = start.elapsed() > PATIENCE * 2;
            let has_failed =
                outcomes.iter().any(|outcome| !matches!(outcome, Outcome::Answered { .. }));
            let at_least = times.min(2 * wanted);
            is_over
                || has_failed
                || (wanted > 1
                    && outcomes.len() >= at_least
                    && backends_seen(outcomes).len() >= wanted)
        })
    }

    /// Whether a case got the backend of the one that it refers to.
    fn stays(&self, case: &'a Case, outcomes: &[Outcome]) -> Result<(), String> {
        let Some(backend) = backends_seen(outcomes).pop_first() else { return Ok(()) };
        let mut got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.insert(&case.name, backend);
        let before = case.sticks_to.as_ref().and_then(|name| got.get(name.as_str()));
        match before {
            Some(before) if *before != backend => {
                Err(format!("{backend} answered, where {before} did in {:?}", case.sticks_to))
            }
            _ => Ok(()),
        }
    }
}

/// Does the same with all of some things, several at once, and keeps their order.
fn at_once<'a, T: Sync, R: Send>(things: &'a [T], work: impl Fn(&'a T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, R>> = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS.min(things.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(index) else { return };
                    let result = work(thing);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
