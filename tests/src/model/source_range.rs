//! `loadBalancerSourceRanges`: who may use a balancer's addresses.

use ipnet::IpNet;

use super::{Here, objects::Objects, service::Proxied, text};
use crate::conformance::Packet;

/// Whether the Service lets a packet in that was sent to its balancer.
pub(super) fn admits(objects: &Objects, here: &Here, service: &Proxied, packet: &Packet) -> bool {
    let ranges: Vec<IpNet> = service
        .source_ranges
        .iter()
        .filter_map(|range| text::network(range))
        .filter(|range| range.addr().is_ipv4() == packet.source.is_ipv4())
        .collect();
    // None of this family, or one that holds all addresses: no filter.
    if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return true;
    }
    let is_in_a_range = |address| ranges.iter().any(|range| range.contains(&address));
    if is_in_a_range(packet.source) {
        return true;
    }
    // A node that may use the balancer may have its address, and talk to it from there.
    let own = objects.nodes.get(&here.name.to_ascii_lowercase());
    let status = own.and_then(|node| node.status.as_ref());
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let mut addresses = addresses.filter_map(|entry| text::address(&entry.address));
    packet.source == packet.destination.ip() && addresses.any(is_in_a_range)
}
