//! Clients stay with their backends, for as long as they may and no longer.

use std::{net::IpAddr, time::Duration};

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, PodLink, Protocol},
    service::{Backend, ServiceId, ServiceRecord, WhenEmpty},
    way::Way,
};
use proptest::{collection::btree_set, prelude::*};

use crate::{
    select::{Choice, Occasion, Wanted, select},
    testing::{
        frame::Frame,
        node::{Endpoint, Node, NodeFamily},
        packet::{Packet, Tcp, Transport, flags},
        stages::pod_ingress,
    },
};

const SECONDS: u32 = 60;
/// More than two units of the clock.
const A_MOMENT: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_secs(SECONDS as u64);
/// A moment less.
const IN_TIME: Duration = Duration::from_millis(SECONDS as u64 * 1000 - 50);

const SERVICE: [u8; 4] = [10, 96, 0, 1];
const CLIENT: [u8; 4] = [10, 244, 0, 2];

/// Chance that chooses the first of any number of backends.
const FIRST: Choice = Choice::Chance(0);
/// Chance that chooses the last.
const LAST: Choice = Choice::Chance(u32::MAX);

fn endpoints(hosts: &[u8]) -> Vec<Endpoint> {
    let endpoint =
        |&host: &u8| Endpoint { address: [10, 244, 1, host].into(), port: 8080, way: Way::Stack };
    hosts.iter().map(endpoint).collect()
}

/// A node with one service of these backends, and session affinity.
fn node(hosts: &[u8]) -> (Node, ServiceId) {
    let mut node = Node::new(100);
    let service = node.add_service(SERVICE.into(), 80, Protocol::TCP, &endpoints(hosts));
    node.keep_clients(service, service, SECONDS);
    (node, service)
}

fn select_for(
    node: &Node,
    client: [u8; 4],
    service: ServiceId,
    choice: Choice,
    occasion: Occasion,
) -> u8 {
    let client = Ipv4Wire::from_bytes(client);
    let wanted = Wanted { service, client, choice, occasion };
    let backend = select(&wanted, &node.v4, node).unwrap();
    let [.., host] = backend.address::<Ipv4Wire>().bytes();
    host
}

/// The backend of a new connection.
fn open(node: &Node, service: ServiceId, choice: Choice) -> u8 {
    select_for(node, CLIENT, service, choice, Occasion::Opening)
}

#[test]
fn a_client_stays_with_its_backend_whatever_chance_says() {
    let (node, service) = node(&[1, 2, 3]);
    assert_eq!(open(&node, service, LAST), 3);
    for choice in [FIRST, LAST, Choice::Flow(0), Choice::Chance(1 << 31)] {
        assert_eq!(open(&node, service, choice), 3);
    }
    let other = select_for(&node, [10, 244, 0, 3], service, FIRST, Occasion::Opening);
    assert_eq!(other, 1, "another client has a choice of its own");
}

#[test]
fn what_comes_from_outside_is_chosen_by_maglev_first() {
    let (mut node, service) = node(&[1, 2]);
    node.add_maglev(service, &[1, 1, 0, 0]);
    assert_eq!(open(&node, service, Choice::Flow(1)), 2);
    assert_eq!(open(&node, service, Choice::Flow(2)), 2, "and then stays");
}

#[test]
fn a_client_is_forgotten_at_the_timeout_and_not_before() {
    for (waits, backend) in [(IN_TIME, 1), (TIMEOUT, 2), (TIMEOUT + A_MOMENT, 2)] {
        let (node, service) = node(&[1, 2]);
        assert_eq!(open(&node, service, FIRST), 1);
        node.script.pass(waits);
        assert_eq!(open(&node, service, LAST), backend, "after {waits:?}");
    }
}

#[test]
fn each_new_connection_begins_the_time_anew() {
    let (node, service) = node(&[1, 2]);
    assert_eq!(open(&node, service, FIRST), 1);
    for _ in 0..3 {
        node.script.pass(IN_TIME);
        assert_eq!(open(&node, service, LAST), 1);
    }
}

#[test]
fn packets_of_a_known_connection_do_not_begin_the_time_anew() {
    let (mut node, service) = node(&[1, 2]);
    let link = PodLink::default();
    node.add_pod(CLIENT.into(), link);
    let send = |node: &Node, port, flags| {
        let segment = Transport::Tcp(Tcp::new(port, 80, flags));
        let packet = Packet::new(CLIENT.into(), SERVICE.into(), segment);
        let mut frame = Frame::new(packet.bytes());
        pod_ingress(&mut frame, node, link.interface);
        frame.bytes()[33]
    };
    node.script.say(&[0]);
    assert_eq!(send(&node, 4000, flags::SYN), 1);
    node.script.pass(IN_TIME);
    assert_eq!(send(&node, 4000, flags::ACK), 1);
    node.script.pass(A_MOMENT * 2);
    node.script.say(&[u32::MAX]);
    assert_eq!(send(&node, 4001, flags::SYN), 2);
    assert_eq!(send(&node, 4000, flags::ACK), 1, "a connection keeps its backend");
    assert_eq!(open(&node, service, FIRST), 2);
}

