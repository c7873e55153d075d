//! Packets: from anywhere to anything that services have, or might have.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    pick::one_of,
    services::{MOST_PORTS, MOST_SERVICES, PORTS, balancer_ip, cluster_ip, external_ip, node_port},
};

/// A packet, as the conformance table writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Who sends it.
    pub from: String,
    /// To whom: `ADDRESS:PORT/PROTOCOL`, or `ADDRESS/ICMP`.
    pub to: String,
    /// How long nothing happens before.
    #[serde(default)]
    pub after_seconds: u32,
}

/// Who sends packets: pods of this node, some of which are endpoints; processes of this node, from
/// each of its addresses; pods of the other node, that node, and the outside.
const SOURCES: [&str; 12] = [
    "10.244.0.9",
    "10.244.0.2",
    "10.244.0.3",
    "192.168.0.2",
    "192.168.1.2",
    "10.244.1.9",
    "10.244.1.2",
    "192.168.0.3",
    "172.31.0.2",
    "172.31.0.20",
    "172.31.0.130",
    "172.31.0.50",
];

/// Where nothing is, or something else than a service.
const ELSEWHERE: [&str; 9] = [
    "10.96.200.1",
    "172.29.0.200",
    "172.28.0.200",
    "10.244.0.3",
    "10.244.1.3",
    "192.168.0.3",
    "10.244.0.1",
    "172.31.0.99",
    "10.244.0.99",
];

/// The addresses of the node that node ports may be on.
const NODE_ADDRESSES: [&str; 4] = ["192.168.0.2", "192.168.1.2", "10.244.0.1", "127.0.0.1"];

/// A packet.
pub(super) fn any_packet() -> impl Strategy<Value = Written> {
    let source = one_of(&SOURCES);
    let numbers = (0..MOST_SERVICES, 0..MOST_PORTS, 0..16_usize);
    (source, 0..20_u32, numbers, 0..25_u32).prop_map(|(from, kind, numbers, pause)| {
        // No pauses add up to a timeout of a service: nothing is promised of that very moment.
        let after_seconds = match pause {
            24 => 8,
            23 => 3,
            _ => 0,
        };
        Written { from: from.to_owned(), to: target(kind, numbers), after_seconds }
    })
}

fn target(kind: u32, (service, port, number): (usize, usize, usize)) -> String {
    let (protocol, port_number) = PORTS[port];
    let other_protocol = if protocol == "TCP" { "UDP" } else { "TCP" };
    let on_node = NODE_ADDRESSES[number % NODE_ADDRESSES.len()];
    let elsewhere = ELSEWHERE[number % ELSEWHERE.len()];
    let own = [cluster_ip(service), external_ip(service), balancer_ip(service)];
    let any_own = &own[number % own.len()];
    match kind {
        0..=5 => format!("{}:{port_number}/{protocol}", own[0]),
        6 | 7 => format!("{}:{port_number}/{protocol}", own[1]),
        8..=10 => format!("{}:{port_number}/{protocol}", own[2]),
        11..=13 => format!("{on_node}:{}/{protocol}", node_port(service, port)),
        14 => format!("{any_own}:{}/{protocol}", 81 + number),
        15 => format!("{any_own}:{port_number}/{other_protocol}"),
        16 => format!("{any_own}/ICMP"),
        17 => format!("{on_node}:{}/{other_protocol}", node_port(service, port)),
        18 => format!("{elsewhere}/ICMP"),
        _ => format!("{elsewhere}:{port_number}/{protocol}"),
    }
}
