//! What a former agent has left: taken over without a write where it is right, whatever it was
//! doing when it ended.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use proptest::prelude::*;

use super::{
    fake::{Crash, Fake},
    order::worlds,
    world::{World, endpoint, link, name, names, service},
};
use crate::sync::Sync;

fn in_force(world: &World) -> Sync<Fake> {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
    sync
}

fn two_services() -> World {
    let mut world = World::with([
        ("a", service("a", &[1], &[(80, &[1, 2]), (81, &[1])])),
        ("b", service("b", &[2, 3], &[(80, &[2, 3])])),
    ]);
    world.pods.insert(endpoint(2), link(9));
    world
}

#[test]
fn a_restart_writes_nothing_and_keeps_numbers() {
    let world = two_services();
    let before = in_force(&world);
    let ports = || world.services.values().flat_map(|service| &service.ports);
    let ids: Vec<_> = ports().map(|port| before.service_id(&port.name)).collect();
    let writes = before.tables.writes;
    let after = before.assert_settles(&world);
    assert_eq!(after.changes(), 0);
    assert_eq!(after.tables.writes, writes);
    assert_eq!(ports().map(|port| after.service_id(&port.name)).collect::<Vec<_>>(), ids);
}

#[test]
fn leftovers_stay_until_recovery_is_finished() {
    let before = in_force(&two_services());
    let world = World::with([("b", service("b", &[2], &[(80, &[2])]))]);
    let mut after = before.restarted();
    assert!(after.become_world(&BTreeSet::new(), &world).is_empty());
    assert_eq!(after.tables.frontends.len(), 3, "those of a, and the one of b that stays");
    assert_eq!(after.tables.addresses.len(), 2, "of a, and of b");
    after.finish_recovery(after.tables.now).unwrap();
    after.assert_is(&world);
}

#[test]
fn a_port_that_another_service_took_over_while_no_agent_ran_meets_no_mixture() {
    let before = in_force(&World::with([("a", service("a", &[1, 2], &[(80, &[1])]))]));
    let world = World::with([
        ("a", service("a", &[1], &[(80, &[2])])),
        ("b", service("b", &[2], &[(80, &[3])])),
    ]);
    before.assert_settles(&world);
}

#[test]
fn recovery_that_failed_can_be_finished_later() {
    let before = in_force(&two_services());
    let mut after = before.restarted();
    after.become_world(&BTreeSet::new(), &World::default());
    let count = after.tables.frontends.len() + after.tables.addresses.len();
    for _ in 0..count {
        after.tables.fail_next(Some(1));
        assert!(after.finish_recovery(after.tables.now).is_err());
        after.tables.fail_next(Some(2));
        let _ = after.finish_recovery(after.tables.now);
    }
    after.tables.fail_next(None);
    after.finish_recovery(after.tables.now).unwrap();
    after.assert_is(&World::default());
}

#[test]
fn what_does_not_fit_at_a_restart_keeps_what_the_former_agent_had_made() {
    let world = World::with([("a", service("a", &[1], &[(80, &[1, 2])]))]);
    let mut tables = Fake::new(4, 3, 4);
    tables.now = std::time::Instant::now();
    let mut sync = Sync::new(tables).unwrap();
    assert!(sync.become_world(&BTreeSet::new(), &world).is_empty());
    let larger = World::with([("a", service("a", &[1], &[(80, &[1, 2, 3])]))]);
    let mut after = sync.restarted();
    let failed = after.become_world(&BTreeSet::new(), &larger);
    assert!(failed.contains_key(&name("a")));
    after.finish_recovery(after.tables.now).unwrap();
    after.assert_is(&world);
}

fn crash_everywhere(before: &World, after: &World) {
    let former = names(before);
    for write in 0..200 {
        let mut sync = in_force(before);
        sync.tables.crash_before = Some(sync.tables.steps + write);
        let finished = catch_unwind(AssertUnwindSafe(|| sync.become_world(&former, after)));
        sync.tables.crash_before = None;
        let is_finished = match finished {
            Ok(failed) => failed.is_empty(),
            Err(panic) if panic.is::<Crash>() => false,
            Err(panic) => resume_unwind(panic),
        };
        sync.assert_settles(after);
        if is_finished {
            return;
        }
    }
}

#[test]
fn a_crash_before_any_write_is_made_good() {
    let after = World::with([
        ("b", service("b", &[1, 4], &[(80, &[1]), (82, &[4])])),
        ("c", service("c", &[3], &[(80, &[2, 3])])),
    ]);
    crash_everywhere(&two_services(), &after);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_crash_between_any_two_worlds_is_made_good(before in worlds(), after in worlds()) {
        crash_everywhere(&before, &after);
    }

    #[test]
    fn any_world_may_have_become_another_while_no_agent_ran(
        before in worlds(),
        after in worlds(),
    ) {
        in_force(&before).assert_settles(&after);
    }
}
