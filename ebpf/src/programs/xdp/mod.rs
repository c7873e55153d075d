//! XDP: what comes in by an uplink and goes out again by one is sent from the driver.
//!
//! The decision is that of `tc_uplink_ingress`, made with the same tables. Whatever else it is than
//! "to another machine" is left to that program, with the bytes as they came: it comes to the same
//! decision, carries it out, and counts it. So there is one place that refuses, drops, and waits for
//! a neighbour's Ethernet address.

mod next_hop;
mod stages;
mod step;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};
use datapath::parse::{Network, network};
use maps_schema::address::{Ipv4Wire, Ipv6Wire};

use crate::packet_xdp::XdpPacket;

/// What comes in by an uplink.
#[xdp(frags)]
pub(crate) fn xdp_ingress(ctx: XdpContext) -> u32 {
    match network(&XdpPacket::<0>::new(ctx.ctx)) {
        Network::Ipv4 => stages::run::<Ipv4Wire>(ctx.ctx),
        Network::Ipv6 => stages::run::<Ipv6Wire>(ctx.ctx),
        Network::NotOurs | Network::Malformed => XDP_PASS,
    }
}
