//! A table that is full says so, loses nothing, and goes on when there is room.

use std::collections::BTreeSet;

use super::{
    fake::Fake,
    world::{World, name, names, service},
};
use crate::sync::{Sync, SyncError, pool::GRACE};

/// Applies one world after another, of which the second does not fit; then the first's services are
/// removed, and it does.
fn fill(tables: Fake, first: &World, second: &World, check: impl Fn(&SyncError)) {
    let mut sync = Sync::new(tables).unwrap();
    assert!(sync.become_world(&BTreeSet::new(), first).is_empty());
    sync.pass(GRACE);
    let mut both = first.clone();
    both.services.extend(second.services.clone());
    for _ in 0..3 {
        let failed = sync.become_world(&BTreeSet::new(), &both);
        assert_eq!(failed.keys().cloned().collect::<BTreeSet<_>>(), names(second));
        failed.values().for_each(&check);
        for service in first.services.values() {
            for port in &service.ports {
                assert!(sync.service_id(&port.name).is_some());
            }
        }
        sync.pass(GRACE);
    }
    // What is removed rests first.
    sync.become_world(&names(first), second);
    sync.pass(GRACE);
    assert!(sync.become_world(&names(first), second).is_empty());
    sync.assert_is(second);
    sync.assert_settles(second);
}

fn is_full(what: &str) -> impl Fn(&SyncError) {
    move |error| {
        let SyncError::Full { what: found, .. } = error else { panic!("{error}") };
        assert_eq!(*found, what);
    }
}

fn one(it: &'static str, ip: u8, backends: &[u8]) -> World {
    World::with([(it, service(it, &[ip], &[(80, backends)]))])
}

#[test]
fn too_many_service_ports() {
    fill(Fake::new(1, 9, 9), &one("a", 1, &[1]), &one("b", 2, &[2]), is_full("service ports"));
}

#[test]
fn too_many_slots() {
    fill(
        Fake::new(9, 3, 9),
        &one("a", 1, &[1, 2]),
        &one("b", 2, &[1, 2]),
        is_full("endpoints of service ports"),
    );
}

#[test]
fn too_many_backends() {
    fill(Fake::new(9, 9, 3), &one("a", 1, &[1, 2]), &one("b", 2, &[3, 4]), is_full("endpoints"));
}

#[test]
fn too_many_frontends_or_addresses() {
    let mut tables = Fake::roomy();
    tables.limit = 1;
    let check = |error: &SyncError| assert!(matches!(error, SyncError::Table(_)), "{error}");
    fill(tables, &one("a", 1, &[1]), &one("b", 2, &[2]), check);
}

#[test]
fn a_service_that_grows_too_large_stays_as_it_was() {
    let mut sync = Sync::new(Fake::new(9, 5, 9)).unwrap();
    let before = one("a", 1, &[1, 2]);
    sync.become_world(&BTreeSet::new(), &before);
    sync.pass(GRACE);
    let failed = sync.become_world(&BTreeSet::new(), &one("a", 1, &[1, 2, 3, 4]));
    assert!(failed.contains_key(&name("a")));
    sync.assert_is(&before);
    let smaller = one("a", 1, &[1, 2, 3]);
    assert!(sync.become_world(&BTreeSet::new(), &smaller).is_empty());
    sync.assert_is(&smaller);
}

#[test]
fn a_service_that_moves_and_does_not_fit_stays_where_it_was() {
    let mut sync = Sync::new(Fake::new(1, 9, 9)).unwrap();
    let before = one("a", 1, &[1]);
    sync.become_world(&BTreeSet::new(), &before);
    let after = one("a", 2, &[2]);
    assert!(!sync.become_world(&BTreeSet::new(), &after).is_empty());
    sync.assert_is(&before);
}

#[test]
fn one_port_that_does_not_fit_stops_no_other() {
    let mut sync = Sync::new(Fake::new(9, 3, 9)).unwrap();
    let world = World::with([("a", service("a", &[1], &[(80, &[1, 2, 3, 4]), (81, &[1])]))]);
    let failed = sync.become_world(&BTreeSet::new(), &world);
    assert!(failed.contains_key(&name("a")));
    let port = &world.services[&name("a")].ports[1].name;
    assert!(sync.service_id(port).is_some());
}
