//! `docs/semantics.md`: what the table says, for people who ask what shunt does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Case, Scenario, Table};

/// The parts of the semantics, and what they are about.
const SECTIONS: [(&str, &str); 8] = [
    ("1.1", "Fields of Services"),
    ("1.2", "Fields of EndpointSlices"),
    ("1.3", "Which endpoints serve"),
    ("1.4", "Whom packets reach, and whose address is seen"),
    ("1.5", "Refused and dropped"),
    ("1.6", "Node ports"),
    ("1.7", "Nodes as clients and as endpoints"),
    ("7.5", "Host ports of pods"),
];

/// The document.
#[must_use]
pub fn semantics(table: &Table) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(&totals(table));
    for (section, title) in SECTIONS {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "\n## {title}");
        for (field, scenarios) in by_field(table, section) {
            text.push_str(&entry(&field, &scenarios));
        }
    }
    text.push_str(&differences(table));
    text
}

const INTRODUCTION: &str = "\
# What shunt does with a Service

Generated from the [conformance table](../tests/conformance): `cargo xtask tidy --fix` writes this
file. Each statement below is proven by cases of the table: objects, settings, a packet, and what
may become of it. Every case is carried out by a reference model, by the agent's compiler and the
datapath as native code, and by the programs in the kernel; and, where kube-proxy's rules can say
it, by real connections through the kernel's own NAT.

";

fn totals(table: &Table) -> String {
    let count = |is_ipv4: bool| {
        let all = table.scenarios.iter().flat_map(cases);
        all.filter(|case| case.packet.source.is_ipv4() == is_ipv4).count()
    };
    let mut text = format!(
        "There are {} cases in IPv4 and {} in IPv6. Files are written in IPv4, and each scenario has a \
         twin in IPv6",
        count(true),
        count(false)
    );
    if table.without_twin.is_empty() {
        text.push_str(".\n");
        return text;
    }
    text.push_str(", but for:\n\n");
    for (scenario, because) in &table.without_twin {
        let _ = writeln!(text, "- {scenario}: {because}");
    }
    text
}

fn cases(scenario: &Scenario) -> impl Iterator<Item = &Case> {
    scenario.steps.iter().flat_map(|step| &step.cases)
}

/// The scenarios of a section, by field.
fn by_field<'a>(table: &'a Table, section: &str) -> BTreeMap<String, Vec<&'a Scenario>> {
    let mut fields: BTreeMap<String, Vec<&Scenario>> = BTreeMap::new();
    for scenario in table.scenarios.iter().filter(|scenario| scenario.section == section) {
        fields.entry(scenario.field.clone()).or_default().push(scenario);
    }
    fields
}

fn entry(field: &str, scenarios: &[&Scenario]) -> String {
    let mut text = format!("\n### {field}\n\n");
    let mut said = BTreeSet::new();
    for scenario in scenarios {
        let says = scenario.says.trim();
        // A twin says the same of its own addresses.
        if !says.is_empty() && scenario.is_written() && said.insert(says) {
            let _ = writeln!(text, "{says}\n");
        }
    }
    let count = scenarios.iter().flat_map(|scenario| cases(scenario)).count();
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for scenario in scenarios {
        names.entry(&scenario.file).or_default().insert(&scenario.title);
    }
    let shown: Vec<String> = names
        .into_iter()
        .map(|(file, names)| {
            let names: Vec<&str> = names.into_iter().collect();
            format!("[{file}](../tests/conformance/{file}.yaml) ({})", names.join("; "))
        })
        .collect();
    let noun = if count == 1 { "case" } else { "cases" };
    let _ = writeln!(text, "{count} {noun}: {}.", shown.join(", "));
    text
}

/// What kube-proxy's modes do otherwise, by why.
fn differences(table: &Table) -> String {
    let mut reasons: BTreeMap<(String, String), usize> = BTreeMap::new();
    for case in table.scenarios.iter().flat_map(cases) {
        for (proxy, difference) in &case.differs {
            let key = (proxy.to_string(), difference.because.clone());
            *reasons.entry(key).or_default() += 1;
        }
    }
    let mut text = String::from(
        "\n## Where kube-proxy does otherwise\n\nOf the cases above, kube-proxy's modes treat these \
         otherwise:\n\n| mode | cases | because |\n|---|---|---|\n",
    );
    for ((proxy, because), count) in reasons {
        let _ = writeln!(text, "| {proxy} | {count} | {because} |");
    }
    text
}
