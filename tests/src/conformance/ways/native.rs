//! The agent's compiler and the datapath, as native code.

use std::{net::IpAddr, time::Duration};

use datapath::{
    packet::PacketRead as _,
    parse::{Parsed, parse},
    socket::{Socket, SocketVerdict, decide_socket},
    testing::{
        frame::Frame,
        node::{Node, NodeFamily},
        packet::{Packet as Description, Tcp, Transport, Udp, flags},
        stages::{self, Action, Hook},
        surroundings::Script,
    },
};
use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, Port, Protocol as WireProtocol},
    counters::Program,
};
use serde_json::Value;

use super::{
    Machine,
    agent::{self, Agent, UPLINK},
    tables::SharedTables,
};
use crate::conformance::{
    Cast, Config, Packet, Protocol, Side, Way, packet::Outcome, scenario::ObjectRef,
};

/// How many connections there is room for, of each family.
pub const CONNECTIONS: usize = 10_000;
/// The Ethernet address of the bridge.
const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// The Ethernet address of the uplink.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// The Ethernet address of the next hop outside.
pub const HOP_MAC: [u8; 6] = [2, 0, 0, 0, 3, 2];

/// The node, with what the agent wrote.
#[derive(Debug, Default)]
pub struct NativeMachine {
    begun: Option<Begun>,
    ports: SourcePorts,
    /// How often a node has begun; chance follows from it.
    begun_before: u64,
}

#[derive(Debug)]
struct Begun {
    agent: Agent,
    tables: SharedTables,
}

/// Source ports, one after the other: none is used again before thousands of others were.
#[derive(Clone, Copy, Debug)]
pub struct SourcePorts(u16);

impl Default for SourcePorts {
    fn default() -> Self {
        Self(FIRST_PORT)
    }
}

const FIRST_PORT: u16 = 20_000;

impl SourcePorts {
    /// The next one.
    pub fn take(&mut self) -> u16 {
        self.0 = if self.0 >= 29_999 { FIRST_PORT } else { self.0 + 1 };
        self.0
    }
}

/// Where a packet is met: the program, and the interface that it came in by.
pub fn hook(packet: &Packet) -> (Program, IfIndex) {
    match packet.side {
        Side::Pod => {
            (Program::TcPodIngress, agent::link(agent::pod_number(packet.source)).interface)
        }
        Side::Node => (Program::TcUplinkEgress, UPLINK),
        Side::Outside => (Program::TcUplinkIngress, UPLINK),
    }
}

/// The frame of a packet from this source port; an echo's identifier is its.
pub fn frame(packet: &Packet, source_port: u16) -> Vec<u8> {
    let port = packet.destination.port();
    let transport = match packet.protocol {
        Protocol::Tcp => Transport::Tcp(Tcp::new(source_port, port, flags::SYN)),
        Protocol::Udp => Transport::Udp(Udp::new(source_port, port, vec![0x5a; 18])),
        Protocol::Sctp => Transport::Raw { protocol: 132, bytes: sctp_init(source_port, port) },
        Protocol::Icmp => {
            let kind = if packet.source.is_ipv4() { 8 } else { 128 };
            let mut body = source_port.to_be_bytes().to_vec();
            body.extend([0, 1]);
            body.extend([0x5a; 16]);
            Transport::Icmp { kind, code: 0, body }
        }
    };
    let mut description = Description::new(packet.source, packet.destination.ip(), transport);
    (description.ether_source, description.ether_destination) = match packet.side {
        Side::Pod => (agent::pod_mac(agent::pod_number(packet.source)), BRIDGE_MAC),
        Side::Node => (OWN_MAC, HOP_MAC),
        Side::Outside => (HOP_MAC, OWN_MAC),
    };
    description.bytes()
}

/// An SCTP packet with an INIT chunk (RFC 9260 section 3.3.2), and its CRC32c.
fn sctp_init(source_port: u16, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([1, 0, 0, 20, 0x12, 0x34, 0x56, 0x78, 0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]);
    let checksum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&checksum);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// What a frame says after a program has seen it.
pub fn what_became(packet: &Packet, before: &[u8], after: &[u8], fate: Handled) -> Outcome {
    match fate {
        Handled::Dropped => return Outcome::Dropped,
        Handled::Answered => return Outcome::Refused,
        Handled::SentOn => {}
    }
    if before == after {
        return Outcome::Passed;
    }
    let ends =
        if packet.source.is_ipv4() { ends::<Ipv4Wire>(after) } else { ends::<Ipv6Wire>(after) };
    let Some((source, destination, port)) = ends else { return Outcome::Dropped };
    let port = if packet.protocol == Protocol::Icmp { 0 } else { port };
    if destination == packet.destination.ip() && port == packet.destination.port() {
        return Outcome::Passed;
    }
    Outcome::Reached {
        backend: (destination, port).into(),
        masqueraded: Some(source != packet.source),
    }
}

