//! Packets as JSON, for whoever builds and checks them independently.

use datapath::testing::packet::{Packet, Transport};
use serde_json::{Value, json};

use super::machine::hex;

/// The packet, field by field, and its bytes.
pub fn describe(packet: &Packet) -> Value {
    let transport = match &packet.transport {
        Transport::Tcp(tcp) => json!({
            "kind": "tcp",
            "source_port": tcp.source_port,
            "destination_port": tcp.destination_port,
            "sequence": tcp.sequence,
            "acknowledgement": tcp.acknowledgement,
            "flags": tcp.flags,
            "window": tcp.window,
            "options": hex(&tcp.options),
            "payload": hex(&tcp.payload),
        }),
        Transport::Udp(udp) => json!({
            "kind": "udp",
            "source_port": udp.source_port,
            "destination_port": udp.destination_port,
            "checksum": udp.checksum,
            "payload": hex(&udp.payload),
        }),
        Transport::Sctp(sctp) => json!({
            "kind": "sctp",
            "source_port": sctp.source_port,
            "destination_port": sctp.destination_port,
            "tag": sctp.tag,
            "chunk": sctp.chunk,
            "rest": hex(&sctp.rest),
        }),
        Transport::Icmp { kind, code, body } => {
            json!({ "kind": "icmp", "type": kind, "code": code, "body": hex(body) })
        }
        Transport::Raw { protocol, bytes } => {
            json!({ "kind": "raw", "protocol": protocol, "bytes": hex(bytes) })
        }
    };
    let extensions: Vec<_> = packet
        .extensions
        .iter()
        .map(|(kind, body)| json!({ "kind": kind, "body": hex(body) }))
        .collect();
    json!({
        "ether_source": mac(packet.ether_source),
        "ether_destination": mac(packet.ether_destination),
        "source": packet.source,
        "destination": packet.destination,
        "hop_limit": packet.hop_limit,
        "traffic_class": packet.traffic_class,
        "identification": packet.identification,
        "dont_fragment": packet.dont_fragment,
        "options": hex(&packet.options),
        "extensions": extensions,
        "fragment": packet.fragment,
        "padding": packet.padding,
        "transport": transport,
        "bytes": hex(&packet.bytes()),
    })
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
