//! Choosing a backend is fair.

use std::collections::BTreeMap;

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Protocol},
    service::{Backend, ServiceId, ServiceRecord, Slot, WhenEmpty},
    way::Way,
};

use crate::{
    select::{Choice, NoBackend, Occasion, Wanted, select},
    tables::Surroundings,
    testing::node::{Endpoint, Node, NodeFamily},
};

fn node_with_backends(count: u8) -> (Node, ServiceId) {
    let mut node = Node::new(8);
    let endpoints: Vec<_> = (1..=count)
        .map(|host| Endpoint { address: [10, 244, 0, host].into(), port: 8080, way: Way::Stack })
        .collect();
    let address = [10, 96, 0, 1].into();
    let service = node.add_service(address, 80, Protocol::TCP, &endpoints);
    (node, service)
}

/// What some client's connection gets.
fn chosen<A: NodeFamily>(
    node: &Node,
    service: ServiceId,
    choice: Choice,
) -> Result<Backend, NoBackend> {
    let client = A::from_slot([9; 16]);
    let wanted = Wanted { service, client, choice, occasion: Occasion::Opening };
    select(&wanted, A::tables(node), node)
}

#[test]
fn each_backend_is_as_likely_as_any_other() {
    const DRAWS: u32 = 100_000;
    // The 99.9 % quantiles of the chi-square distribution for one degree of freedom less than there
    // are backends.
    for (backends, limit) in [(2, 10.83), (3, 13.82), (7, 22.46), (10, 27.88)] {
        let (node, service) = node_with_backends(backends);
        let mut counts: BTreeMap<_, u32> = BTreeMap::new();
        for _ in 0..DRAWS {
            let choice = Choice::Chance(node.random());
            let backend = chosen::<Ipv4Wire>(&node, service, choice).unwrap();
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
    for (random, host) in [(0, 1), (u32::MAX, 5)] {
        let backend = chosen::<Ipv4Wire>(&node, service, Choice::Chance(random)).unwrap();
        assert_eq!(backend.address::<Ipv4Wire>(), Ipv4Wire::from_bytes([10, 244, 0, host]));
    }
}

#[test]
fn a_service_without_slots_tells_what_to_do() {
    let (mut node, service) = node_with_backends(1);
    for when_empty in [WhenEmpty::Refuse, WhenEmpty::Drop] {
        node.set_record(service, ServiceRecord::new(Slot(0), 0, when_empty));
        let found = chosen::<Ipv6Wire>(&node, service, Choice::Chance(1)).unwrap_err();
        assert_eq!(found, NoBackend::Empty(when_empty));
    }
}

#[test]
fn records_that_lead_nowhere_are_found_out() {
    let (mut node, service) = node_with_backends(1);
    node.set_record(service, ServiceRecord::new(Slot(4_000_000_000), 3, WhenEmpty::Refuse));
    for service in [service, ServiceId(1 << 23)] {
        let found = chosen::<Ipv4Wire>(&node, service, Choice::Chance(5)).unwrap_err();
        assert_eq!(found, NoBackend::Corrupt);
    }
}