#[test]
fn a_connection_that_another_node_has_opened_follows_and_leaves_no_trace() {
    let (node, service) = node(&[1, 2]);
    let go_on = |choice| select_for(&node, CLIENT, service, choice, Occasion::Continuing);
    assert_eq!(go_on(FIRST), 1);
    assert!(node.v4.affinities.borrow().is_empty());
    assert_eq!(open(&node, service, LAST), 2);
    node.script.pass(IN_TIME);
    assert_eq!(go_on(FIRST), 2);
    node.script.pass(A_MOMENT * 2);
    assert_eq!(go_on(FIRST), 1, "it did not begin the time anew");
}

#[test]
fn a_client_moves_when_its_backend_leaves_and_does_not_move_back() {
    let (mut node, service) = node(&[1, 2, 3]);
    let whole = node.v4.arrays.services[&service];
    assert_eq!(open(&node, service, LAST), 3);
    node.set_record(
        service,
        ServiceRecord::new(whole.first(), 2, WhenEmpty::Refuse).with_affinity(),
    );
    assert_eq!(open(&node, service, LAST), 2);
    node.set_record(service, whole);
    assert_eq!(open(&node, service, LAST), 2);
}

#[test]
fn lists_of_one_service_port_share_what_they_remember_and_others_do_not() {
    let (mut node, all) = node(&[1, 2, 3]);
    let local = node.add_service([10, 96, 0, 2].into(), 80, Protocol::TCP, &endpoints(&[2, 3]));
    node.keep_clients(local, all, SECONDS);
    let other = node.add_service([10, 96, 0, 3].into(), 80, Protocol::TCP, &endpoints(&[1, 2, 3]));
    node.keep_clients(other, other, SECONDS);
    assert_eq!(open(&node, all, LAST), 3);
    assert_eq!(open(&node, local, FIRST), 3);
    assert_eq!(open(&node, other, FIRST), 1);
    node.script.pass(TIMEOUT);
    assert_eq!(open(&node, all, FIRST), 1);
    assert_eq!(open(&node, local, FIRST), 2, "the local list has no such endpoint");
    assert_eq!(open(&node, all, FIRST), 2);
}

#[test]
fn a_service_without_affinity_remembers_nobody() {
    let mut node = Node::new(10);
    let service = node.add_service(SERVICE.into(), 80, Protocol::TCP, &endpoints(&[1, 2]));
    assert_eq!(open(&node, service, FIRST), 1);
    assert_eq!(open(&node, service, LAST), 2);
    assert!(node.v4.affinities.borrow().is_empty());
}

fn is_found<A: NodeFamily>(ends: &[(IpAddr, u16)], sought: (IpAddr, u16)) -> bool {
    let mut node = Node::new(0);
    node.v4.arrays.sizes.slots = 1000;
    let endpoint = |&(address, port): &_| Endpoint { address, port, way: Way::Stack };
    let endpoints: Vec<_> = ends.iter().map(endpoint).collect();
    let service = node.add_service(sought.0, 80, Protocol::TCP, &endpoints);
    node.keep_clients(service, service, SECONDS);
    let client = A::from_slot([9; 16]);
    let end = |backend: &Backend| (backend.address::<A>().ip(), backend.port.number());
    let wanted = Wanted { service, client, choice: FIRST, occasion: Occasion::Opening };
    // The memory of a connection to the sought endpoint.
    let alone = node.add_service(sought.0, 81, Protocol::TCP, &[endpoint(&sought)]);
    node.keep_clients(alone, service, SECONDS);
    let taught = select(&Wanted { service: alone, ..wanted }, A::tables(&node), &node).unwrap();
    assert_eq!(end(&taught), sought);
    let found = select(&wanted, A::tables(&node), &node).unwrap();
    end(&found) == sought
}

proptest! {
    #[test]
    fn every_backend_is_found_among_any_number_and_no_other(
        addresses in btree_set((any::<[u8; 4]>(), 1..4_u16), 1..60),
        wide in btree_set((any::<[u8; 16]>(), 1..4_u16), 1..60),
        index in any::<prop::sample::Index>(),
    ) {
        let narrow: Vec<(IpAddr, u16)> =
            addresses.into_iter().map(|(address, port)| (address.into(), port)).collect();
        let wide: Vec<(IpAddr, u16)> =
            wide.into_iter().map(|(address, port)| (address.into(), port)).collect();
        prop_assert!(is_found::<Ipv4Wire>(&narrow, narrow[index.index(narrow.len())]));
        prop_assert!(is_found::<Ipv6Wire>(&wide, wide[index.index(wide.len())]));
        let (address, port) = narrow[index.index(narrow.len())];
        prop_assert!(!is_found::<Ipv4Wire>(&narrow, (address, port + 4)));
    }
}
