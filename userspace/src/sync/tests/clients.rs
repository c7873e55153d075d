//! Which clients are served, and which stay with an endpoint.

use std::collections::BTreeSet;

use ipnet::IpNet;
use maps_schema::{
    affinity::AffinityRule,
    service::{Audience, ClientAddress, ServiceId},
};

use super::{
    fake::Fake,
    order::restrict,
    world::{World, name, port, service},
};
use crate::{
    compile::{CompiledService, EndpointList},
    sync::{Sync, pool::GRACE},
};

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A service at two addresses, the second of which serves clients in these ranges only.
fn restricted(texts: &[&str], backends: &[u8]) -> World {
    let mut service = service("a", &[1, 2], &[(80, backends)]);
    restrict(&mut service.ports[0], &ranges(texts));
    World::with([("a", service)])
}

/// A service with two lists of endpoints, whose clients stay for so long.
fn with_affinity(seconds: Option<u32>, backends: &[u8]) -> World {
    use Audience::{Inside, Outside};
    let list = |list, audience| {
        let mut port = port("a", &[1], list, &[(audience, ClientAddress::Kept)], 80, backends);
        port.affinity_seconds = seconds;
        port
    };
    let ports = vec![list(EndpointList::Cluster, Inside), list(EndpointList::Local, Outside)];
    let mut service = CompiledService { ports, ..service("a", &[1], &[]) };
    service.addresses.truncate(1);
    World::with([("a", service)])
}

fn ids(sync: &Sync<Fake>, world: &World) -> Vec<ServiceId> {
    let ports = &world.services[&name("a")].ports;
    ports.iter().map(|port| sync.service_id(&port.name).unwrap()).collect()
}

#[test]
fn ranges_come_and_go_and_change_while_packets_flow() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let stages: [&[&str]; 6] = [
        &[],
        &["203.0.113.0/24"],
        &["203.0.113.0/25", "203.0.113.128/25"],
        &["203.0.113.64/26"],
        &[],
        &["203.0.113.128/27"],
    ];
    for stage in stages {
        let world = restricted(stage, &[1, 2]);
        assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
        sync.assert_is(&world);
    }
    sync.assert_rests();
    assert_eq!(sync.tables.source_ranges.len(), 1);
}

#[test]
fn a_port_keeps_its_number_when_only_its_ranges_change() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let before = restricted(&["203.0.113.0/24"], &[1]);
    sync.become_world(&BTreeSet::new(), &before);
    let id = ids(&sync, &before);
    for after in [&["203.0.113.0/25"][..], &[]] {
        let after = restricted(after, &[1]);
        assert!(sync.become_world(&BTreeSet::new(), &after).is_empty());
        assert_eq!(ids(&sync, &after), id);
    }
}

#[test]
fn backends_and_ranges_that_change_together_never_mix() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    for (texts, backends) in [
        (&["203.0.113.0/25"][..], &[1][..]),
        (&["203.0.113.128/25"], &[2]),
        (&[], &[3]),
        (&["203.0.113.0/24"], &[1, 2]),
    ] {
        let world = restricted(texts, backends);
        assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
        sync.assert_is(&world);
    }
}

#[test]
fn ranges_that_nobody_looks_for_go_after_a_grace_period() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let before = restricted(&["203.0.113.0/25"], &[1]);
    sync.become_world(&BTreeSet::new(), &before);
    let former = super::world::names(&before);
    sync.become_world(&former, &World::default());
    assert_eq!(sync.tables.source_ranges.len(), 1);
    sync.pass(GRACE);
    sync.become_world(&former, &World::default());
    assert!(sync.tables.source_ranges.is_empty());
}

#[test]
fn ranges_without_a_service_are_gone_when_recovery_is_finished() {
    let world = restricted(&["203.0.113.0/25"], &[1]);
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    sync.become_world(&BTreeSet::new(), &world);
    let stray = (ServiceId(99), ranges(&["203.0.113.0/24"])[0]);
    sync.tables.source_ranges.insert(stray);
    let mut sync = sync.restarted();
    sync.become_world(&BTreeSet::new(), &world);
    sync.finish_recovery(sync.tables.now).unwrap();
    assert!(!sync.tables.source_ranges.contains(&stray));
    sync.assert_is(&world);
    sync.assert_settles(&world);
}

