//! Choosing a backend is fair.

use std::collections::BTreeMap;

use maps_schema::{
    address::{Address, Ipv4Wire, Ipv6Wire, Protocol},
    service::{ServiceRecord, Slot, WhenEmpty},
    way::Way,
};

use crate::{
    select::{Choice, NoBackend, select},
    tables::Surroundings,
    testing::{
        node::{Endpoint, Node},
        surroundings::Script,
    },
};

fn node_with_backends(count: u8) -> (Node, maps_schema::service::ServiceId) {
    let mut node = Node::new(8);
    let endpoints: Vec<_> = (1..=count)
        .map(|host| Endpoint { address: [10, 244, 0, host].into(), port: 8080, way: Way::Stack })
        .collect();
    let address = [10, 96, 0, 1].into();
    let service = node.add_service(address, 80, Protocol::TCP, &endpoints);
    (node, service)
}

#[test]
fn each_backend_is_as_likely_as_any_other() {
    const DRAWS: u32 = 100_000;
    // The 99.9 % quantiles of the chi-square distribution for one degree of freedom less than there
    // are backends.
    for (backends, limit) in [(2, 10.83), (3, 13.82), (7, 22.46), (10, 27.88)] {
        let (node, service) = node_with_backends(backends);
        let script = Script::new(0, 42);
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        for _ in 0..DRAWS {
            let backend =
                select::<Ipv4Wire>(service, &node.v4, Choice::Chance(script.random())).unwrap();
            *counts.entry(backend.address::<Ipv4Wire>()).or_default() += 1;
        }
        assert_eq!(counts.len(), usize::from(backends));
        let expected = f64::from(DRAWS) / f64::from(backends);
        let chi_square: f64 =
            counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        assert!(chi_square < limit, "{backends} backends: {chi_square} of {counts:?}");
    }
}

#[test]
fn the_smallest_and_the_greatest_random_number_choose_the_first_and_the_last() {
    let (node, service) = node_with_backends(5);
    let chosen =
        |random| select::<Ipv4Wire>(service, &node.v4, random).unwrap().address::<Ipv4Wire>().ip();
    assert_eq!(chosen(Choice::Chance(0)), std::net::IpAddr::from([10, 244, 0, 1]));
    assert_eq!(chosen(Choice::Chance(u32::MAX)), std::net::IpAddr::from([10, 244, 0, 5]));
}

#[test]
fn a_service_without_slots_tells_what_to_do() {
    let (mut node, service) = node_with_backends(1);
    for when_empty in [WhenEmpty::Refuse, WhenEmpty::Drop] {
        node.set_record(service, ServiceRecord::new(Slot(0), 0, when_empty));
        let found = select::<Ipv6Wire>(service, &node.v6, Choice::Chance(1)).unwrap_err();
        assert_eq!(found, NoBackend::Empty(when_empty));
    }
}

#[test]
fn records_that_lead_nowhere_are_found_out() {
    let (mut node, service) = node_with_backends(1);
    node.set_record(service, ServiceRecord::new(Slot(4_000_000_000), 3, WhenEmpty::Refuse));
    assert_eq!(
        select::<Ipv4Wire>(service, &node.v4, Choice::Chance(5)).unwrap_err(),
        NoBackend::Corrupt
    );
    let absent = maps_schema::service::ServiceId(1 << 23);
    assert_eq!(
        select::<Ipv4Wire>(absent, &node.v4, Choice::Chance(5)).unwrap_err(),
        NoBackend::Corrupt
    );
}
