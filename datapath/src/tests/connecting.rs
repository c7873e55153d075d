//! Any number of flows, in any order: pairs are whole, and every flow has its way back.

use std::collections::BTreeSet;

use maps_schema::{
    address::{IfIndex, Ipv4Wire, PodLink, Protocol},
    connection::Direction,
    way::Way,
};
use proptest::{collection::vec, prelude::*};

use crate::testing::{
    frame::Frame,
    node::{Endpoint, Node},
    packet::{Packet, Tcp, Transport, Udp},
    stages::{Action, pod_ingress},
};

/// A node with four pods and three services: of the second pod, of the second and third, and of
/// all.
fn node(capacity: usize) -> Node {
    let mut node = Node::new(capacity);
    let endpoint = |pod: u8| Endpoint {
        address: [10, 244, 0, pod].into(),
        port: 8080,
        way: Way::Pod(PodLink { interface: IfIndex::new(u32::from(pod)), ..PodLink::default() }),
    };
    for (service, pods) in [(1, &[3][..]), (2, &[3, 4]), (3, &[2, 3, 4, 5])] {
        let endpoints: Vec<_> = pods.iter().map(|&pod| endpoint(pod)).collect();
        for protocol in [Protocol::TCP, Protocol::UDP] {
            node.add_service([10, 96, 0, service].into(), 80, protocol, &endpoints);
        }
    }
    for pod in 2..=5 {
        let link = PodLink { interface: IfIndex::new(u32::from(pod)), ..PodLink::default() };
        node.v4.sources.insert(link.interface, Ipv4Wire::from_bytes([10, 244, 0, pod]));
    }
    node.bridge.0 = Ipv4Wire::from_bytes([10, 244, 0, 1]);
    node
}

#[derive(Clone, Debug)]
struct Event {
    pod: u8,
    service: u8,
    port: u16,
    /// TCP flags, or UDP.
    flags: Option<u8>,
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        Just(None),
        Just(Some(0x02)),
        Just(Some(0x10)),
        Just(Some(0x11)),
        Just(Some(0x04)),
    ];
    (2..=5_u8, 1..=3_u8, 4000..4004_u16, flags).prop_map(|(pod, service, port, flags)| Event {
        pod,
        service,
        port,
        flags,
    })
}

fn send(node: &Node, event: &Event) -> Action {
    let transport = match event.flags {
        Some(flags) => Transport::Tcp(Tcp::new(event.port, 80, flags)),
        None => Transport::Udp(Udp::new(event.port, 80, Vec::new())),
    };
    let packet =
        Packet::new([10, 244, 0, event.pod].into(), [10, 96, 0, event.service].into(), transport);
    let mut frame = Frame::new(packet.bytes());
    pod_ingress(&mut frame, node, IfIndex::new(u32::from(event.pod)))
}

proptest! {
    #[test]
    fn there_is_never_half_a_pair(
        events in vec(event(), 1..60),
        capacity in prop_oneof![Just(1000_usize), 0..12_usize],
    ) {
        let node = node(capacity);
        for event in &events {
            send(&node, event);
            prop_assert_eq!(node.require_whole_pairs::<Ipv4Wire>(), Ok(()));
            prop_assert!(node.v4.connections.borrow().len() <= capacity);
        }
    }

    #[test]
    fn no_two_flows_look_alike_behind_the_translation(events in vec(event(), 1..60)) {
        let node = node(1000);
        for event in &events {
            send(&node, event);
        }
        let connections = node.v4.connections.borrow();
        let forward: Vec<_> = connections
            .iter()
            .filter(|(_, entry)| entry.direction() == Direction::Forward)
            .collect();
        let behind: BTreeSet<_> =
            forward.iter().map(|(flow, entry)| entry.rewritten(flow.protocol())).collect();
        prop_assert_eq!(behind.len(), forward.len());
        for (flow, entry) in forward {
            let rewritten = entry.rewritten(flow.protocol());
            prop_assert_ne!(rewritten.source, rewritten.destination, "a pod would see itself");
        }
    }
}
