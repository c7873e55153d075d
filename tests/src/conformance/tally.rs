//! How many cases there are, by section, family and way, and what has become of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use maps_schema::address::Family;

use super::{
    Cast, Scenario, Table, Way,
    ways::{
        Machine,
        judge::{Result, carry_out},
    },
};
use crate::counts;

/// What has become of the cases of one way.
#[derive(Clone, Debug)]
pub struct Tally {
    way: Way,
    /// Passed, skipped and failed, by section and family.
    counts: BTreeMap<(String, bool), Counts>,
    /// How many cases were skipped, by reason.
    skipped: BTreeMap<String, usize>,
    /// What failed, and how.
    failures: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: usize,
    skipped: usize,
    failed: usize,
}

impl Tally {
    /// Nothing was carried out yet.
    pub fn new(way: Way) -> Self {
        Self { way, counts: BTreeMap::new(), skipped: BTreeMap::new(), failures: Vec::new() }
    }

    /// Carries out every scenario of a table on a machine.
    pub fn of(table: &Table, machine: &mut dyn Machine) -> Self {
        let mut tally = Self::new(machine.way());
        for scenario in &table.scenarios {
            tally.add_scenario(scenario, &table.cast_of(&scenario.families), machine);
        }
        tally
    }

    /// Carries out one scenario more.
    pub fn add_scenario(&mut self, scenario: &Scenario, cast: &Cast, machine: &mut dyn Machine) {
        for (case, result) in carry_out(scenario, cast, machine) {
            let packet = &case.packet;
            let place = || format!("{}: {}: {packet}", scenario.id(), case.name);
            let family = if packet.source.is_ipv4() { Family::V4 } else { Family::V6 };
            self.note(&case.section, family, result, place);
        }
    }

    /// Notes what has become of one case.
    pub fn note(
        &mut self,
        section: &str,
        family: Family,
        result: Result,
        place: impl FnOnce() -> String,
    ) {
        let key = (section.to_owned(), family == Family::V6);
        let counts = self.counts.entry(key).or_default();
        match result {
            Result::Passed => counts.passed += 1,
            Result::Skipped(reason) => {
                counts.skipped += 1;
                *self.skipped.entry(reason).or_default() += 1;
            }
            Result::Failed(error) => {
                counts.failed += 1;
                self.failures.push(format!("{}: {error}", place()));
            }
        }
    }

    /// Says what was counted, leaves it for `cargo xtask test` to show, and fails where a case has.
    ///
    /// # Panics
    ///
    /// A case has failed, or was skipped without a reason.
    pub fn conclude(&self) {
        counts::leave(&format!("conformance-{}", self.way.name()), self);
        let failures = self.failures.join("\n");
        assert!(self.failures.is_empty(), "{} cases failed:\n{failures}", self.failures.len());
        assert!(!self.skipped.contains_key(""), "cases were skipped without a reason");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        let sections: BTreeSet<&String> = self.counts.keys().map(|(section, _)| section).collect();
        let mut total = Counts::default();
        for section in sections {
            write!(lines, "  {section:<6}")?;
            for (is_v6, family) in [(false, "IPv4"), (true, "IPv6")] {
                let key = (section.clone(), is_v6);
                let counts = self.counts.get(&key).copied().unwrap_or_default();
                write!(lines, "  {family} {:>4} passed", counts.passed)?;
                if counts.skipped > 0 {
                    write!(lines, ", {} skipped", counts.skipped)?;
                }
                if counts.failed > 0 {
                    write!(lines, ", {} FAILED", counts.failed)?;
                }
                total.passed += counts.passed;
                total.skipped += counts.skipped;
                total.failed += counts.failed;
            }
            lines.push('\n');
        }
        let Counts { passed, skipped, failed } = total;
        writeln!(
            formatter,
            "conformance, way {}: {passed} cases passed, {skipped} skipped, {failed} failed",
            self.way.name()
        )?;
        formatter.write_str(&lines)?;
        for (reason, count) in &self.skipped {
            writeln!(formatter, "  {count} skipped: {reason}")?;
        }
        Ok(())
    }
}
