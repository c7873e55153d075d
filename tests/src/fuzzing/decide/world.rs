//! A node and what happens there, from a fuzzer's bytes: the node of the packet fixtures, with
//! whatever else in its tables.

use std::net::IpAddr;

use datapath::testing::{
    frame::Frame,
    node::{Endpoint, Node},
    packet::{Packet, Sctp, Tcp, Transport, Udp},
    stages::Hook,
};
use maps_schema::{
    address::{Family, Protocol},
    counters::Program,
    service::{Audience, ClientAddress, ServiceId, ServiceRecord, Slot, WhenEmpty},
    way::{NodeId, Way},
};

use crate::{
    fuzzing::bytes::Bytes,
    packets::world::{self, PORT, TARGET_PORT, bridge, elsewhere, from_pod, link, pod, service},
};

/// Something that happens.
pub(super) enum Event {
    /// Time passes, in units of the coarse clock.
    Time(u8),
    /// The next random number is this one.
    Chance(u32),
    /// The agent finds a flow to be over.
    Reaper(u8),
    /// A packet comes.
    Packet(Hook, Frame),
}

const PACKET_AS_IT_IS: u8 = 3;
const KINDS: u8 = 5;
const PROGRAMS: [Program; 5] = [
    Program::TcPodIngress,
    Program::TcUplinkIngress,
    Program::TcOverlayIngress,
    Program::TcBridgeEgress,
    Program::TcUplinkEgress,
];
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const PORTS: [u16; 8] = [PORT, TARGET_PORT, 30080, 40000, 40001, 61000, 1024, 0];
const WAYS: [Way; 7] = [
    Way::Stack,
    Way::Outside,
    Way::Tunnel(NodeId(2)),
    Way::Route(NodeId(2)),
    Way::Route(NodeId::NONE),
    Way::Tunnel(NodeId::NONE),
    Way::Nowhere,
];

/// The event of each of these packets, on the node of the packet fixtures as it is.
pub(super) fn encode(packets: &[(Program, Vec<u8>)]) -> Vec<u8> {
    let mut input = vec![0, 0, 0];
    for (program, frame) in packets {
        let program = PROGRAMS.iter().position(|known| known == program).unwrap_or(0);
        let length = u16::try_from(frame.len()).unwrap_or(u16::MAX);
        input.extend([PACKET_AS_IT_IS, u8::try_from(program).unwrap_or(0), 0]);
        input.extend(length.to_le_bytes());
        input.extend(frame.iter().take(length.into()));
    }
    input
}

/// The node.
pub(super) fn world(bytes: &mut Bytes<'_>) -> Node {
    let mut node = world::node(16 - bytes.below(16));
    for family in FAMILIES {
        node.add_own_address(bridge(family));
        node.add_own_address(outside(family, 1));
        node.add_network(pod(family, 0), if family == Family::V4 { 24 } else { 112 }, Way::Stack);
        node.add_network(outside(family, 0), 0, Way::Outside);
    }
    if let (IpAddr::V4(v4), IpAddr::V6(v6)) = (outside(Family::V4, 1), outside(Family::V6, 1)) {
        node.uplink = (v4.into(), v6.into());
    }
    let is_narrow = bytes.yes();
    if is_narrow {
        node.masquerade_ports = (1024, 1026);
        node.socket_ports = vec![1025, 30080];
    }
    for _ in 0..bytes.below(12) {
        add_anything(&mut node, bytes);
    }
    node
}

