//! shunt does what the table says, with no difference.

use std::time::Duration;

use maps_schema::address::Family;
use tests::{
    conformance::{Scenario, Table},
    counts,
    oracle::{places::Places, run, shunt::Shunt, world::World},
    sandbox::Sandbox,
};

/// Which scenarios a test is about: settings other than the cast's take another agent each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settings {
    Plain,
    Other,
}

/// A dozen agents are started, one after the other.
const DEADLINE: Duration = Duration::from_mins(8);

fn compare(family: Family, settings: Settings) {
    let Some(sandbox) = Sandbox::enter_for(DEADLINE) else { return };
    let table = Table::read();
    let cast = table.cast(family);
    let mut scenarios: Vec<&Scenario> = table
        .scenarios
        .iter()
        .filter(|scenario| scenario.family == family)
        .filter(|scenario| (scenario.config == cast.config) == (settings == Settings::Plain))
        .collect();
    scenarios.sort_by_key(|scenario| format!("{:?}", scenario.config));
    let places = Places::of(cast, scenarios.iter().copied());
    let mut world = World::lay(cast, &places);
    let mut shunt = Shunt::start(&sandbox, cast, &mut world, &places);
    world.serve(&places);
    let report = run::all(&world, &mut shunt, scenarios);
    let name = format!("oracle-shunt-{settings:?}-{family:?}").to_lowercase();
    counts::leave(
        &name,
        &format_args!("oracle, shunt, {settings:?} settings, {family:?}: {report}"),
    );
    assert!(report.compared() > 0, "nothing was compared");
    assert!(report.wrong.is_empty(), "shunt, {family:?}: {} wrong", report.wrong.len());
}

#[test]
#[ignore = "needs root"]
fn shunt_agrees_in_ipv4() {
    compare(Family::V4, Settings::Plain);
}

#[test]
#[ignore = "needs root"]
fn shunt_agrees_in_ipv6() {
    compare(Family::V6, Settings::Plain);
}

#[test]
#[ignore = "needs root"]
fn shunt_with_other_settings_agrees_in_ipv4() {
    compare(Family::V4, Settings::Other);
}

#[test]
#[ignore = "needs root"]
fn shunt_with_other_settings_agrees_in_ipv6() {
    compare(Family::V6, Settings::Other);
}