/// What a program has done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It is dropped.
    Dropped,
    /// It has become an answer.
    Answered,
    /// It goes on.
    SentOn,
}

fn ends<A: NodeFamily>(frame: &[u8]) -> Option<(IpAddr, IpAddr, u16)> {
    let frame = Frame::new(frame.to_vec());
    let Parsed::Facts(facts) = parse::<A>(&frame) else { return None };
    let [high, low] = frame.load(facts.transport_offset + 2)?;
    let port = u16::from_be_bytes([high, low]);
    Some((facts.flow.source.ip(), facts.flow.destination.ip(), port))
}

impl NativeMachine {
    /// The tables, once something has begun.
    ///
    /// # Panics
    ///
    /// Nothing has begun yet.
    pub fn tables(&self) -> &SharedTables {
        &self.begun.as_ref().expect("a node has begun").tables
    }
}

impl Machine for NativeMachine {
    fn way(&self) -> Way {
        Way::Native
    }

    fn begin(&mut self, cast: &Cast, config: &Config) {
        let tables = SharedTables::new(CONNECTIONS);
        tables.write(|written| {
            for cast in cast.families() {
                match cast.bridge {
                    IpAddr::V4(address) => written.node.bridge.0 = address.into(),
                    IpAddr::V6(address) => written.node.bridge.1 = address.into(),
                }
            }
            written.node.script = Script::new(1000, self.begun_before);
        });
        self.begun_before += 1;
        let agent = Agent::new(cast, config, tables.clone());
        self.begun = Some(Begun { agent, tables });
    }

    fn change(&mut self, set: &[Value], remove: &[ObjectRef]) {
        self.begun.as_mut().expect("a node has begun").agent.change(set, remove);
    }

    fn forget(&mut self) {
        self.tables().read(|written| {
            let Node { v4, v6, .. } = &written.node;
            v4.connections.borrow_mut().clear();
            v6.connections.borrow_mut().clear();
            v4.affinities.borrow_mut().clear();
            v6.affinities.borrow_mut().clear();
        });
    }

    fn wait(&mut self, seconds: u32) {
        self.tables().read(|written| written.node.script.pass(Duration::from_secs(seconds.into())));
    }

    fn cannot(&self, _packet: &Packet) -> Option<&'static str> {
        None
    }

    fn open(&mut self, packet: &Packet) -> Outcome {
        let port = self.ports.take();
        self.tables().read(|written| {
            let has_socket = matches!(packet.protocol, Protocol::Tcp | Protocol::Udp);
            if packet.side == Side::Node && has_socket {
                return by_socket(packet, &written.node);
            }
            by_frame(packet, port, &written.node)
        })
    }
}

fn by_frame(packet: &Packet, port: u16, node: &Node) -> Outcome {
    let (program, interface) = hook(packet);
    let before = frame(packet, port);
    let mut frame = Frame::new(before.clone());
    let action = stages::run(&mut frame, node, Hook { program, interface, handed: false });
    let handled = match action {
        Action::Shot => Handled::Dropped,
        Action::Back(_) => Handled::Answered,
        Action::Ok
        | Action::ToPod(_)
        | Action::Tunnelled(_)
        | Action::Handed(_)
        | Action::Routed => Handled::SentOn,
    };
    what_became(packet, &before, frame.bytes(), handled)
}

fn by_socket(packet: &Packet, node: &Node) -> Outcome {
    match packet.destination.ip() {
        IpAddr::V4(address) => by_socket_of(Ipv4Wire::from(address), packet, node),
        IpAddr::V6(address) => by_socket_of(Ipv6Wire::from(address), packet, node),
    }
}

/// What a socket of the node's own is told when it connects or sends.
fn by_socket_of<A: NodeFamily>(address: A, packet: &Packet, node: &Node) -> Outcome {
    let protocol = match packet.protocol {
        Protocol::Udp => WireProtocol::UDP,
        _ => WireProtocol::TCP,
    };
    let source = A::from_ip(packet.source).expect("both ends are of one family");
    let socket = Socket { address: source, protocol, is_nodes: true };
    let port = Port::new(packet.destination.port());
    match decide_socket(&socket, address, port, A::tables(node), node) {
        SocketVerdict::Pass => Outcome::Passed,
        SocketVerdict::Translate { address, port, .. } => {
            Outcome::Reached { backend: (address.ip(), port.number()).into(), masqueraded: None }
        }
        SocketVerdict::Refuse(_) => Outcome::Refused,
        SocketVerdict::Drop(_) => Outcome::Dropped,
    }
}
