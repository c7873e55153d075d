//! Whom a socket is connected to.

use std::{net::IpAddr, time::Duration};

use maps_schema::{
    address::{Ipv4Wire, Port, Protocol},
    drop_reason::DropReason,
    service::{Audience, ClientAddress, Frontend, ServiceId, ServiceRecord, Slot, WhenEmpty},
    way::Way,
};

use crate::{
    socket::{Socket, SocketVerdict, decide_socket},
    testing::node::{Endpoint, Node},
};

const NODE: [u8; 4] = [172, 18, 0, 2];
const SERVICE: [u8; 4] = [10, 96, 0, 1];
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

const NODES_SOCKET: Socket<Ipv4Wire> =
    Socket { address: Ipv4Wire::from_bytes(NODE), protocol: Protocol::TCP, is_nodes: true };
const PODS_SOCKET: Socket<Ipv4Wire> = Socket { is_nodes: false, ..NODES_SOCKET };

fn endpoint(host: u8) -> Endpoint {
    Endpoint { address: [10, 244, 0, host].into(), port: 8080, way: Way::Stack }
}

fn node_with(endpoints: &[Endpoint]) -> (Node, ServiceId) {
    let mut node = Node::new(10);
    let service = node.add_service(SERVICE.into(), 80, Protocol::TCP, endpoints);
    (node, service)
}

fn ask(node: &Node, socket: Socket<Ipv4Wire>, address: [u8; 4], port: u16) -> Asked {
    let address = Ipv4Wire::from_bytes(address);
    match decide_socket(&socket, address, Port::new(port), &node.v4, node) {
        SocketVerdict::Pass => Asked::Passed,
        SocketVerdict::Translate { address, .. } => {
            let [.., host] = address.bytes();
            Asked::Connected(host)
        }
        SocketVerdict::Refuse(reason) => Asked::Refused(reason),
        SocketVerdict::Drop(reason) => Asked::Unreachable(reason),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Passed,
    Connected(u8),
    Refused(DropReason),
    Unreachable(DropReason),
}

#[test]
fn frontends_for_the_nodes_processes_are_for_them_alone_and_come_first() {
    let (mut node, _) = node_with(&[endpoint(3)]);
    let own = node.add_service([10, 96, 0, 2].into(), 80, Protocol::TCP, &[endpoint(4)]);
    let audience = (Audience::Node, ClientAddress::Kept);
    node.lead(SERVICE.into(), 80, Protocol::TCP, audience, own);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), Asked::Connected(4));
    assert_eq!(ask(&node, PODS_SOCKET, SERVICE, 80), Asked::Connected(3));
}

#[test]
fn loopback_addresses_lead_to_services_for_the_nodes_processes_only() {
    let (mut node, service) = node_with(&[endpoint(3)]);
    let loopback = IpAddr::from(LOOPBACK);
    let lead = |node: &mut Node, audience| {
        node.lead(loopback, 30080, Protocol::TCP, (audience, ClientAddress::Kept), service);
    };
    lead(&mut node, Audience::Inside);
    assert_eq!(ask(&node, PODS_SOCKET, LOOPBACK, 30080), Asked::Passed);
    assert_eq!(ask(&node, NODES_SOCKET, LOOPBACK, 30080), Asked::Passed);
    lead(&mut node, Audience::Node);
    assert_eq!(ask(&node, PODS_SOCKET, LOOPBACK, 30080), Asked::Passed);
    assert_eq!(ask(&node, NODES_SOCKET, LOOPBACK, 30080), Asked::Connected(3));
}

#[test]
fn what_is_not_served_fails_at_once() {
    let (mut node, service) = node_with(&[]);
    node.add_network([10, 96, 0, 0].into(), 16, Way::Nowhere);
    let refused = |reason| Asked::Refused(reason);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), refused(DropReason::NoEndpoints));
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 81), refused(DropReason::NoSuchServicePort));
    node.set_record(service, ServiceRecord::new(Slot(0), 0, WhenEmpty::Drop));
    let unreachable = Asked::Unreachable(DropReason::NoLocalEndpoints);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), unreachable);
    let unreachable = Asked::Unreachable(DropReason::UnallocatedServiceAddress);
    assert_eq!(ask(&node, NODES_SOCKET, [10, 96, 1, 1], 80), unreachable);
    assert_eq!(ask(&node, NODES_SOCKET, [172, 30, 0, 1], 80), Asked::Passed);
}

#[test]
fn a_socket_is_let_in_by_the_address_that_it_has() {
    let (mut node, service) = node_with(&[endpoint(3)]);
    node.restrict(service, &[(NODE.into(), 32)]);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), Asked::Connected(3));
    let bound = Socket { address: Ipv4Wire::from_bytes([172, 19, 0, 2]), ..NODES_SOCKET };
    let unreachable = Asked::Unreachable(DropReason::SourceNotAllowed);
    assert_eq!(ask(&node, bound, SERVICE, 80), unreachable);
    for frontend in node.v4.frontends.values_mut() {
        *frontend = Frontend::new(service, ClientAddress::Kept);
    }
    assert_eq!(ask(&node, bound, SERVICE, 80), Asked::Connected(3));
}

#[test]
fn a_socket_gets_the_backend_that_its_address_had_before() {
    let (mut node, service) = node_with(&[endpoint(3), endpoint(4)]);
    node.keep_clients(service, service, 60);
    node.script.say(&[u32::MAX]);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), Asked::Connected(4));
    node.script.say(&[0, 0]);
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), Asked::Connected(4));
    node.script.pass(Duration::from_secs(61));
    assert_eq!(ask(&node, NODES_SOCKET, SERVICE, 80), Asked::Connected(3));
}
