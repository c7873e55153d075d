//! Section 7.5: host ports, as CNI's `portmap` has them.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};

use super::{World, pods::addresses, service::protocol, text};
use crate::conformance::{Packet, Side};

/// The pod's address and port that a packet is for by a host port.
pub(super) fn target(world: &World, packet: &Packet) -> Option<SocketAddr> {
    let here = world.objects.pods.iter().filter(|pod| is_here(world, pod));
    here.flat_map(|pod| ports(pod).map(move |port| (pod, port))).find_map(|(pod, port)| {
        if !is_sent_to(world, packet, port) {
            return None;
        }
        let is_of_family =
            |address: &std::net::IpAddr| address.is_ipv4() == packet.destination.is_ipv4();
        let address = addresses(pod, None).into_iter().find(is_of_family)?;
        Some(SocketAddr::new(address, u16::try_from(port.container_port).ok()?))
    })
}

/// Whether a pod runs on this node, in a network of its own.
fn is_here(world: &World, pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref();
    spec.is_some_and(|spec| {
        let node = spec.node_name.as_deref().unwrap_or_default();
        node.eq_ignore_ascii_case(&world.here.name) && spec.host_network != Some(true)
    }) && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The ports of containers that do not end before the others begin.
fn ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.as_ref();
    let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let init = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let containers = spec.map(|spec| &spec.containers).into_iter().flatten();
    containers.chain(init.filter(stays)).flat_map(|it| it.ports.iter().flatten())
}

fn is_sent_to(world: &World, packet: &Packet, port: &ContainerPort) -> bool {
    let number = port.host_port.filter(|number| *number != 0);
    if number != Some(i32::from(packet.destination.port()))
        || protocol(port.protocol.as_deref()) != Some(packet.protocol)
    {
        return false;
    }
    let address = packet.destination.ip();
    // A loopback address is the node's for nobody but the node.
    let is_the_nodes = if address.is_loopback() {
        packet.side == Side::Node
    } else {
        world.here.addresses.contains(&address)
    };
    let host_ip = port.host_ip.as_deref().filter(|it| !it.is_empty()).and_then(text::address);
    is_the_nodes
        && match host_ip {
            Some(any) if any.is_unspecified() && any.is_ipv4() != address.is_ipv4() => false,
            Some(one) if !one.is_unspecified() => one == address,
            // Of all that are called so, the host's name is one only.
            _ => !address.is_loopback() || ["127.0.0.1", "::1"].contains(&&*address.to_string()),
        }
}
