//! What is measured: for each program, packets of established flows, of new ones, refused ones, and
//! those that the program leaves to the kernel.

use std::fmt;

use datapath::testing::packet::{Packet, Tcp, Transport, Udp, flags};
use maps_schema::{
    address::{Family, Protocol},
    counters::Program,
    replay::Replay,
    way::VNI_PODS,
};

use super::world::{
    CLIENT, EMPTY, FIRST, FLOWS, KEPT_PORT, OWN, PORT, REMOTE, TARGET_PORT, outside, remote_pod,
};
use crate::packets::{
    uplink_world::{Backend, bridge, client, from_outside, on_link, own},
    world::{from_pod, pod, service},
};

/// What the programs return.
const OK: u32 = 0;
const REDIRECT: u32 = 7;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// How many flows the connection table has, in this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// 1,024 that the processor has seen just before.
    Warm,
    /// 1,048,576, one after the other in an order without order.
    Cold,
}

/// By what packets of different flows differ: first by a port, then by an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// A pod's requests.
    SourcePortAndDestination,
    /// Requests of the outside.
    SourcePortAndSource,
    /// Answers of pods.
    DestinationPortAndSource,
    /// Answers to the outside.
    DestinationPortAndDestination,
}

/// The interface that packets are met at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The host end of a pod's veth pair.
    Pod(u8),
    /// The uplink, and all others.
    Uplink,
}

/// Packets that differ by their flow only, and where they meet which program.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The program.
    pub program: Program,
    /// Where it runs.
    pub place: Place,
    /// The first flow's packet.
    pub packet: Packet,
    /// How the others differ.
    pub differs: Differs,
    /// The VXLAN network that they have come by; zero for none.
    pub network: u32,
    /// What the program returns.
    pub result: u32,
}

impl Stream {
    /// The first flow's frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = self.packet.bytes();
        let (port, _) = self.offsets();
        frame[port..port + 2].copy_from_slice(&Replay::FIRST_PORT.to_be_bytes());
        frame
    }

    /// Where frames have the port and the last byte of the address that differ.
    pub fn offsets(&self) -> (usize, usize) {
        let transport = self.packet.transport_offset();
        let (source, destination) = if self.packet.source.is_ipv4() { (29, 33) } else { (37, 53) };
        match self.differs {
            Differs::SourcePortAndDestination => (transport, destination),
            Differs::SourcePortAndSource => (transport, source),
            Differs::DestinationPortAndSource => (transport + 2, source),
            Differs::DestinationPortAndDestination => (transport + 2, destination),
        }
    }
}

/// Whose flows a case's packets are of.
#[derive(Clone, Debug)]
pub enum Flows {
    /// Nobody has opened them.
    Unknown,
    /// These packets have.
    OpenedBy(Box<Stream>),
    /// The case before has.
    OfTheCaseBefore,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// What becomes of the packets.
    pub what: &'static str,
    /// The family.
    pub family: Family,
    /// The transport protocol.
    pub protocol: Protocol,
    /// How many flows there are.
    pub table: Table,
    /// Whether each packet opens a flow.
    pub opens: bool,
    /// Whether each packet is refused.
    pub refused: bool,
    /// Which flows there are.
    pub flows: Flows,
    /// What is measured.
    pub stream: Stream,
}

impl Case {
    /// How many flows there are.
    pub fn flow_count(&self) -> u32 {
        match self.table {
            Table::Warm => 1 << 10,
            Table::Cold => FLOWS,
        }
    }

    /// One less than that.
    pub fn mask(&self) -> u32 {
        self.flow_count() - 1
    }

    /// How far a packet's flow is from the one before.
    pub fn stride(&self) -> u32 {
        match self.table {
            Table::Warm => 1,
            Table::Cold => 0x9e37_79b1,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let protocol = if self.protocol == Protocol::TCP { "TCP" } else { "UDP" };
        let table = match self.table {
            Table::Warm => "",
            Table::Cold => ", cold",
        };
        let program = self.stream.program.name();
        write!(formatter, "{program}: {}, {family} {protocol}{table}", self.what)
    }
}

/// Makes cases of one family and protocol.
struct Maker {
    family: Family,
    protocol: Protocol,
    cases: Vec<Case>,
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let mut maker = Maker { family, protocol, cases: Vec::new() };
            maker.pod_ingress();
            maker.uplink();
            maker.overlay();
            maker.bridge();
            maker.xdp();
            cases.extend(maker.cases);
        }
    }
    cases.sort_by_key(|case| case.stream.program as u8);
    cases
}

