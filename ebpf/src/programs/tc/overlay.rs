//! The overlay: packets to other nodes in VXLAN, and from them.
//!
//! The device collects metadata: it takes each packet's other end from the packet's tunnel key.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use datapath::{packet::PacketWrite, tables::Tables};
use maps_schema::{
    counters::Program,
    drop_reason::DropReason,
    way::{Node, VNI_HANDED, VNI_PODS, Way},
};

use super::{
    hook::{PacketFamily, RELEASED_MARK},
    outcome::{Outcome, Stage},
};
use crate::{
    count::count_drop,
    helpers::{check_mtu, has_tunnel_key, mark, redirect, set_mark, set_tunnel_key, tunnel_id},
    packet_skb::SkbPacket,
    tables::{Maps, known_node},
};

/// From whom a packet has come.
pub(super) enum Arrival {
    /// From a pod of another node, or that node itself.
    FromPods,
    /// From another node that has handed it over.
    Handed,
    /// Of a network that is not ours.
    Foreign,
}

/// A function of its own: the tunnel key that it reads is not to stay on the stack below the stages.
#[inline(never)]
pub(super) fn arrival(skb: *mut __sk_buff) -> Arrival {
    let network = tunnel_id(skb).or_else(|| released_from(skb));
    match network {
        Some(VNI_PODS) => Arrival::FromPods,
        Some(VNI_HANDED) => Arrival::Handed,
        _ => Arrival::Foreign,
    }
}

/// The network identifier of a fragment that comes out of the device for the second time.
#[inline(always)]
fn released_from(skb: *mut __sk_buff) -> Option<u32> {
    let network = mark(skb) ^ RELEASED_MARK;
    if network != VNI_PODS && network != VNI_HANDED {
        return None;
    }
    set_mark(skb, 0);
    Some(network)
}

/// Sends a packet to the node that the outcome names.
#[inline(always)]
pub(super) fn send_to_node(skb: *mut __sk_buff, outcome: Outcome) -> Outcome {
    let Some(node) = known_node(outcome.node()) else {
        count_drop(Program::TcOverlayEgress, DropReason::UnknownNode);
        return Outcome::done(TC_ACT_SHOT);
    };
    let overlay = node.overlay();
    if let Err(mtu) = check_mtu(skb, overlay) {
        count_drop(Program::TcOverlayEgress, DropReason::PacketTooBig);
        return Outcome::refuse(Stage::RefuseForwarded, DropReason::PacketTooBig, mtu);
    }
    let network = if outcome.is(Stage::Hand) { VNI_HANDED } else { VNI_PODS };
    if !wrap(skb, &node, network) {
        count_drop(Program::TcOverlayEgress, DropReason::RewriteFailed);
        return Outcome::done(TC_ACT_SHOT);
    }
    Outcome::done(redirect(overlay))
}

/// Whether a packet was sent to the overlay device by a program, which has said to which node.
#[inline(never)]
pub(super) fn was_sent_here(skb: *mut __sk_buff) -> bool {
    has_tunnel_key(skb)
}

/// Sends what the node's own stack has routed to the overlay device to the node that its destination
/// is on. A function of its own, as [`arrival`] is.
#[inline(never)]
pub(super) fn send_by_destination<A: PacketFamily>(skb: *mut __sk_buff) -> i32 {
    let destination = A::load(&SkbPacket::new(skb), A::DESTINATION_OFFSET);
    let way = destination.map(|destination| Maps.network(destination));
    let node = match way {
        Some(Way::Tunnel(node)) => known_node(node),
        _ => None,
    };
    match node {
        Some(node) if wrap(skb, &node, VNI_PODS) => TC_ACT_OK,
        _ => {
            count_drop(Program::TcOverlayEgress, DropReason::UnknownNode);
            TC_ACT_SHOT
        }
    }
}

#[inline(always)]
fn wrap(skb: *mut __sk_buff, node: &Node, network: u32) -> bool {
    let mac = node.mac().bytes();
    SkbPacket::new(skb).store(0, mac).is_ok() && set_tunnel_key(skb, node, network)
}
