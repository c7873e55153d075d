//! No packet ever meets a mixture.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use maps_schema::{
    service::{Audience, ClientAddress},
    way::Node,
};
use proptest::prelude::*;

use super::{
    fake::Fake,
    world::{Leads, World, cluster_ip, endpoint, link, name, names, node, port, service},
};
use crate::{
    compile::{CompiledPort, CompiledService, EndpointList, Owner},
    sync::{Sync, pool::GRACE},
};

#[test]
fn what_is_applied_again_unchanged_writes_nothing() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let mut world = World::with([("a", service("a", &[1, 2], &[(80, &[1, 2]), (81, &[3])]))]);
    world.pods.insert(endpoint(1), link(7));
    assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
    let (changes, writes) = (sync.changes(), sync.tables.writes);
    assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
    assert_eq!((sync.changes(), sync.tables.writes), (changes, writes));
    sync.assert_is(&world);
}

#[test]
fn services_that_swap_addresses_and_backends_never_share_them() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let before = World::with([
        ("a", service("a", &[1], &[(80, &[1])])),
        ("b", service("b", &[2], &[(80, &[2])])),
    ]);
    let after = World::with([
        ("a", service("a", &[2], &[(80, &[3])])),
        ("b", service("b", &[1], &[(80, &[4])])),
    ]);
    assert!(sync.become_world(&BTreeSet::new(), &before).is_empty());
    assert!(sync.become_world(&names(&before), &after).is_empty());
    sync.assert_is(&after);
    sync.assert_settles(&after);
}

#[test]
fn an_address_passes_from_a_removed_service_to_a_new_one_without_a_gap() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let before = World::with([("old", service("old", &[1], &[(80, &[1])]))]);
    let after = World::with([("new", service("new", &[1], &[(80, &[2])]))]);
    assert!(sync.become_world(&BTreeSet::new(), &before).is_empty());
    assert!(sync.become_world(&names(&before), &after).is_empty());
    sync.assert_is(&after);
}

#[test]
fn a_port_keeps_its_number_when_its_backends_change() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let before = World::with([("a", service("a", &[1], &[(80, &[1])]))]);
    let after = World::with([("a", service("a", &[1, 2], &[(80, &[2, 3])]))]);
    let port = &before.services[&name("a")].ports[0].name;
    sync.become_world(&BTreeSet::new(), &before);
    let id = sync.service_id(port);
    sync.become_world(&BTreeSet::new(), &after);
    assert!(id.is_some());
    assert_eq!(sync.service_id(port), id);
}

#[test]
fn a_pod_that_was_made_anew_is_another_backend() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let mut world = World::with([("a", service("a", &[1], &[(80, &[1])]))]);
    world.pods.insert(endpoint(1), link(7));
    sync.become_world(&BTreeSet::new(), &world);
    world.pods.insert(endpoint(1), link(8));
    assert_eq!(sync.surround(&world).unwrap(), BTreeSet::from([endpoint(1)]));
    sync.become_world(&BTreeSet::new(), &world);
    sync.assert_is(&world);
}

#[test]
fn pods_that_changed_are_told_even_where_one_of_them_failed_first() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let pods: HashMap<IpAddr, _> = (1..=3).map(|it| (endpoint(it), link(it.into()))).collect();
    sync.tables.fail_at = Some(2);
    assert!(sync.set_pods(&pods).is_err());
    assert_eq!(sync.set_pods(&pods).unwrap(), pods.keys().copied().collect());
}

/// One step of a history.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) world: World,
    pub(super) wait: Duration,
    /// Which of the writes that can fail does.
    pub(super) failure: Option<usize>,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let waits = prop_oneof![Just(Duration::ZERO), Just(GRACE / 2), Just(GRACE)];
    let failure = proptest::option::weighted(0.3, 1_usize..40);
    let step = (worlds(), waits, failure);
    let step = step.prop_map(|(world, wait, failure)| Step { world, wait, failure });
    proptest::collection::vec(step, 1..8)
}

/// Three services over four cluster IPs and five pods' addresses, each with up to three ports, two
/// other nodes, and two networks that the endpoints are in.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    let owners = proptest::collection::vec(0_usize..5, 4);
    let affinity = proptest::option::weighted(0.3, 1_u32..3);
    let port = (0_u8..32, 0_u8..4, affinity, source_ranges());
    let ports = proptest::collection::vec(proptest::option::of(port), 3);
    let services = proptest::collection::vec(ports, 3);
    let pods = proptest::collection::vec(proptest::option::of(1_u32..4), 5);
    let world = (owners, services, pods).prop_map(|(owners, services, pods)| {
        let mut world = World::default();
        for (number, ports) in services.iter().enumerate() {
            let ips: Vec<u8> = (1..)
                .zip(&owners)
                .filter(|&(_, &owner)| owner == number)
                .map(|(ip, _)| ip)
                .collect();
            if !ips.is_empty() {
                let it = format!("service{number}");
                world.services.insert(name(&it), random_service(&it, &ips, ports));
            }
        }
        for (number, pod) in (1_u8..).zip(pods) {
            let Some(interface) = pod else { continue };
            // The last of them has a cluster IP's address, where no service has it.
            let address = if number == 5 { cluster_ip(4) } else { endpoint(number) };
            if number < 5 || owners[3] >= 3 {
                world.pods.insert(address, link(interface));
            }
        }
        world
    });
    (world, surroundings()).prop_map(|(world, around)| World {
        services: world.services,
        pods: world.pods,
        ..around
    })
}

