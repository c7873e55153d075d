//! TC: the entries. Each says where a packet is met; what is done with it is in the stages.

mod global;
mod hook;
mod outcome;
mod overlay;
mod stages;

use aya_ebpf::{bindings::TC_ACT_OK, macros::classifier, programs::TcContext};
use datapath::parse::{Network, network};
use maps_schema::address::{Ipv4Wire, Ipv6Wire};

use self::{
    global::Stages,
    hook::{
        BridgeEgress, Handed, Hook, Overlay, OverlayEgress, PodIngress, UplinkEgress, UplinkIngress,
    },
    overlay::{Arrival, arrival, send_by_destination, was_sent_here},
};
use crate::{
    helpers::{ingress_interface, is_tagged},
    packet_skb::SkbPacket,
};

/// What a pod sends, at the host end of its veth pair.
#[classifier]
pub(crate) fn tc_pod_ingress(ctx: TcContext) -> i32 {
    run::<PodIngress>(&ctx)
}

/// What the node sends to its pods, as it leaves the bridge device. What is forwarded there is none
/// of the node's own.
#[classifier]
pub(crate) fn tc_bridge_egress(ctx: TcContext) -> i32 {
    run::<BridgeEgress>(&ctx)
}

/// What comes in by an uplink.
#[classifier]
pub(crate) fn tc_uplink_ingress(ctx: TcContext) -> i32 {
    run::<UplinkIngress>(&ctx)
}

/// What the node's own stack sends by an uplink. What is forwarded there was seen where it came in.
#[classifier]
pub(crate) fn tc_uplink_egress(ctx: TcContext) -> i32 {
    if ingress_interface(ctx.skb.skb) != 0 {
        return TC_ACT_OK;
    }
    run::<UplinkEgress>(&ctx)
}

/// What other nodes send in VXLAN, unwrapped.
#[classifier]
pub(crate) fn tc_overlay_ingress(ctx: TcContext) -> i32 {
    match arrival(ctx.skb.skb) {
        Arrival::FromPods => run::<Overlay>(&ctx),
        Arrival::Handed => run::<Handed>(&ctx),
        Arrival::Foreign => TC_ACT_OK,
    }
}

/// What is to go to other nodes in VXLAN; what the node's own stack has routed there does not know
/// yet to which. What the stack sends itself may have to give way to a flow that looks the same.
#[classifier]
pub(crate) fn tc_overlay_egress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if was_sent_here(skb) {
        return TC_ACT_OK;
    }
    let sent = match network(&SkbPacket::new(skb)) {
        Network::Ipv4 => send_by_destination::<Ipv4Wire>(skb),
        Network::Ipv6 => send_by_destination::<Ipv6Wire>(skb),
        Network::NotOurs | Network::Malformed => return TC_ACT_OK,
    };
    if sent == TC_ACT_OK && ingress_interface(skb) == 0 { run::<OverlayEgress>(&ctx) } else { sent }
}

#[inline(always)]
fn run<H: Hook + Stages<Ipv4Wire> + Stages<Ipv6Wire>>(ctx: &TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if is_tagged(skb) {
        return TC_ACT_OK; // Another network's, of which the tables say nothing.
    }
    match network(&SkbPacket::new(skb)) {
        Network::Ipv4 => stages::run::<Ipv4Wire, H>(skb),
        Network::Ipv6 => stages::run::<Ipv6Wire, H>(skb),
        Network::NotOurs => TC_ACT_OK,
        Network::Malformed => stages::malformed::<H>(),
    }
}
