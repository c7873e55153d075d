//! Between a node's pods and everything else: who may send, and what begins a flow.

use maps_schema::{
    address::{IfIndex, Ipv4Wire, PodLink, Port, Protocol},
    connection::FlowKey,
    counters::Program,
    drop_reason::DropReason,
    service::{Audience, ClientAddress},
    way::{NodeId, Way},
};

use crate::{
    select::flow_hash,
    testing::{
        frame::Frame,
        node::{Endpoint, Node},
        packet::{Packet, Tcp, Transport, Udp, flags},
        stages::{Action, Hook, run},
    },
};

const POD: [u8; 4] = [10, 244, 0, 2];
const BACKEND: [u8; 4] = [10, 244, 0, 3];
const REMOTE_POD: [u8; 4] = [10, 244, 1, 4];
const NODE: [u8; 4] = [172, 18, 0, 2];
const SERVICE: [u8; 4] = [10, 96, 0, 1];
const OUTSIDE: [u8; 4] = [172, 30, 0, 7];
const NODE_PORT: u16 = 30080;
const OTHER_NODE: NodeId = NodeId(7);

fn link(pod: [u8; 4]) -> PodLink {
    PodLink { interface: IfIndex::new(pod[3].into()), ..PodLink::default() }
}

/// Two pods, another node's, the outside, and a service of the second pod.
fn node() -> Node {
    let mut node = Node::new(100);
    for pod in [POD, BACKEND] {
        node.add_pod(pod.into(), link(pod));
    }
    node.add_own_address(NODE.into());
    node.uplink.0 = Ipv4Wire::from_bytes(NODE);
    node.add_network([0, 0, 0, 0].into(), 0, Way::Outside);
    node.add_network([10, 244, 1, 0].into(), 24, Way::Tunnel(OTHER_NODE));
    node
}

fn serve(
    node: &mut Node,
    backend: [u8; 4],
    way: Way,
    frontends: &[([u8; 4], u16, Audience, ClientAddress)],
) {
    let endpoint = Endpoint { address: backend.into(), port: 8080, way };
    let service = node.add_service(SERVICE.into(), 80, Protocol::TCP, &[endpoint]);
    for (address, port, audience, client) in frontends {
        node.lead((*address).into(), *port, Protocol::TCP, (*audience, *client), service);
    }
}

fn tcp(destination_port: u16, flags: u8) -> Transport {
    Transport::Tcp(Tcp::new(4000, destination_port, flags))
}

fn met(program: Program, pod: [u8; 4]) -> Hook {
    let interface =
        if program == Program::TcPodIngress { link(pod).interface } else { IfIndex::new(9) };
    Hook { program, interface, handed: false }
}

fn send(node: &Node, hook: Hook, packet: &Packet) -> (Action, Vec<u8>) {
    let mut frame = Frame::new(packet.bytes());
    (run(&mut frame, node, hook), frame.bytes().to_vec())
}

#[test]
fn a_pod_sends_from_its_own_addresses() {
    let node = node();
    let hook = met(Program::TcPodIngress, POD);
    let from = |source: [u8; 4]| Packet::new(source.into(), BACKEND.into(), tcp(8080, flags::SYN));
    assert_eq!(send(&node, hook, &from(POD)).0, Action::ToPod(link(BACKEND).interface));
    assert_eq!(send(&node, hook, &from(REMOTE_POD)).0, Action::Shot);
    assert_eq!(node.drops(hook.program, DropReason::SpoofedSource), 1);
}

#[test]
fn a_pod_may_speak_from_link_scoped_addresses_which_are_the_kernels() {
    let node = node();
    let [source, destination] = ["fe80::2", "fe80::1"].map(|text| text.parse().unwrap());
    let packet = Packet::new(source, destination, tcp(8080, flags::SYN));
    let (action, after) = send(&node, met(Program::TcPodIngress, POD), &packet);
    assert_eq!((action, after), (Action::Ok, packet.bytes()));
    assert!(node.drops.borrow().is_empty());
}

#[test]
fn a_segment_to_the_outside_without_a_connection_is_reset() {
    let node = node();
    let hook = met(Program::TcPodIngress, POD);
    let packet = Packet::new(POD.into(), OUTSIDE.into(), tcp(80, flags::ACK));
    assert_eq!(send(&node, hook, &packet).0, Action::Back(hook.interface));
    assert_eq!(node.drops(hook.program, DropReason::UnknownConnection), 1);
}

#[test]
fn a_pods_answers_to_the_outside_keep_its_address() {
    let node = node();
    let asked = Packet::new(OUTSIDE.into(), POD.into(), tcp(8080, flags::SYN));
    let (action, _) = send(&node, met(Program::TcUplinkIngress, POD), &asked);
    assert_eq!(action, Action::ToPod(link(POD).interface));
    let answer = Transport::Tcp(Tcp::new(8080, 4000, flags::SYN | flags::ACK));
    let answer = Packet::new(POD.into(), OUTSIDE.into(), answer);
    let (action, after) = send(&node, met(Program::TcPodIngress, POD), &answer);
    assert_eq!((action, &after[26..30]), (Action::Routed, &POD[..]));
}

