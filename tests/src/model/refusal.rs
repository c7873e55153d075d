//! Section 1.5: what becomes of packets that no endpoint can get.

use std::net::IpAddr;

use super::{World, categorize::Categories, matrix::Backends, service, text};
use crate::conformance::{Fate, Packet};

/// There is a service port, and nothing in its list: refused where nobody serves anywhere, dropped
/// where somebody does elsewhere.
pub(super) fn without_backends(categories: &Categories<'_>, list: Backends) -> Fate {
    match list {
        Backends::Local if categories.has_any => Fate::Drop,
        Backends::Local | Backends::Cluster => Fate::Refuse,
    }
}

/// There is no service port: a service's own address refuses, one that may yet become a service's
/// drops, and all else is not ours.
pub(super) fn without_port(world: &World, packet: &Packet) -> Fate {
    let address = packet.destination.ip();
    let is_services = world.services.iter().any(|service| service.has_address(address));
    if is_services && !is_nodes(world, address) {
        Fate::Refuse
    } else if is_unallocated(world, address) {
        Fate::Drop
    } else {
        Fate::Pass
    }
}

/// An external address may be a node's: what else is sent there is that node's.
fn is_nodes(world: &World, address: IpAddr) -> bool {
    world.objects.nodes.values().any(|node| {
        let status = node.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
        addresses
            .filter(|entry| entry.type_ == "InternalIP")
            .any(|entry| text::address(&entry.address) == Some(address))
    })
}

/// Another proxy's Service has its cluster IP, though it is none here.
fn is_unallocated(world: &World, address: IpAddr) -> bool {
    if world.objects.services.iter().any(|service| service::is_anothers(service, address)) {
        return false;
    }
    let configured = world.config.service_cidrs.iter().copied();
    configured.chain(world.objects.service_networks()).any(|network| network.contains(&address))
}