fn surroundings() -> impl Strategy<Value = World> {
    let nodes = [proptest::option::of(1_u8..3), proptest::option::of(1_u8..3)];
    let networks = [proptest::option::of(0_u8..4), proptest::option::of(0_u8..4)];
    let own = proptest::option::of(prop_oneof![Just(cluster_ip(3)), Just(endpoint(3))]);
    (nodes, networks, own, any::<bool>()).prop_map(|(nodes, networks, own, has_uplink)| {
        let names = ["one", "two"];
        let nodes: Vec<(&'static str, Node)> = (1..)
            .zip(names)
            .zip(nodes)
            .filter_map(|((number, name), address)| Some((name, node(number, address?))))
            .collect();
        let leads = |choice: u8| match choice {
            0 => Leads::Outside,
            1 => Leads::ToTheStack,
            number => nodes
                .get(usize::from(number) - 2)
                .map_or(Leads::Outside, |(name, _)| Leads::To(name)),
        };
        let networks = ["192.168.0.0/30", "192.168.0.4/30"].into_iter().zip(networks);
        World {
            networks: networks
                .filter_map(|(network, choice)| Some((network.parse().unwrap(), leads(choice?))))
                .collect(),
            nodes: nodes.iter().map(|&(name, node)| (name.to_owned(), node)).collect(),
            node_addresses: own.into_iter().collect(),
            has_uplink,
            ..World::default()
        }
    })
}

/// None in most cases; or some that overlap.
fn source_ranges() -> impl Strategy<Value = Vec<IpNet>> {
    let ranges = ["203.0.113.0/24", "203.0.113.0/25", "203.0.113.64/26", "203.0.113.128/27"];
    let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
    prop_oneof![Just(Vec::new()), proptest::sample::subsequence(ranges, 0..4)]
}

/// Of a port: which endpoints it has, which way it is reached, its affinity, and its source ranges.
type RandomPort = (u8, u8, Option<u32>, Vec<IpNet>);

fn random_service(it: &str, ips: &[u8], ports: &[Option<RandomPort>]) -> CompiledService {
    let ports = (80..).zip(ports).filter_map(|(number, port)| Some((number, port.as_ref()?)));
    CompiledService {
        addresses: ips.iter().copied().map(cluster_ip).collect(),
        ports: ports
            .flat_map(|(number, (mask, reached, affinity, ranges))| {
                let mut ports = random_port(it, ips, number, *mask, *reached);
                for port in &mut ports {
                    port.affinity_seconds = *affinity;
                    restrict(port, ranges);
                }
                ports
            })
            .collect(),
        ..CompiledService::default()
    }
}

fn random_port(it: &str, ips: &[u8], number: u16, mask: u8, reached: u8) -> Vec<CompiledPort> {
    use Audience::{Handed, Inside, Outside};
    use ClientAddress::{Direct, Kept, Masqueraded};
    use EndpointList::{Cluster, Local};
    let backends: Vec<u8> = (1..=5).filter(|bit| mask & (1 << (bit - 1)) != 0).collect();
    let here: Vec<u8> = backends.iter().copied().filter(|it| *it < 3).collect();
    let cluster = |audiences: &[_]| port(it, ips, Cluster, audiences, number, &backends);
    let local = |audiences: &[_]| port(it, ips, Local, audiences, number, &here);
    match reached {
        0 => vec![cluster(&[(Inside, Kept)])],
        1 => vec![cluster(&[(Inside, Kept), (Outside, Masqueraded)])],
        2 => vec![cluster(&[(Inside, Kept)]), local(&[(Outside, Kept)])],
        _ => vec![cluster(&[(Inside, Masqueraded), (Outside, Direct)]), local(&[(Handed, Kept)])],
    }
}

/// Restricts all frontends of a port but those at the first of its addresses.
pub(super) fn restrict(port: &mut CompiledPort, ranges: &[IpNet]) {
    let first = port.frontends[0].address;
    for frontend in &mut port.frontends {
        frontend.restricted = !ranges.is_empty() && frontend.address != first;
    }
    if port.frontends.iter().any(|frontend| frontend.restricted) {
        port.source_ranges = ranges.to_vec();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn packets_meet_what_was_or_what_is_and_failures_are_made_good(history in steps()) {
        let mut sync = Sync::new(Fake::roomy()).unwrap();
        let mut known: BTreeSet<Owner> = BTreeSet::new();
        let mut last = World::default();
        for Step { world, wait, failure } in history {
            sync.pass(wait);
            sync.tables.fail_next(failure);
            known.extend(names(&world));
            let failed = sync.become_world(&known, &world);
            sync.tables.fail_next(None);
            if !failed.is_empty() {
                sync.pass(wait);
                prop_assert!(sync.become_world(&known, &world).is_empty());
            }
            sync.assert_is(&world);
            last = world;
        }
        sync.assert_rests();
        let ids: Vec<_> = sync.tables.frontends.clone().into_iter().collect();
        let mut sync = sync.assert_settles(&last);
        prop_assert_eq!(sync.changes(), 0);
        prop_assert_eq!(sync.tables.frontends.clone().into_iter().collect::<Vec<_>>(), ids);
        sync.pass(GRACE);
        prop_assert!(sync.become_world(&known, &World::default()).is_empty());
        sync.assert_is(&World::default());
        sync.assert_rests();
    }
}
