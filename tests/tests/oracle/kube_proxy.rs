//! kube-proxy's rules do what the table says, or what it says that they do otherwise.

use maps_schema::address::Family;
use tests::{
    conformance::{Proxy, Scenario, Table},
    counts,
    oracle::{kube_proxy::KubeProxy, places::Places, run, world::World},
    sandbox::Sandbox,
};

fn compare(proxy: Proxy, family: Family) {
    let Some(_sandbox) = Sandbox::enter() else { return };
    let table = Table::read();
    let cast = table.cast(family);
    let scenarios: Vec<&Scenario> =
        table.scenarios.iter().filter(|scenario| scenario.family == family).collect();
    let places = Places::of(cast, scenarios.iter().copied());
    let mut world = World::lay(cast, &places);
    world.add_own_pods(&places);
    world.serve(&places);
    let mut rules = KubeProxy::new(proxy, cast, world.node());
    let report = run::all(&world, &mut rules, scenarios);
    let name = format!("oracle-{proxy}-{family:?}").to_lowercase();
    counts::leave(&name, &format_args!("oracle, {proxy}, {family:?}: {report}"));
    assert!(report.compared() > 0, "nothing was compared");
    assert!(report.wrong.is_empty(), "{proxy}, {family:?}: {} wrong", report.wrong.len());
}

#[test]
#[ignore = "needs root"]
fn iptables_mode_agrees_in_ipv4() {
    compare(Proxy::Iptables, Family::V4);
}

#[test]
#[ignore = "needs root"]
fn iptables_mode_agrees_in_ipv6() {
    compare(Proxy::Iptables, Family::V6);
}

#[test]
#[ignore = "needs root"]
fn nftables_mode_agrees_in_ipv4() {
    compare(Proxy::Nftables, Family::V4);
}

#[test]
#[ignore = "needs root"]
fn nftables_mode_agrees_in_ipv6() {
    compare(Proxy::Nftables, Family::V6);
}
