//! The stages: parse, decide, open, apply, send, count.
//!
//! Each is a function of its own, called one after the other, so that their stack frames share the
//! 512 bytes that a program has.

use aya_ebpf::bindings::{
    xdp_action::{XDP_DROP, XDP_PASS},
    xdp_md,
};
use datapath::{
    apply::apply,
    connect::{connect as connect_flow, plan as plan_flow},
    decide::decide_arrival,
    packet::{NETWORK_OFFSET, PacketRead, WriteFailed},
    parse::{Facts, ParseFamily, Parsed, parse},
    verdict::{Opening, Translation, Verdict},
};
use maps_schema::{
    counters::Program,
    drop_reason::DropReason,
    service::{Audience, Frontend},
    way::Way,
};

use super::{next_hop::NextHop, step::Step};
use crate::{
    config::Configured,
    count::{count_connection, count_drop, count_packet},
    packet_xdp::XdpPacket,
    tables::{Kernel, Mapped, Maps},
};

/// What all families' stages ask of theirs.
pub(super) trait PacketFamily: Mapped + Configured + ParseFamily {}
impl<A: Mapped + Configured + ParseFamily> PacketFamily for A {}

/// Takes a frame through all stages that it needs; returns its action.
#[inline(always)]
pub(super) fn run<A: PacketFamily>(frame: *mut xdp_md) -> u32 {
    let mut step = decide::<A>(frame);
    if let Some(frontend) = step.opens() {
        step = plan::<A>(frame, frontend);
        if step == Step::PLANNED {
            step = connect::<A>(frame, frontend);
        }
        if step == Step::CONNECTED {
            step = decide::<A>(frame);
        }
    }
    step.action().unwrap_or(XDP_PASS)
}

#[inline(never)]
fn decide<A: PacketFamily>(frame: *mut xdp_md) -> Step {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<0>::new(frame)) else {
        return Step::PASS;
    };
    let (audience, kernel) = (Some(Audience::Outside), Kernel::of_frame(frame));
    match decide_arrival(&facts, audience, &Maps, &kernel) {
        Verdict::Translate(translation) => match translation.way {
            Way::Route(_) | Way::Outside => route(frame, &facts, &translation),
            _ => Step::PASS,
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
    let Some(place) = A::PLAN.get_ptr_mut(0) else {
        return Step::PASS;
    };
    // SAFETY: the element is this processor's own.
    unsafe { (*place).write(plan) };
    Step::PLANNED
}

/// The first packet of a flow: its entries are made.
#[inline(never)]
fn connect<A: PacketFamily>(frame: *mut xdp_md, frontend: Frontend) -> Step {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<0>::new(frame)) else {
        return Step::PASS;
    };
    let Some(place) = A::PLAN.get_ptr(0) else {
        return Step::PASS;
    };
    // SAFETY: `plan` has just written this processor's element, for this packet.
    let plan = unsafe { (*place).assume_init_ref() };
    match connect_flow(&facts.flow, plan, &Maps, &Kernel::of_frame(frame), Way::Outside) {
        Ok(()) => {
            count_connection(frontend.service());
            Step::CONNECTED
        }
        Err(_) => Step::PASS,
    }
}

/// Whether packets go to another machine.
#[inline(always)]
const fn leads_away(way: Way) -> bool {
    match way {
        Way::Route(_) | Way::Outside => true,
        Way::Tunnel(_) | Way::Hand(_) | Way::Pod(_) | Way::Stack => false,
    }
}

/// Sends a packet by the node's routes. Before it is certain that it can be sent, nothing is
/// written.
#[inline(always)]
fn route<A: PacketFamily>(
    frame: *mut xdp_md,
    facts: &Facts<A>,
    translation: &Translation<A>,
) -> Step {
    let length = facts.end - NETWORK_OFFSET;
    let Some(next_hop) = NextHop::to(translation.rewritten.destination, length, frame) else {
        return Step::PASS;
    };
    let mut packet = XdpPacket::<0>::new(frame);
    let sent = apply(&mut packet, facts, translation).and_then(|()| next_hop.send(frame));
    finish(sent, translation, packet.length())
}

/// Counts a packet that was sent, or could not be written, which no packet is known to do: its
/// headers were there to be read.
#[inline(always)]
fn finish<A>(sent: Result<u32, WriteFailed>, translation: &Translation<A>, length: u32) -> Step {
    match sent {
        Ok(action) => {
            count_packet(translation.service, length);
            Step::done(action)
        }
        Err(WriteFailed) => {
            count_drop(Program::XdpIngress, DropReason::RewriteFailed);
            Step::done(XDP_DROP)
        }
    }
}
