//! Section 1.6: which addresses of the node answer on node ports.

use std::net::IpAddr;

use super::{World, text};
use crate::conformance::{Packet, Side, scenario::NodePortAddresses};

/// Whether the address that a packet was sent to answers on node ports.
pub(super) fn answers(world: &World, packet: &Packet) -> bool {
    let address = packet.destination.ip();
    if address.is_loopback() {
        return packet.side == Side::Node
            && world.config.localhost_node_ports
            && is_chosen_or_all(world, address);
    }
    match &world.config.node_port_addresses {
        NodePortAddresses::Primary => primary(world).contains(&address),
        NodePortAddresses::Within(_) => {
            world.here.addresses.contains(&address) && is_chosen_or_all(world, address)
        }
    }
}

/// Whether an address of the node's is in one of the networks that are given, if any of its family
/// is.
fn is_chosen_or_all(world: &World, address: IpAddr) -> bool {
    let NodePortAddresses::Within(networks) = &world.config.node_port_addresses else {
        return true;
    };
    let mut of_family =
        networks.iter().filter(|network| network.addr().is_ipv4() == address.is_ipv4()).peekable();
    of_family.peek().is_none() || of_family.any(|network| network.contains(&address))
}

/// The addresses that the node's own object names first, one of each family (section 2.5).
fn primary(world: &World) -> Vec<IpAddr> {
    let own = world.objects.nodes.get(&world.here.name.to_ascii_lowercase());
    let status = own.and_then(|node| node.status.as_ref());
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let of_type = |wanted: &'static str| {
        let entries = addresses.clone().filter(move |entry| entry.type_ == wanted);
        entries.filter_map(|entry| text::address(&entry.address))
    };
    let in_order: Vec<IpAddr> = of_type("InternalIP").chain(of_type("ExternalIP")).collect();
    let first = |is_v4| in_order.iter().find(|address| address.is_ipv4() == is_v4).copied();
    [true, false].into_iter().filter_map(first).collect()
}
