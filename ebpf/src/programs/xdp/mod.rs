//! XDP: what comes in by an uplink and goes out again by one is sent from the driver.
//!
//! The decision is that of `tc_uplink_ingress`, made with the same tables. Whatever else it is than
//! "to another machine" is left to that program, with the bytes as they came: it comes to the same
//! decision, carries it out, and counts it. So there is one place that refuses, drops, and waits for
//! a neighbour's Ethernet address.

mod next_hop;
mod stages;
mod step;
mod unwrap;
mod wrap;

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    maps::PerCpuArray,
    programs::XdpContext,
};
use datapath::{
    parse::{Facts, Network, ParseFamily, network},
    verdict::Translation,
};
use maps_schema::address::{Ipv4Wire, Ipv6Wire};

pub(crate) use self::next_hop::{ANSWERS, NextHop};
use crate::{
    config::Configured,
    maps::{PENDING_V4, PENDING_V6},
    packet_xdp::XdpPacket,
    tables::Mapped,
};

/// What all families' stages ask of theirs.
trait PacketFamily: Mapped + Configured + ParseFamily {
    const PENDING: &'static PerCpuArray<MaybeUninit<Pending<Self>>>;
}

impl PacketFamily for Ipv4Wire {
    const PENDING: &'static PerCpuArray<MaybeUninit<Pending<Self>>> = &PENDING_V4;
}

impl PacketFamily for Ipv6Wire {
    const PENDING: &'static PerCpuArray<MaybeUninit<Pending<Self>>> = &PENDING_V6;
}

/// A packet that is decided on, and which a later stage translates.
pub(crate) struct Pending<A> {
    facts: Facts<A>,
    translation: Translation<A>,
}

/// What comes in by an uplink. Not for frames of several buffers (`xdp.frags`): for such a program
/// Linux 6.18 hands packets on from generic XDP in a form of which TC does not know the flow.
#[xdp]
pub(crate) fn xdp_ingress(ctx: XdpContext) -> u32 {
    match network(&XdpPacket::<0>::new(ctx.ctx)) {
        Network::Ipv4 => stages::run::<Ipv4Wire>(ctx.ctx),
        Network::Ipv6 => stages::run::<Ipv6Wire>(ctx.ctx),
        Network::NotOurs | Network::Malformed => XDP_PASS,
    }
}

/// Lets everything pass: what the others' cost is measured against. An agent never loads it.
#[xdp(frags)]
pub(crate) fn xdp_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// The other end of a wire that measurements are made on. An agent never loads it.
#[xdp(frags)]
pub(crate) fn xdp_drop(_: XdpContext) -> u32 {
    XDP_DROP
}