fn add_anything(node: &mut Node, bytes: &mut Bytes<'_>) {
    let family = bytes.one_of(FAMILIES);
    let (address, port) = (any_address(bytes, family), bytes.one_of(PORTS));
    let protocol = bytes.one_of([Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMP]);
    match bytes.below(7) {
        0 => {
            let endpoints: Vec<Endpoint> =
                (0..bytes.below(4)).map(|_| any_endpoint(bytes, family)).collect();
            node.add_service(address, port, protocol, &endpoints);
        }
        1 => {
            let when_empty = bytes.one_of([WhenEmpty::Refuse, WhenEmpty::Drop]);
            let slots = bytes.one_of([0, 1, 3, u32::MAX >> 9]);
            let record = ServiceRecord::new(Slot(bytes.byte().into()), slots, when_empty);
            let maglev = bytes.below(5);
            let maglev = u32::try_from(maglev).unwrap_or(0);
            node.add_frontend(address, port, protocol, record.with_maglev(maglev));
        }
        2 => {
            let audience = bytes.one_of([Audience::Inside, Audience::Outside, Audience::Handed]);
            let client = bytes.one_of([
                ClientAddress::Kept,
                ClientAddress::Masqueraded,
                ClientAddress::Direct,
            ]);
            let service = ServiceId(u32::from(bytes.byte()) % 72);
            // What is handed over for any node's address.
            let address = match (bytes.yes(), family) {
                (false, _) => address,
                (true, Family::V4) => IpAddr::from([0; 4]),
                (true, Family::V6) => IpAddr::from([0; 16]),
            };
            node.lead(address, port, protocol, (audience, client), service);
        }
        3 => node.add_own_address(address),
        4 => {
            let (service, group) = (bytes.byte() % 72, bytes.byte() % 72);
            let seconds = bytes.byte().into();
            node.keep_clients(ServiceId(service.into()), ServiceId(group.into()), seconds);
        }
        5 => {
            let bits = if family == Family::V4 { 32 } else { 128 };
            let range = (any_address(bytes, family), u32::from(bytes.byte()) % (bits + 1));
            node.restrict(ServiceId(u32::from(bytes.byte()) % 72), &[range]);
        }
        _ => {
            let bits = if family == Family::V4 { 32 } else { 128 };
            let length = u32::from(bytes.byte()) % (bits + 1);
            node.add_network(address, length, bytes.one_of(WAYS));
        }
    }
}

fn any_endpoint(bytes: &mut Bytes<'_>, family: Family) -> Endpoint {
    let (address, port) = (any_address(bytes, family), bytes.one_of(PORTS));
    let way = match bytes.below(3) {
        0 => Way::Pod(link(2 + bytes.byte() % 3)),
        _ => bytes.one_of(WAYS),
    };
    Endpoint { address, port, way }
}

/// An address outside of the cluster; the first is the node's own.
fn outside(family: Family, number: u8) -> IpAddr {
    match (elsewhere(family), number) {
        (IpAddr::V4(address), number) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, number])
        }
        (IpAddr::V6(address), number) => {
            let mut octets = address.octets();
            octets[15] = number;
            IpAddr::from(octets)
        }
    }
}

fn any_address(bytes: &mut Bytes<'_>, family: Family) -> IpAddr {
    let number = bytes.byte();
    match number / 16 {
        0..=4 => service(family, number % 16),
        5..=9 => pod(family, number % 8),
        10..=11 => pod(family, 96 + number % 8),
        12..=14 => outside(family, number % 8),
        _ => match family {
            Family::V4 => IpAddr::from(bytes.array::<4>()),
            Family::V6 => IpAddr::from(bytes.array::<16>()),
        },
    }
}

/// The next event.
pub(super) fn event(bytes: &mut Bytes<'_>) -> Event {
    match bytes.byte() % KINDS {
        0 => Event::Time(bytes.byte()),
        1 => Event::Chance(bytes.long()),
        2 => Event::Reaper(bytes.byte()),
        PACKET_AS_IT_IS => {
            let (program, handed) = (bytes.one_of(PROGRAMS), bytes.yes());
            let length = bytes.word();
            let frame = bytes.slice(length.into()).to_vec();
            Event::Packet(hook(program, handed, &frame), Frame::new(frame))
        }
        _ => {
            let program = bytes.one_of(PROGRAMS);
            let (handed, offloaded) = (bytes.yes(), bytes.yes());
            let packet = any_packet(bytes);
            let frame = if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) };
            Event::Packet(hook(program, handed, &packet.bytes()), frame)
        }
    }
}

