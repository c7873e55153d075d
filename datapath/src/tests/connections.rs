//! Flows from their first packet to the answer, through all stages.

use std::net::IpAddr;

use maps_schema::{
    address::{Address, Family, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Protocol},
    counters::Program,
    drop_reason::DropReason,
    way::Way,
};

use crate::testing::{
    checksum::verify,
    frame::Frame,
    node::{Endpoint, Node},
    packet::{Packet, Tcp, Transport, Udp, flags},
    stages::{Action, pod_ingress},
};

/// A node with pods 2 to 5, and services that some of them answer for.
pub(super) struct World {
    pub(super) family: Family,
    pub(super) node: Node,
}

pub(super) const PORT: u16 = 80;
pub(super) const TARGET_PORT: u16 = 8080;

/// Answered by pod 3.
pub(super) const SERVICE: u8 = 1;
/// Answered by pod 3, too.
const SECOND_SERVICE: u8 = 2;
/// Answered by pods 3, 4 and 5.
const BIG_SERVICE: u8 = 3;
/// Answered by pod 2.
const OWN_SERVICE: u8 = 4;

pub(super) fn world() -> World {
    world_of(Family::V4, 1000)
}

pub(super) fn world_of(family: Family, capacity: usize) -> World {
    let mut world = World { family, node: Node::new(capacity) };
    let services: [(u8, &[u8]); 4] =
        [(SERVICE, &[3]), (SECOND_SERVICE, &[3]), (BIG_SERVICE, &[3, 4, 5]), (OWN_SERVICE, &[2])];
    for pod in 2..=5 {
        world.node.add_pod(world.pod(pod), World::link(pod));
    }
    for (service, pods) in services {
        let endpoints: Vec<_> = pods
            .iter()
            .map(|&pod| Endpoint {
                address: world.pod(pod),
                port: TARGET_PORT,
                way: Way::Pod(World::link(pod)),
            })
            .collect();
        let address = world.service(service);
        world.node.add_service(address, PORT, Protocol::TCP, &endpoints);
        world.node.add_service(address, PORT, Protocol::UDP, &endpoints);
    }
    world.node.bridge = (
        Ipv4Wire::from_bytes([10, 244, 0, 1]),
        Ipv6Wire::from_bytes([0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    );
    world
}

impl World {
    pub(super) fn pod(&self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => [10, 244, 0, host].into(),
            Family::V6 => [0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host].into(),
        }
    }

    pub(super) fn service(&self, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => [10, 96, 0, host].into(),
            Family::V6 => [0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host].into(),
        }
    }

    fn bridge(&self) -> IpAddr {
        match self.family {
            Family::V4 => self.node.bridge.0.ip(),
            Family::V6 => self.node.bridge.1.ip(),
        }
    }

    pub(super) fn link(pod: u8) -> PodLink {
        PodLink {
            interface: IfIndex::new(u32::from(pod)),
            mac: Mac::from_bytes([2, 0, 0, 0, 0, pod]),
        }
    }

    /// Sends a packet from a pod; returns what became of it, as the receiver reads it.
    pub(super) fn send(
        &self,
        pod: u8,
        source: IpAddr,
        destination: IpAddr,
        transport: Transport,
    ) -> (Action, Received) {
        let packet = Packet {
            ether_source: World::link(pod).mac.bytes(),
            ..Packet::new(source, destination, transport)
        };
        let mut frame = Frame::new(packet.bytes());
        let action = pod_ingress(&mut frame, &self.node, IfIndex::new(u32::from(pod)));
        assert_eq!(verify(frame.bytes()), Ok(()));
        (action, Received::read(self.family, frame.bytes()))
    }

    pub(super) fn request(&self, pod: u8, service: u8, transport: Transport) -> (Action, Received) {
        self.send(pod, self.pod(pod), self.service(service), transport)
    }

    pub(super) fn answer(
        &self,
        pod: u8,
        request: &Received,
        transport: Transport,
    ) -> (Action, Received) {
        self.send(pod, request.destination, request.source, transport)
    }

    /// A datagram from pod 2 to the first service.
    pub(super) fn udp_request(&self, source_port: u16) -> Received {
        let (action, received) = self.request(2, SERVICE, udp(source_port, PORT));
        assert_eq!(action, Action::ToPod(IfIndex::new(3)));
        received
    }

    pub(super) fn entries(&self) -> usize {
        match self.family {
            Family::V4 => {
                assert_eq!(self.node.require_whole_pairs::<Ipv4Wire>(), Ok(()));
                self.node.v4.connections.borrow().len()
            }
            Family::V6 => {
                assert_eq!(self.node.require_whole_pairs::<Ipv6Wire>(), Ok(()));
                self.node.v6.connections.borrow().len()
            }
        }
    }
}

