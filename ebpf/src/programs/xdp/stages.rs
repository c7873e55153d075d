//! The stages: parse, decide, open, apply, send, count.
//!
//! Each is a function of its own, called one after the other, so that their stack frames share the
//! 512 bytes that a program has.

use aya_ebpf::bindings::{xdp_action::XDP_DROP, xdp_md};
use datapath::{
    apply::apply,
    connect::{connect as connect_flow, plan as plan_flow},
    decide::decide_arrival,
    packet::{NETWORK_OFFSET, PacketRead, WriteFailed},
    parse::{Parsed, parse},
    verdict::{Opening, Verdict},
    vxlan::{OVER_IPV4, OVER_IPV6, Underlay},
};
use maps_schema::{
    address::{Family, Ipv4Wire, Ipv6Wire},
    counters::Program,
    drop_reason::DropReason,
    service::{Audience, Frontend, ServiceId},
    way::Way,
};

use super::{
    PacketFamily, Pending,
    next_hop::NextHop,
    step::{Stage, Step},
    unwrap::{is_vxlan, unwrap},
    wrap::{to_node, wrap},
};
use crate::{
    count::{count_connection, count_drop, count_packet},
    handover::{leave, left},
    helpers::move_head,
    packet_xdp::XdpPacket,
    tables::{Kernel, Maps},
};

/// Takes a frame through all stages that it needs; returns its action.
#[inline(always)]
pub(super) fn run<A: PacketFamily + Underlay>(frame: *mut xdp_md) -> u32 {
    let mut step = decide::<A>(frame);
    if step.is(Stage::Open) {
        let frontend = step.frontend();
        step = plan::<A>(frame, frontend);
        if step.is(Stage::Connect) {
            step = connect::<A>(frame, frontend);
        }
        if step.is(Stage::Connected) {
            step = decide::<A>(frame);
        }
    }
    if step.is(Stage::Send) {
        step = send::<A, 0>(frame);
    } else if step.is(Stage::WrapV4) {
        step = wrap::<A, Ipv4Wire>(frame, step.node());
    } else if step.is(Stage::WrapV6) {
        step = wrap::<A, Ipv6Wire>(frame, step.node());
    } else if step.is(Stage::Unwrap) {
        step = match A::FAMILY {
            Family::V4 => unwrap::<Ipv4Wire, OVER_IPV4>(frame),
            Family::V6 => unwrap::<Ipv6Wire, OVER_IPV6>(frame),
        };
    }
    step.action()
}

#[inline(never)]
fn decide<A: PacketFamily>(frame: *mut xdp_md) -> Step {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<0>::new(frame)) else {
        return Step::PASS;
    };
    if is_vxlan(&facts) {
        return Step::to(Stage::Unwrap);
    }
    let (audience, kernel) = (Some(Audience::Outside), Kernel::of_frame(frame));
    match decide_arrival(&facts, audience, &Maps, &kernel) {
        Verdict::Translate(translation) => match translation.way.way() {
            Way::Route(_) | Way::Outside => {
                leave(A::PENDING, Pending { facts, translation });
                Step::to(Stage::Send)
            }
            Way::Tunnel(node) | Way::Hand(node) => {
                leave(A::PENDING, Pending { facts, translation });
                to_node(node)
            }
            Way::Pod(_) | Way::Stack | Way::Nowhere => Step::PASS,
        },
        Verdict::Open(Opening::FromOutside(frontend)) => Step::open(frontend),
        _ => Step::PASS,
    }
}

/// The first packet of a flow: what the flow becomes. Only if it leads to another machine is it
/// opened here.
#[inline(never)]
fn plan<A: PacketFamily>(frame: *mut xdp_md, frontend: Frontend) -> Step {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<0>::new(frame)) else {
        return Step::PASS;
    };
    let opening = Opening::FromOutside(frontend);
    let Ok(plan) = plan_flow(&facts, opening, &Maps, &Kernel::of_frame(frame)) else {
        return Step::PASS;
    };
    if !leads_away(plan.way()) {
        return Step::PASS;
    }
    leave(A::PLAN, plan);
    Step::to(Stage::Connect)
}

/// The first packet of a flow: its entries are made.
#[inline(never)]
fn connect<A: PacketFamily>(frame: *mut xdp_md, frontend: Frontend) -> Step {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<0>::new(frame)) else {
        return Step::PASS;
    };
    // SAFETY: `plan` has just left it.
    let Some(plan) = (unsafe { left(A::PLAN) }) else {
        return Step::PASS;
    };
    match connect_flow(&facts, plan, &Maps, &Kernel::of_frame(frame), Way::Outside, |_| {}) {
        Ok(()) => {
            count_connection(frontend.service());
            Step::to(Stage::Connected)
        }
        Err(_) => Step::PASS,
    }
}

/// Whether packets go to another machine.
#[inline(always)]
const fn leads_away(way: Way) -> bool {
    match way {
        Way::Route(_) | Way::Outside | Way::Tunnel(_) | Way::Hand(_) => true,
        Way::Pod(_) | Way::Stack | Way::Nowhere => false,
    }
}

/// Sends a packet by the node's routes, without the `START` bytes that it came in. Before it is
/// certain that it can be sent, nothing is written.
#[inline(never)]
pub(super) fn send<A: PacketFamily, const START: u32>(frame: *mut xdp_md) -> Step {
    // SAFETY: `decide` has just left it.
    let Some(Pending { facts, translation }) = (unsafe { left(A::PENDING) }) else {
        return Step::PASS;
    };
    let length = facts.end.wrapping_sub(NETWORK_OFFSET);
    let Some(next_hop) = NextHop::to(translation.rewritten.destination, length, frame) else {
        return Step::PASS;
    };
    let mut packet = XdpPacket::<START>::new(frame);
    let frame_length = packet.length();
    let sent = apply(&mut packet, facts, translation)
        .and_then(|()| take_off(frame, START))
        .and_then(|()| next_hop.send(frame));
    finish(sent, translation.service, frame_length)
}

#[inline(always)]
fn take_off(frame: *mut xdp_md, bytes: u32) -> Result<(), WriteFailed> {
    let is_off = bytes == 0 || move_head(frame, bytes.cast_signed());
    if is_off { Ok(()) } else { Err(WriteFailed) }
}

/// Counts a packet that was sent, or could not be written, which no packet is known to do: its
/// headers were there to be read.
#[inline(always)]
pub(super) fn finish(sent: Result<u32, WriteFailed>, service: ServiceId, length: u32) -> Step {
    match sent {
        Ok(action) => {
            count_packet(service, length);
            Step::done(action)
        }
        Err(WriteFailed) => {
            count_drop(Program::XdpIngress, DropReason::RewriteFailed);
            Step::done(XDP_DROP)
        }
    }
}
