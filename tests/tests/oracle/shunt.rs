//! shunt does what the table says, with no difference.

use maps_schema::address::Family;
use tests::{
    conformance::{Scenario, Table},
    oracle::{places::Places, run, shunt::Shunt, world::World},
    sandbox::Sandbox,
};

fn compare(family: Family) {
    let Some(sandbox) = Sandbox::enter() else { return };
    let table = Table::read();
    let cast = table.cast(family);
    let mut scenarios: Vec<&Scenario> =
        table.scenarios.iter().filter(|scenario| scenario.family == family).collect();
    // Other settings take another agent.
    scenarios.sort_by_key(|scenario| format!("{:?}", scenario.config));
    let places = Places::of(cast, scenarios.iter().copied());
    let mut world = World::lay(cast, &places);
    let mut shunt = Shunt::start(&sandbox, cast, &mut world, &places);
    world.serve(&places);
    let report = run::all(&world, &mut shunt, scenarios);
    eprintln!("shunt, {family:?}: {report}");
    assert!(report.compared() > 0, "nothing was compared");
    assert!(report.wrong.is_empty(), "shunt, {family:?}: {} wrong", report.wrong.len());
}

#[test]
#[ignore = "needs root"]
fn shunt_agrees_in_ipv4() {
    compare(Family::V4);
}

#[test]
#[ignore = "needs root"]
fn shunt_agrees_in_ipv6() {
    compare(Family::V6);
}
