//! What is sent, and who has to receive what.

use datapath::{
    packet::PacketRead,
    testing::{
        frame::{ChecksumState, Frame},
        packet::{Packet, Tcp, Transport, chunks, flags},
    },
};
use maps_schema::address::Family;
use serde_json::{Value, json};
use tests::packets::{
    answers::{reset, unreachable_quoting},
    machine::hex,
    world::{
        BACKEND, CLIENT, EMPTY_SERVICE, OTHER_BACKEND, PORT, SAME_PORT_SERVICE, SERVICE,
        TARGET_PORT, answered, from_pod, mac, payload, pod, reaching, request, sctp, tcp, udp,
    },
};

pub(super) const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const SEGMENT: usize = 1448;

/// Makes a packet's content from its ports.
type Make = fn(u16, u16) -> Transport;

/// A frame to send, and who receives what.
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) sender: u8,
    pub(super) sent: Value,
    pub(super) receiver: u8,
    pub(super) expected: Value,
}

/// How a stack hands over a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    Complete,
    Offloaded,
    ToBeCut,
}

/// The frame and what goes with it, as `vnet.py` takes and gives it.
fn described(packet: &Packet, handover: Handover) -> Value {
    let frame = match handover {
        Handover::Complete => Frame::new(packet.bytes()),
        Handover::Offloaded | Handover::ToBeCut => packet.offloaded(),
    };
    let gso_type = match (handover, packet.source.is_ipv4()) {
        (Handover::ToBeCut, true) => GSO_TCPV4,
        (Handover::ToBeCut, false) => GSO_TCPV6,
        _ => 0,
    };
    let (start, offset) = match frame.checksum() {
        // What goes with a frame has no words for SCTP's: it is as one that nobody has made yet.
        ChecksumState::Full | ChecksumState::PartialCrc { .. } => (0, 0),
        ChecksumState::Partial { start, field } => (start, field),
    };
    json!({
        "bytes": hex(frame.bytes()),
        "flags": if start == 0 { 0 } else { NEEDS_CSUM },
        "gso_type": gso_type,
        "gso_size": if gso_type == 0 { 0 } else { SEGMENT },
        "header_length": if gso_type == 0 { 0 } else { start + 20 },
        "checksum_start": start,
        "checksum_offset": offset,
        "checksum_not_ready": start != 0,
        "length": frame.length(),
    })
}

pub(super) fn vectors(family: Family) -> Vec<Vector> {
    let mut vectors = Vec::new();
    let mut port = 40000;
    let mut add = |name: String, sender, input: &Packet, receiver, output: &Packet, handover| {
        let expected = described(output, handover);
        let sent = described(input, handover);
        vectors.push(Vector { name, sender, sent, receiver, expected });
    };
    let kinds: [(&str, Make); 6] = [
        ("SYN", |s, d| tcp(s, d, flags::SYN)),
        ("SYN with data", |s, d| {
            Transport::Tcp(Tcp { payload: payload(501), ..Tcp::new(s, d, flags::SYN) })
        }),
        ("even UDP", |s, d| udp(s, d, 64)),
        ("odd UDP", |s, d| udp(s, d, 1201)),
        ("empty UDP", |s, d| udp(s, d, 0)),
        ("INIT", |s, d| sctp(s, d, chunks::INIT)),
    ];
    let services = [(SERVICE, BACKEND, TARGET_PORT), (SAME_PORT_SERVICE, OTHER_BACKEND, PORT)];
    for handover in [Handover::Complete, Handover::Offloaded] {
        for (kind, make) in kinds {
            for (number, backend, target) in services {
                port += 1;
                let input = request(family, number, make(port, PORT));
                let output = reaching(&input, backend, make(port, target));
                let name = format!("{kind} {handover:?} to {target}, {family:?}");
                add(name, CLIENT, &input, backend, &output, handover);
                let back = from_pod(backend, pod(family, CLIENT), make(target, port));
                let got = answered(&back, number, make(PORT, port));
                let name = format!("{kind} {handover:?} back from {target}, {family:?}");
                add(name, backend, &back, CLIENT, &got, handover);
            }
            port += 1;
            let input = Packet {
                ether_destination: mac(BACKEND),
                ..from_pod(CLIENT, pod(family, BACKEND), make(port, PORT))
            };
            let name = format!("{kind} {handover:?} from pod to pod, {family:?}");
            add(name, CLIENT, &input, BACKEND, &input, handover);
        }
    }
    for (number, backend, target) in services {
        port += 1;
        let open = request(family, number, tcp(port, PORT, flags::SYN));
        let opened = reaching(&open, backend, tcp(port, target, flags::SYN));
        add(
            format!("SYN to {target}, {family:?}"),
            CLIENT,
            &open,
            backend,
            &opened,
            Handover::Offloaded,
        );
        let data = |destination| {
            let payload = payload(3 * SEGMENT + 17);
            Transport::Tcp(Tcp { payload, ..Tcp::new(port, destination, flags::ACK) })
        };
        let input = request(family, number, data(PORT));
        let output = reaching(&input, backend, data(target));
        let name = format!("data to be cut to {target}, {family:?}");
        add(name, CLIENT, &input, backend, &output, Handover::ToBeCut);
    }
    vectors
}

/// A RST's checksum is as unfinished as that of what it answers; an ICMP message's is complete.
pub(super) fn refusals(family: Family) -> Vec<Vector> {
    let syn = request(family, EMPTY_SERVICE, tcp(50001, PORT, flags::SYN));
    let datagram = request(family, EMPTY_SERVICE, udp(50002, PORT, 333));
    let unreachable = unreachable_quoting(&datagram, datagram.offloaded().bytes());
    let lost = Transport::Tcp(Tcp { payload: payload(4000), ..Tcp::new(50003, PORT, flags::ACK) });
    let lost = request(family, SERVICE, lost);
    [
        ("SYN refused", reset(&syn).offloaded(), syn, Handover::Offloaded),
        ("UDP refused", Frame::new(unreachable.bytes()), datagram, Handover::Offloaded),
        ("data to be cut refused", reset(&lost).offloaded(), lost, Handover::ToBeCut),
    ]
    .into_iter()
    .map(|(name, answer, input, handover)| Vector {
        name: format!("{name}, {family:?}"),
        sender: CLIENT,
        sent: described(&input, handover),
        receiver: CLIENT,
        expected: json!({ "bytes": hex(answer.bytes()) }),
    })
    .collect()
}

/// A request for a service in a VLAN, which is another network: no pod may get it.
pub(super) fn tagged(family: Family) -> Value {
    let bytes = request(family, SERVICE, udp(50009, PORT, 77)).bytes();
    let (addresses, rest) = bytes.split_at(12);
    let bytes = [addresses, &[0x81, 0, 0, 7], rest].concat();
    let mut sent = described(&request(family, SERVICE, udp(50009, PORT, 77)), Handover::Complete);
    sent["bytes"] = json!(hex(&bytes));
    sent
}