/// Whose packet a receiver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) source: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination: IpAddr,
    pub(super) destination_port: u16,
}

impl Received {
    pub(super) fn read(family: Family, frame: &[u8]) -> Self {
        let (addresses, length, ports) = match family {
            Family::V4 => (26, 4, 34),
            Family::V6 => (22, 16, 54),
        };
        let address = |offset: usize| -> IpAddr {
            match family {
                Family::V4 => <[u8; 4]>::try_from(&frame[offset..offset + length]).unwrap().into(),
                Family::V6 => <[u8; 16]>::try_from(&frame[offset..offset + length]).unwrap().into(),
            }
        };
        let port = |offset: usize| u16::from_be_bytes([frame[offset], frame[offset + 1]]);
        Self {
            source: address(addresses),
            destination: address(addresses + length),
            source_port: port(ports),
            destination_port: port(ports + 2),
        }
    }
}

pub(super) fn udp(source: u16, destination: u16) -> Transport {
    Transport::Udp(Udp::new(source, destination, b"hello".to_vec()))
}

pub(super) fn tcp(source: u16, destination: u16, flags: u8) -> Transport {
    Transport::Tcp(Tcp::new(source, destination, flags))
}

pub(super) fn for_both_families(test: impl Fn(World)) {
    for family in [Family::V4, Family::V6] {
        test(world_of(family, 1000));
    }
}