impl Maker {
    /// The first packet of a flow, or a later one.
    fn transport(&self, ports: [u16; 2], opens: bool) -> Transport {
        let [source, destination] = ports;
        if self.protocol == Protocol::UDP {
            return Transport::Udp(Udp::new(source, destination, vec![0x5a; 18]));
        }
        let flags = if opens { flags::SYN } else { flags::ACK };
        Transport::Tcp(Tcp::new(source, destination, flags))
    }

    fn add(&mut self, what: &'static str, flows: Flows, stream: &Stream) -> &mut Case {
        self.cases.push(Case {
            what,
            family: self.family,
            protocol: self.protocol,
            table: Table::Warm,
            opens: false,
            refused: false,
            flows,
            stream: stream.clone(),
        });
        let last = self.cases.len() - 1;
        &mut self.cases[last]
    }

    /// A packet that opens a flow, and one of a flow that is known; of few flows, and of many.
    fn add_both(&mut self, what: [&'static str; 2], opening: &Stream, stream: &Stream) {
        let [established, new] = what;
        for table in [Table::Warm, Table::Cold] {
            if table == Table::Cold && self.protocol != Protocol::TCP {
                continue; // The table makes the difference, and not the header.
            }
            let case = self.add(new, Flows::Unknown, opening);
            (case.table, case.opens) = (table, true);
            self.add(established, Flows::OfTheCaseBefore, stream).table = table;
        }
    }

    fn client_sends(&self, destination: std::net::IpAddr, port: u16, opens: bool) -> Stream {
        Stream {
            program: Program::TcPodIngress,
            place: Place::Pod(CLIENT),
            packet: from_pod(CLIENT, destination, self.transport([0, port], opens)),
            differs: Differs::SourcePortAndDestination,
            network: 0,
            result: REDIRECT,
        }
    }

    fn pod_ingress(&mut self) {
        let family = self.family;
        let request =
            |maker: &Self, number, opens| maker.client_sends(service(family, number), PORT, opens);
        let (opening, established) = (request(self, FIRST, true), request(self, FIRST, false));
        self.add_both(["established, request", "new"], &opening, &established);
        let answer = Stream {
            place: Place::Pod(FIRST),
            packet: Packet {
                source: pod(family, FIRST),
                ..from_pod(FIRST, pod(family, CLIENT), self.transport([TARGET_PORT, 0], false))
            },
            differs: Differs::DestinationPortAndSource,
            ..established.clone()
        };
        self.add("established, answer", opened_by(&opening), &answer);
        let (opening, established) = (request(self, REMOTE, true), request(self, REMOTE, false));
        self.add("established, to another node", opened_by(&opening), &established);
        let [opening, established] =
            [true, false].map(|opens| self.client_sends(outside(family), PORT, opens));
        self.add("established, masqueraded", opened_by(&opening), &established);
        self.add("new, masqueraded", Flows::Unknown, &opening).opens = true;
        let [opening, established] =
            [true, false].map(|opens| self.client_sends(pod(family, FIRST), TARGET_PORT, opens));
        self.add("established, to a pod", opened_by(&opening), &established);
        for (what, number, port) in
            [("refused, no such port", FIRST, PORT + 1), ("refused, no endpoint", EMPTY, PORT)]
        {
            let stream = self.client_sends(service(family, number), port, true);
            self.add(what, Flows::Unknown, &stream).refused = true;
        }
        let mut stream = self.client_sends(own(family), PORT, true);
        stream.result = OK;
        self.add("passed on, to the node", Flows::Unknown, &stream);
    }

    /// What the outside sends to a node port.
    fn outside_sends(&self, program: Program, port: u16, opens: bool) -> Stream {
        let packet =
            from_outside(client(self.family), own(self.family), self.transport([0, port], opens));
        let differs = Differs::SourcePortAndSource;
        Stream { program, place: Place::Uplink, packet, differs, network: 0, result: REDIRECT }
    }

    fn uplink(&mut self) {
        let family = self.family;
        let program = Program::TcUplinkIngress;
        let [opening, established] =
            [true, false].map(|opens| self.outside_sends(program, KEPT_PORT, opens));
        self.add_both(["established", "new"], &opening, &established);
        let stream = self.outside_sends(program, Backend::Absent.port(), true);
        self.add("refused, no endpoint", Flows::Unknown, &stream).refused = true;
        let mut stream = self.outside_sends(program, 22, true);
        stream.result = OK;
        self.add("passed on, to the node", Flows::Unknown, &stream);
        let packet = Packet {
            source: own(family),
            destination: client(family),
            ..from_outside(own(family), client(family), self.transport([22, 0], false))
        };
        let stream = Stream {
            program: Program::TcUplinkEgress,
            packet,
            differs: Differs::DestinationPortAndDestination,
            ..stream
        };
        self.add("passed on, the node's own", Flows::Unknown, &stream);
    }

    fn overlay(&mut self) {
        let family = self.family;
        let opening = self.client_sends(service(family, REMOTE), PORT, true);
        let transport = self.transport([TARGET_PORT, 0], false);
        let answer = Stream {
            program: Program::TcOverlayIngress,
            place: Place::Uplink,
            packet: from_outside(remote_pod(family), pod(family, CLIENT), transport),
            differs: Differs::DestinationPortAndSource,
            network: VNI_PODS,
            result: REDIRECT,
        };
        self.add("established, answer", opened_by(&opening), &answer);
        let sent = Stream { program: Program::TcOverlayEgress, result: OK, ..answer };
        self.add("passed on, sent by a program", Flows::Unknown, &sent);
    }

    fn bridge(&mut self) {
        let family = self.family;
        let opening = Stream { result: OK, ..self.client_sends(service(family, OWN), PORT, true) };
        let answer = |maker: &Self, source| Stream {
            program: Program::TcBridgeEgress,
            packet: Packet {
                source,
                ..from_pod(FIRST, pod(family, CLIENT), maker.transport([TARGET_PORT, 0], false))
            },
            differs: Differs::DestinationPortAndSource,
            ..opening.clone()
        };
        let (own_answer, other) = (answer(self, own(family)), answer(self, bridge(family)));
        self.add("established, answer of the node", opened_by(&opening), &own_answer);
        self.add("passed on, the node's own", Flows::Unknown, &other);
    }

    fn xdp(&mut self) {
        let family = self.family;
        let program = Program::XdpIngress;
        for (what, backend) in [
            (["established, by routes", "new, by routes"], Backend::RoutedKept),
            (["established, VXLAN", "new, VXLAN"], Backend::Tunnelled),
        ] {
            let [opening, established] = [true, false].map(|opens| Stream {
                result: XDP_TX,
                ..self.outside_sends(program, backend.port(), opens)
            });
            if backend == Backend::RoutedKept {
                self.add_both(what, &opening, &established);
            } else {
                // With an address of the node, there are not as many flows.
                self.add(what[1], Flows::Unknown, &opening).opens = true;
                self.add(what[0], Flows::OfTheCaseBefore, &established);
            }
        }
        let passed = |maker: &Self, port, opens| Stream {
            result: XDP_PASS,
            ..maker.outside_sends(program, port, opens)
        };
        let stream = passed(self, Backend::Local.port(), true);
        self.add("passed on, new, to a pod", Flows::Unknown, &stream);
        let mut stream = passed(self, 22, false);
        stream.packet.destination = on_link(family, 99);
        self.add("passed on, not ours", Flows::Unknown, &stream);
    }
}

fn opened_by(stream: &Stream) -> Flows {
    Flows::OpenedBy(Box::new(stream.clone()))
}
