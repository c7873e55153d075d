//! Restricted frontends serve the clients of their ranges, and nobody else.

use maps_schema::{
    address::{Ipv4Wire, PodLink, Protocol},
    counters::Program,
    drop_reason::DropReason,
    service::ServiceId,
    way::Way,
};
use proptest::prelude::*;

use crate::{
    tables::Tables as _,
    testing::{
        frame::Frame,
        node::{Endpoint, Node},
        packet::{Packet, Tcp, Transport, flags},
        stages::{Action, pod_ingress},
    },
};

const VIP: [u8; 4] = [172, 28, 0, 1];
const CLIENT: [u8; 4] = [10, 244, 0, 2];

/// A node with a pod, and a service that is restricted to these ranges.
fn node(endpoints: &[Endpoint], ranges: &[([u8; 4], u32)]) -> (Node, ServiceId) {
    let mut node = Node::new(100);
    node.add_pod(CLIENT.into(), PodLink::default());
    let service = node.add_service(VIP.into(), 80, Protocol::TCP, endpoints);
    let ranges: Vec<_> = ranges.iter().map(|&(prefix, length)| (prefix.into(), length)).collect();
    node.restrict(service, &ranges);
    (node, service)
}

fn endpoint() -> Endpoint {
    Endpoint { address: [10, 244, 1, 9].into(), port: 8080, way: Way::Stack }
}

fn send(node: &Node, flags: u8) -> Action {
    let segment = Transport::Tcp(Tcp::new(4000, 80, flags));
    let mut frame = Frame::new(Packet::new(CLIENT.into(), VIP.into(), segment).bytes());
    pod_ingress(&mut frame, node, PodLink::default().interface)
}

fn drops(node: &Node) -> u64 {
    node.drops(Program::TcPodIngress, DropReason::SourceNotAllowed)
}

#[test]
fn a_client_in_no_range_is_dropped_silently_whether_there_are_endpoints_or_not() {
    for endpoints in [&[endpoint()][..], &[]] {
        let (node, _) = node(endpoints, &[([172, 31, 0, 0], 25), ([10, 244, 1, 0], 24)]);
        assert_eq!(send(&node, flags::SYN), Action::Shot);
        assert_eq!(drops(&node), 1);
        assert!(node.v4.connections.borrow().is_empty());
    }
}

#[test]
fn a_client_in_any_range_is_served() {
    let (node, _) = node(&[endpoint()], &[([172, 31, 0, 0], 25), ([10, 244, 0, 2], 32)]);
    assert_eq!(send(&node, flags::SYN), Action::Ok);
    assert_eq!(drops(&node), 0);
}

#[test]
fn a_connection_outlives_the_range_that_let_it_in() {
    let (mut node, _) = node(&[endpoint()], &[([10, 244, 0, 0], 24)]);
    assert_eq!(send(&node, flags::SYN), Action::Ok);
    node.v4.source_ranges.clear();
    assert_eq!(send(&node, flags::ACK), Action::Ok);
    assert_eq!(drops(&node), 0);
}

#[test]
fn other_frontends_of_the_same_service_are_open_to_all() {
    let (mut node, service) = node(&[endpoint()], &[]);
    for frontend in node.v4.frontends.values_mut() {
        *frontend = maps_schema::service::Frontend::new(service, frontend.client());
    }
    assert_eq!(send(&node, flags::SYN), Action::Ok);
}

proptest! {
    #[test]
    fn a_range_holds_what_agrees_with_it_in_its_length(
        prefix in any::<u32>(),
        length in 0..=32_u32,
        source in any::<u32>(),
        near in 0..=32_u32,
    ) {
        // Half of the sources differ from the prefix in one bit only, or none.
        let source = if near % 2 == 0 { source } else { prefix ^ 1_u32.checked_shl(near).unwrap_or(0) };
        let (node, service) = node(&[], &[(prefix.to_be_bytes(), length)]);
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let held = node.v4.admits(service, Ipv4Wire::from_bytes(source.to_be_bytes()));
        prop_assert_eq!(held, prefix & mask == source & mask);
        let other = ServiceId(service.0 + 1);
        prop_assert!(!node.v4.admits(other, Ipv4Wire::from_bytes(source.to_be_bytes())));
    }
}