#[test]
fn ranges_that_do_not_fit_leave_the_service_as_it_was() {
    let mut tables = Fake::roomy();
    tables.limit = 2;
    let mut sync = Sync::new(tables).unwrap();
    let before = restricted(&["203.0.113.0/25"], &[1]);
    assert!(sync.become_world(&BTreeSet::new(), &before).is_empty());
    let more = ["203.0.113.128/27", "203.0.113.160/27", "203.0.113.192/27"];
    assert!(!sync.become_world(&BTreeSet::new(), &restricted(&more, &[1])).is_empty());
    assert!(sync.tables.source_ranges.iter().any(|(_, range)| range.prefix_len() == 25));
    assert!(sync.become_world(&BTreeSet::new(), &before).is_empty());
    sync.assert_is(&before);
}

#[test]
fn affinity_is_switched_on_and_off_while_packets_flow() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    for (seconds, backends) in
        [(None, &[1, 2][..]), (Some(10), &[1, 2]), (None, &[1, 2]), (Some(10), &[3]), (None, &[1])]
    {
        let world = with_affinity(seconds, backends);
        assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
        sync.assert_is(&world);
    }
}

#[test]
fn another_timeout_is_one_write_for_each_list() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    sync.become_world(&BTreeSet::new(), &with_affinity(Some(10), &[1, 2]));
    let (before, changes) = (ids(&sync, &with_affinity(Some(10), &[1, 2])), sync.changes());
    let world = with_affinity(Some(20), &[1, 2]);
    assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
    assert_eq!(sync.changes() - changes, 2);
    assert_eq!(ids(&sync, &world), before);
    let rule = AffinityRule::new(before[0], 20);
    assert!(before.iter().all(|id| sync.tables.affinity_rules[id] == rule));
}

#[test]
fn both_lists_remember_clients_under_the_number_of_the_first() {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let world = with_affinity(Some(10), &[1]);
    sync.become_world(&BTreeSet::new(), &world);
    let [cluster, local] = ids(&sync, &world)[..] else { panic!() };
    assert_ne!(cluster, local);
    // The list of the cluster goes on under another number, and the other one follows.
    let mut moved = with_affinity(Some(10), &[1, 2]);
    let ports = &mut moved.services.get_mut(&name("a")).unwrap().ports;
    ports[0].frontends[0].client = ClientAddress::Masqueraded;
    ports[1].backends.truncate(1);
    assert!(sync.become_world(&BTreeSet::new(), &moved).is_empty());
    assert_ne!(ids(&sync, &moved)[0], cluster);
    assert_eq!(ids(&sync, &moved)[1], local);
    sync.assert_is(&moved);
    // Alone, it is its own.
    let mut alone = moved.clone();
    alone.services.get_mut(&name("a")).unwrap().ports.remove(0);
    assert!(sync.become_world(&BTreeSet::new(), &alone).is_empty());
    sync.assert_is(&alone);
    sync.assert_settles(&alone);
}

#[test]
fn endpoints_of_both_families_lie_as_they_are_searched() {
    // The fake asserts the order of what the datapath searches.
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    for texts in [
        ["10.244.0.9:80", "10.244.0.10:79", "10.244.0.10:8080", "10.244.1.0:1", "172.16.0.1:1"],
        ["[fd00::9]:80", "[fd00::10]:79", "[fd00::10]:8080", "[fd00::1:0]:1", "[fd00:1::]:1"],
    ] {
        let mut world = with_affinity(Some(10), &[]);
        for port in &mut world.services.get_mut(&name("a")).unwrap().ports {
            let backends: BTreeSet<std::net::SocketAddr> =
                texts.iter().map(|text| text.parse().unwrap()).collect();
            port.backends = backends.into_iter().collect();
        }
        assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
        sync.assert_is(&world);
    }
}
