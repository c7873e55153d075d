//! Packets to other nodes in VXLAN: from the card to the card, without the overlay device.

use aya_ebpf::bindings::xdp_md;
use datapath::{
    apply::apply,
    packet::{NETWORK_OFFSET, PacketRead, WriteFailed},
    vxlan::{Outer, Underlay, source_port, traffic_class, write_outer},
};
use maps_schema::way::{NodeId, VNI_HANDED, VNI_PODS, Way};

use super::{
    PacketFamily,
    next_hop::NextHop,
    stages::finish,
    step::{Stage, Step},
};
use crate::{
    config::vxlan_port,
    handover::left,
    helpers::move_head,
    maps::UPLINKS,
    packet_xdp::XdpPacket,
    tables::{Mapped, known_node},
};

/// Which stage sends a packet to a node.
#[inline(always)]
pub(super) fn to_node(node: NodeId) -> Step {
    match known_node(node).map(|node| node.ip_version()) {
        Some(4) => Step::wrap(Stage::WrapV4, node),
        Some(6) => Step::wrap(Stage::WrapV6, node),
        _ => Step::PASS,
    }
}

/// Translates the packet that `decide` has left, and sends it to a node. Before it is certain that
/// it can be sent, nothing is written.
#[inline(never)]
pub(super) fn wrap<A: PacketFamily, U: Mapped + Underlay>(
    frame: *mut xdp_md,
    node: NodeId,
) -> Step {
    // SAFETY: `decide` has just left it.
    let (Some(node), Some(pending)) = (known_node(node), unsafe { left(A::PENDING) }) else {
        return Step::PASS;
    };
    let mut packet = XdpPacket::<0>::new(frame);
    let frame_length = packet.length();
    let length = frame_length + U::OVERHEAD - NETWORK_OFFSET;
    let destination = node.endpoint::<U>();
    let Some(next_hop) = NextHop::to(destination, length, frame) else {
        return Step::PASS;
    };
    let Some(traffic_class) = traffic_class::<A>(&packet) else {
        return Step::PASS;
    };
    // SAFETY: the value is copied out at once.
    let Some(own) = (unsafe { UPLINKS.get(next_hop.interface().get()) }) else {
        return Step::PASS;
    };
    let source = U::of_pair(own);
    if source == U::from_slot([0; 16]) {
        return Step::PASS;
    }
    let translation = &pending.translation;
    let network = match translation.way.way() {
        Way::Hand(_) => VNI_HANDED,
        _ => VNI_PODS,
    };
    let outer = Outer {
        source,
        destination,
        source_port: source_port(&translation.rewritten),
        destination_port: vxlan_port(),
        network,
        traffic_class,
        frame_length,
        receiver: node.mac(),
    };
    let sent = apply(&mut packet, &pending.facts, translation)
        .and_then(|()| make_room(frame, U::OVERHEAD))
        .and_then(|()| write_outer(&mut packet, &outer))
        .and_then(|()| next_hop.send(frame));
    finish(sent, translation.service, frame_length)
}

#[inline(always)]
fn make_room(frame: *mut xdp_md, bytes: u32) -> Result<(), WriteFailed> {
    if move_head(frame, -bytes.cast_signed()) { Ok(()) } else { Err(WriteFailed) }
}