#[test]
fn a_request_reaches_the_backend_and_its_answer_comes_from_the_service() {
    for_both_families(|world| {
        let (action, request) = world.request(2, SERVICE, udp(4000, PORT));
        assert_eq!(action, Action::ToPod(IfIndex::new(3)));
        assert_eq!((request.source, request.source_port), (world.pod(2), 4000));
        assert_eq!((request.destination, request.destination_port), (world.pod(3), TARGET_PORT));
        let (action, answer) = world.answer(3, &request, udp(TARGET_PORT, 4000));
        assert_eq!(action, Action::ToPod(IfIndex::new(2)));
        assert_eq!((answer.source, answer.source_port), (world.service(SERVICE), PORT));
        assert_eq!((answer.destination, answer.destination_port), (world.pod(2), 4000));
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn a_pod_that_reaches_itself_sees_the_bridge() {
    for_both_families(|world| {
        let (action, request) = world.request(2, OWN_SERVICE, tcp(4000, PORT, flags::SYN));
        assert_eq!(action, Action::ToPod(IfIndex::new(2)));
        assert_eq!((request.source, request.destination), (world.bridge(), world.pod(2)));
        assert_eq!(request.source_port, 4000, "a flow keeps its port where it can");
        let (action, answer) = world.answer(
            2,
            &request,
            tcp(TARGET_PORT, request.source_port, flags::SYN | flags::ACK),
        );
        assert_eq!(action, Action::ToPod(IfIndex::new(2)));
        let service = world.service(OWN_SERVICE);
        assert_eq!((answer.source, answer.source_port), (service, PORT));
        assert_eq!((answer.destination, answer.destination_port), (world.pod(2), 4000));
        assert_eq!(world.entries(), 2);
    });
}

#[test]
fn two_services_with_one_backend_keep_one_clients_flows_apart() {
    for_both_families(|world| {
        let (_, first) = world.request(2, SERVICE, udp(4000, PORT));
        let (_, second) = world.request(2, SECOND_SERVICE, udp(4000, PORT));
        assert_eq!(first.source_port, 4000);
        assert!(second.source_port >= 61000, "{second:?}");
        for (request, service) in [(first, SERVICE), (second, SECOND_SERVICE)] {
            let (_, answer) = world.answer(3, &request, udp(TARGET_PORT, request.source_port));
            assert_eq!((answer.source, answer.source_port), (world.service(service), PORT));
            assert_eq!((answer.destination, answer.destination_port), (world.pod(2), 4000));
        }
        assert_eq!(world.entries(), 4);
    });
}

#[test]
fn chosen_ports_that_are_taken_are_not_taken_again() {
    for_both_families(|world| {
        world.request(2, SERVICE, udp(4000, PORT));
        // The random numbers are the backend's, and then the port's.
        world.node.script.say(&[0, 0]);
        let (_, second) = world.request(2, SECOND_SERVICE, udp(4000, PORT));
        assert_eq!(second.source_port, 61000);
        let (_, third) = world.request(2, SERVICE, udp(4001, PORT));
        assert_eq!(third.source_port, 4001, "a flow keeps its port where it can");
        world.node.script.say(&[0, 4]);
        let (_, fourth) = world.request(2, SECOND_SERVICE, udp(4001, PORT));
        assert_eq!(fourth.source_port, 61000 + 769, "61000 is taken");
        assert_eq!(world.entries(), 8);
    });
}

#[test]
fn a_port_is_free_for_another_service_when_both_sides_have_closed() {
    for_both_families(|world| {
        let fin = flags::FIN | flags::ACK;
        let (_, first) = world.request(2, SERVICE, tcp(4000, PORT, flags::SYN));
        world.request(2, SERVICE, tcp(4000, PORT, fin));
        let (_, second) = world.request(2, SECOND_SERVICE, tcp(4000, PORT, flags::SYN));
        assert!(second.source_port >= 61000, "{second:?}");
        world.answer(3, &first, tcp(TARGET_PORT, 4000, fin));
        let (_, third) = world.request(2, BIG_SERVICE, tcp(4000, PORT, flags::SYN));
        assert_eq!(third.source_port, 4000);
    });
}

#[test]
fn a_repeated_syn_goes_to_the_same_backend() {
    for_both_families(|world| {
        for port in 4000..4050 {
            let (_, first) = world.request(2, BIG_SERVICE, tcp(port, PORT, flags::SYN));
            for _ in 0..3 {
                let (_, again) = world.request(2, BIG_SERVICE, tcp(port, PORT, flags::SYN));
                assert_eq!(again, first);
            }
        }
        assert_eq!(world.entries(), 100);
    });
}

#[test]
fn a_syn_on_a_connection_that_has_ended_starts_anew() {
    for ending in [flags::FIN | flags::ACK, flags::RST] {
        for who_ends in [2, 3] {
            for_both_families(|world| {
                world.node.script.say(&[0]);
                let (_, first) = world.request(2, BIG_SERVICE, tcp(4000, PORT, flags::SYN));
                assert_eq!(first.destination, world.pod(3));
                let answer = tcp(TARGET_PORT, 4000, flags::SYN | flags::ACK);
                world.answer(3, &first, answer);
                world.request(2, BIG_SERVICE, tcp(4000, PORT, flags::ACK));
                if who_ends == 2 {
                    world.request(2, BIG_SERVICE, tcp(4000, PORT, ending));
                } else {
                    world.answer(3, &first, tcp(TARGET_PORT, 4000, ending));
                }
                // The last third of all random numbers means the last backend.
                world.node.script.say(&[u32::MAX]);
                let (_, second) = world.request(2, BIG_SERVICE, tcp(4000, PORT, flags::SYN));
                assert_eq!(second.destination, world.pod(5));
                assert_eq!(world.entries(), 2);
            });
        }
    }
}

#[test]
fn late_segments_of_a_connection_that_has_ended_are_still_translated() {
    for_both_families(|world| {
        let (_, request) = world.request(2, SERVICE, tcp(4000, PORT, flags::SYN));
        world.answer(3, &request, tcp(TARGET_PORT, 4000, flags::RST));
        let (action, late) = world.answer(3, &request, tcp(TARGET_PORT, 4000, flags::ACK));
        assert_eq!(action, Action::ToPod(IfIndex::new(2)));
        assert_eq!(late.source, world.service(SERVICE));
        let (action, late) = world.request(2, SERVICE, tcp(4000, PORT, flags::ACK));
        assert_eq!(action, Action::ToPod(IfIndex::new(3)));
        assert_eq!(late.destination, world.pod(3));
    });
}

#[test]
fn a_flow_keeps_its_backend_when_the_service_has_others() {
    for_both_families(|mut world| {
        let (_, before) = world.request(2, SERVICE, tcp(4000, PORT, flags::SYN));
        let replacement =
            Endpoint { address: world.pod(4), port: TARGET_PORT, way: Way::Pod(World::link(4)) };
        let service = world.service(SERVICE);
        world.node.add_service(service, PORT, Protocol::TCP, &[replacement]);
        let (_, after) = world.request(2, SERVICE, tcp(4000, PORT, flags::ACK));
        assert_eq!(after.destination, before.destination);
        let (_, other) = world.request(2, SERVICE, tcp(4001, PORT, flags::SYN));
        assert_eq!(other.destination, world.pod(4));
    });
}

#[test]
fn a_full_table_drops_new_flows_and_keeps_the_old_ones() {
    for family in [Family::V4, Family::V6] {
        for capacity in 0..8 {
            let world = world_of(family, capacity);
            let fitting = capacity / 2;
            let mut reached = 0;
            for round in 0..2 {
                for port in 4000..4006 {
                    let (action, _) = world.request(2, SERVICE, udp(port, PORT));
                    reached += usize::from(action == Action::ToPod(IfIndex::new(3)));
                }
                assert_eq!(reached, fitting * (round + 1), "capacity {capacity}");
            }
            assert_eq!(world.entries(), fitting * 2);
            let dropped = world.node.drops(Program::TcPodIngress, DropReason::ConnectionTableFull);
            assert_eq!(usize::try_from(dropped).unwrap(), 12 - 2 * fitting);
        }
    }
}