#[test]
fn what_is_routed_untranslated_loses_a_hop_and_ends_with_its_last() {
    let node = node();
    let hook = met(Program::TcPodIngress, POD);
    let mut packet = Packet::new(POD.into(), REMOTE_POD.into(), tcp(8080, flags::ACK));
    packet.hop_limit = 2;
    let (action, after) = send(&node, hook, &packet);
    assert_eq!((action, after[22]), (Action::Tunnelled(OTHER_NODE), 1));
    packet.hop_limit = 1;
    assert_eq!(send(&node, hook, &packet).0, Action::Back(hook.interface));
    assert_eq!(node.drops(hook.program, DropReason::HopLimitExceeded), 1);
}

#[test]
fn what_is_handed_over_goes_on_in_the_middle_of_its_flow() {
    let mut node = node();
    let handed = |address, port| (address, port, Audience::Handed, ClientAddress::Kept);
    let frontends = [handed(SERVICE, 80), handed([0; 4], NODE_PORT)];
    serve(&mut node, BACKEND, Way::Pod(link(BACKEND)), &frontends);
    let hook = Hook { handed: true, ..met(Program::TcOverlayIngress, POD) };
    // The node port was one of the node that hands over.
    for (address, port) in [(SERVICE, 80), ([172, 18, 0, 3], NODE_PORT)] {
        for flags in [flags::ACK, flags::SYN] {
            let mut packet = Packet::new(OUTSIDE.into(), address.into(), tcp(port, flags));
            packet.hop_limit = 60;
            let (action, after) = send(&node, hook, &packet);
            assert_eq!(action, Action::ToPod(link(BACKEND).interface));
            assert_eq!((&after[26..30], &after[30..34]), (&OUTSIDE[..], &BACKEND[..]));
        }
    }
}

#[test]
fn a_flow_that_its_backends_node_answers_goes_on_by_any_node() {
    let mut node = node();
    let direct = (SERVICE, 80, Audience::Outside, ClientAddress::Direct);
    serve(&mut node, REMOTE_POD, Way::Tunnel(OTHER_NODE), &[direct]);
    for flags in [flags::ACK, flags::SYN] {
        let packet = Packet::new(OUTSIDE.into(), SERVICE.into(), tcp(80, flags));
        let (action, after) = send(&node, met(Program::TcUplinkIngress, POD), &packet);
        assert_eq!(action, Action::Handed(OTHER_NODE));
        assert_eq!((&after[26..30], &after[30..34]), (&OUTSIDE[..], &SERVICE[..]));
    }
}

#[test]
fn a_masqueraded_flow_takes_no_port_that_a_socket_of_the_node_has() {
    let mut node = node();
    node.socket_ports = vec![4000];
    let packet = Packet::new(POD.into(), OUTSIDE.into(), tcp(80, flags::SYN));
    let (action, after) = send(&node, met(Program::TcPodIngress, POD), &packet);
    assert_eq!((action, &after[26..30]), (Action::Routed, &NODE[..]));
    assert_ne!(&after[34..36], &4000_u16.to_be_bytes());
}

#[test]
fn a_datagram_of_the_node_from_the_bridges_address_answers_for_the_service() {
    let mut node = node();
    let bridge = [10, 244, 0, 1];
    (node.bridge.0, node.primary.0) = (Ipv4Wire::from_bytes(bridge), Ipv4Wire::from_bytes(NODE));
    let endpoint = Endpoint { address: NODE.into(), port: 8080, way: Way::Stack };
    node.add_service(SERVICE.into(), 80, Protocol::UDP, &[endpoint]);
    let udp = |from, to| Transport::Udp(Udp::new(from, to, Vec::new()));
    let request = Packet::new(POD.into(), SERVICE.into(), udp(4000, 80));
    let (action, asked) = send(&node, met(Program::TcPodIngress, POD), &request);
    assert_eq!((action, &asked[30..34]), (Action::Ok, &NODE[..]));
    let answer = Packet::new(bridge.into(), POD.into(), udp(8080, 4000));
    let (action, answered) = send(&node, met(Program::TcBridgeEgress, POD), &answer);
    assert_eq!((action, &answered[26..30]), (Action::Ok, &SERVICE[..]));
    assert_eq!(answered[34..36], 80_u16.to_be_bytes());
}

#[test]
fn each_of_what_a_flow_is_known_by_matters_to_where_it_goes() {
    let hash = |source: [u8; 4], source_port, port, protocol| {
        let (source_port, port) = (Port::new(source_port), Port::new(port));
        let [source, destination] = [source, SERVICE].map(Ipv4Wire::from_bytes);
        flow_hash(&FlowKey::new(source, source_port, destination, port, protocol))
    };
    let one = hash(OUTSIDE, 4000, 80, Protocol::TCP);
    assert_ne!(one, hash([172, 30, 0, 8], 4000, 80, Protocol::TCP));
    assert_ne!(one, hash(OUTSIDE, 4001, 80, Protocol::TCP));
    assert_ne!(one, hash(OUTSIDE, 4000, 81, Protocol::TCP));
    assert_ne!(one, hash(OUTSIDE, 4000, 80, Protocol::UDP));
}
