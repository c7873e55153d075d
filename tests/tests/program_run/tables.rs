//! Native code and the kernel's programs agree with the tables, and with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use tests::{
    packets::{
        fixture::Fixture,
        fixtures,
        kernel::KernelMachine,
        machine::{Observed, run},
        native::NativeMachine,
        world::{BACKEND, CLIENT, OTHER_BACKEND, link, node},
    },
    process::{mortal_command, must},
    sandbox::Sandbox,
};

/// Runs every case, and panics with all that went wrong.
fn run_all(
    fixtures: Vec<Fixture>,
    mut run_one: impl FnMut(&Fixture) -> Observed,
) -> BTreeMap<String, Observed> {
    let mut observed = BTreeMap::new();
    let mut failed = Vec::new();
    for fixture in fixtures {
        match catch_unwind(AssertUnwindSafe(|| run_one(&fixture))) {
            Ok(seen) => {
                observed.insert(fixture.name, seen);
            }
            Err(_) => failed.push(fixture.name),
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
    observed
}

fn run_natively(fixtures: Vec<Fixture>) -> BTreeMap<String, Observed> {
    run_all(fixtures, |fixture| run(fixture, &mut NativeMachine(node(fixture.capacity))))
}

#[test]
fn there_are_enough_cases_and_each_has_a_name_of_its_own() {
    let fixtures = fixtures::all();
    let names: BTreeSet<_> = fixtures.iter().map(|fixture| &fixture.name).collect();
    assert_eq!(names.len(), fixtures.len());
    let in_kernel = fixtures.iter().filter(|fixture| fixture.in_kernel).count();
    eprintln!("{} cases, {in_kernel} of them in the kernel, too", fixtures.len());
    assert!(in_kernel >= 100, "{in_kernel} cases");
}

#[test]
fn native_code_agrees_with_the_tables() {
    run_natively(fixtures::all());
}

#[test]
#[ignore = "needs root"]
fn the_kernel_agrees_with_the_tables_and_with_native_code() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    for number in [CLIENT, BACKEND, OTHER_BACKEND] {
        let (name, peer) = (format!("pod{number}"), format!("peer{number}"));
        let index = link(number).interface.get().to_string();
        let pair = ["type", "veth", "peer", "name", &peer];
        must(mortal_command("ip").args(["link", "add", &name, "index", &index]).args(pair));
        must(mortal_command("ip").args(["link", "set", &name, "up"]));
    }
    let mut fixtures = fixtures::all();
    fixtures.retain(|fixture| fixture.in_kernel);
    let mut machines: BTreeMap<usize, KernelMachine> = BTreeMap::new();
    let in_kernel = run_all(fixtures.clone(), |fixture| {
        let capacity = fixture.capacity;
        let machine =
            machines.entry(capacity).or_insert_with(|| KernelMachine::load(&node(capacity)));
        machine.reset();
        run(fixture, machine)
    });
    for (name, native) in run_natively(fixtures) {
        assert_eq!(in_kernel.get(&name), Some(&native), "{name}");
    }
}