fn hook(program: Program, handed: bool, frame: &[u8]) -> Hook {
    let handed = handed && program == Program::TcOverlayIngress;
    Hook { program, interface: world::interface(frame), handed }
}

fn any_packet(bytes: &mut Bytes<'_>) -> Packet {
    let family = bytes.one_of(FAMILIES);
    let sender = 2 + bytes.byte() % 3;
    let destination = any_address(bytes, family);
    let transport = any_transport(bytes, family, 0);
    let mut packet = from_pod(sender, destination, transport);
    if bytes.yes() {
        packet.source = any_address(bytes, family);
    }
    let shape = bytes.byte();
    if shape & 1 == 1 {
        packet.hop_limit = bytes.byte() % 4;
    }
    if shape & 2 == 2 {
        packet.padding = bytes.below(20);
    }
    match family {
        Family::V4 => packet.options = vec![1; usize::from(shape >> 2 & 3) * 4],
        Family::V6 => packet.extensions = vec![(60, vec![0; 6]); (shape >> 2 & 3).into()],
    }
    if shape & 0x30 == 0x30 {
        packet.dont_fragment = false;
        packet.identification = bytes.byte().into();
        let fragments = packet.fragments(8 * (1 + bytes.below(4)));
        let chosen = bytes.below(fragments.len().max(1));
        return fragments.get(chosen).cloned().unwrap_or(packet);
    }
    packet
}

fn any_transport(bytes: &mut Bytes<'_>, family: Family, depth: u8) -> Transport {
    let (source_port, destination_port) = (bytes.one_of(PORTS), bytes.one_of(PORTS));
    let icmp = |kinds: [u8; 2], code, body| {
        let kind = kinds[usize::from(family == Family::V6)];
        Transport::Icmp { kind, code, body }
    };
    match bytes.below(if depth == 0 { 8 } else { 5 }) {
        0 => {
            let flags = bytes.byte() & 0x3f;
            let payload = payload(bytes);
            Transport::Tcp(Tcp { payload, ..Tcp::new(source_port, destination_port, flags) })
        }
        1 => {
            let chunk = bytes.byte() % 16;
            let rest = payload(bytes);
            Transport::Sctp(Sctp { rest, ..Sctp::new(source_port, destination_port, chunk) })
        }
        2 => Transport::Udp(Udp::new(source_port, destination_port, payload(bytes))),
        3 | 4 => {
            let kinds = bytes.one_of([[8, 128], [0, 129]]);
            let body = [&source_port.to_be_bytes()[..], &[0, 1], &payload(bytes)].concat();
            icmp(kinds, 0, body)
        }
        5 | 6 => {
            let kinds = bytes.one_of([[3, 1], [11, 3], [12, 4], [3, 2], [5, 137]]);
            let quoted = quoted(bytes, family);
            icmp(kinds, bytes.byte() % 6, [&[0, 0, 5, 0][..], &quoted].concat())
        }
        _ => Transport::Raw { protocol: bytes.byte(), bytes: payload(bytes) },
    }
}

/// A packet as an error quotes it, or the beginning of one.
fn quoted(bytes: &mut Bytes<'_>, family: Family) -> Vec<u8> {
    let (source, destination) = (any_address(bytes, family), any_address(bytes, family));
    let transport = any_transport(bytes, family, 1);
    let packet = Packet::new(source, destination, transport).bytes();
    let mut quoted = packet.get(14..).unwrap_or_default().to_vec();
    if bytes.yes() {
        quoted.truncate(bytes.byte().into());
    }
    quoted
}

fn payload(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let length = bytes.below(24);
    bytes.slice(length).to_vec()
}
