//! The stages: parse, decide, open, apply, route or answer, count.
//!
//! Each is a function of its own, called one after the other, so that their stack frames share the
//! 512 bytes that a program has; and a global one ([`super::global`]), so that the verifier looks
//! at it once and not once for each way that leads there.

use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use datapath::{
    answer::Answer,
    apply::{apply, apply_forward},
    connect::{NotConnected, connect as connect_flow, plan as plan_flow},
    fragment::{Admission, Order, admit},
    packet::PacketRead,
    parse::{Facts, Parsed, parse},
    refuse::{Unanswered, refuse},
    related::related as translate_error,
    verdict::{Hop, Translation, Verdict},
};
use maps_schema::{address::Family, connection::Connection, drop_reason::DropReason, way::Way};

use super::{
    global::Stages,
    hook::{Hook, PacketFamily},
    outcome::{Outcome, Stage},
};
use crate::{
    count::{count_connection, count_drop, count_packet},
    fragments::HeldPackets,
    handover::{leave as leave_to_next, left},
    helpers::{interface, mark_as_ours, redirect_peer},
    packet_skb::SkbPacket,
    route::{Routed, route_packet},
    tables::{Kernel, Maps, uplink_address},
};

/// Takes a packet through all stages that it needs.
#[inline(always)]
pub(super) fn run<A: PacketFamily, H: Hook + Stages<A>>(skb: *mut __sk_buff) -> i32 {
    if A::may_be_fragment(&SkbPacket::new(skb)) {
        SkbPacket::new(skb).forget_first_fragment();
        let outcome = H::fragment(skb);
        if outcome.is(Stage::Done) {
            return outcome.action();
        }
    }
    let outcome = H::find_facts(skb);
    if outcome.is(Stage::Done) {
        return outcome.action();
    }
    let mut outcome = <H as Stages<A>>::decide(skb);
    if outcome.is(Stage::Translate) {
        outcome = H::translate(skb);
    }
    if outcome.is(Stage::Done) {
        return outcome.action(); // Most packets are of a flow that is known.
    }
    if outcome.is(Stage::Related) {
        outcome = H::related(skb);
    }
    if outcome.is(Stage::ByAddress) {
        outcome = H::by_address(skb);
    }
    if outcome.is(Stage::Open) {
        outcome = open::<A, H>(skb, outcome);
    }
    if outcome.is(Stage::Route) {
        outcome = H::route(skb);
    }
    if outcome.is(Stage::Tunnel) || outcome.is(Stage::Hand) {
        outcome = H::send_to_node(skb, outcome);
    }
    if outcome.is(Stage::Refuse) || outcome.is(Stage::RefuseForwarded) {
        outcome = refusal::<A, H>(skb, outcome);
    }
    if outcome.is(Stage::Done) { outcome.action() } else { drop::<H>(DropReason::LostRace) }
}

/// Takes the first packet of a flow through the stages that make its entries.
#[inline(always)]
fn open<A: PacketFamily, H: Hook + Stages<A>>(skb: *mut __sk_buff, open: Outcome) -> Outcome {
    let mut outcome = H::plan(skb, open);
    if outcome.is(Stage::Connect) {
        outcome = H::connect(skb, open);
    }
    if outcome.is(Stage::Connected) {
        outcome = <H as Stages<A>>::decide(skb);
    }
    if outcome.is(Stage::Translate) {
        outcome = H::translate(skb);
    }
    if outcome.is(Stage::ByAddress) {
        outcome = H::by_address(skb);
    }
    outcome
}

/// Takes a packet that goes no further through the stages that tell its sender.
#[inline(always)]
fn refusal<A: PacketFamily, H: Hook + Stages<A>>(skb: *mut __sk_buff, refusal: Outcome) -> Outcome {
    if refusal.is(Stage::RefuseForwarded) {
        // The packet is not any more what its facts say.
        let outcome = H::find_facts(skb);
        if outcome.is(Stage::Done) {
            return outcome;
        }
    }
    let mut outcome = H::answer(skb, refusal);
    if outcome.is(Stage::Related) {
        outcome = H::find_facts(skb);
        if outcome.is(Stage::Decide) {
            outcome = H::answer_related(skb);
        }
    }
    if outcome.is(Stage::Route) {
        outcome = H::route(skb);
    }
    if outcome.is(Stage::Tunnel) || outcome.is(Stage::Hand) {
        outcome = H::send_to_node(skb, outcome);
    }
    outcome
}

/// A packet whose headers contradict themselves. What the node's own stack has made is the stack's to
/// answer for.
#[inline(always)]
pub(super) fn malformed<H: Hook>() -> i32 {
    if H::IS_OWN { TC_ACT_OK } else { drop::<H>(DropReason::Malformed) }
}

/// Finds the facts of a packet; the stages that follow read them from a map.
#[inline(always)]
pub(super) fn find_facts<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    match parse::<A>(&SkbPacket::new(skb)) {
        Parsed::Facts(facts) => {
            leave_to_next(A::FACTS, facts);
            Outcome::to(Stage::Decide)
        }
        Parsed::NotOurs => Outcome::done(TC_ACT_OK),
        Parsed::Malformed => Outcome::done(malformed::<H>()),
    }
}

/// What `find_facts` has found; none never.
#[inline(always)]
fn facts<A: PacketFamily>() -> Option<&'static Facts<A>> {
    // SAFETY: `find_facts` is the first of all stages but `fragment`.
    unsafe { left(A::FACTS) }
}

#[inline(always)]
pub(super) fn decide<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let verdict = H::decide(facts, skb);
    carry_out::<A, H>(skb, &verdict)
}

/// Makes the packet what the stage before has decided.
#[inline(always)]
pub(super) fn translate<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    // SAFETY: the stage before has just left it.
    let Some(translation) = (unsafe { left(A::TRANSLATION) }) else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    become_translated::<A, H>(skb, translation)
}

#[inline(always)]
fn become_translated<A: PacketFamily, H: Hook>(
    skb: *mut __sk_buff,
    translation: &Translation<A>,
) -> Outcome {
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let mut packet = SkbPacket::new(skb);
    if apply(&mut packet, facts, translation).is_err() {
        return Outcome::done(drop::<H>(DropReason::RewriteFailed));
    }
    count_packet(translation.service, packet.length());
    leave::<H>(skb, translation.way.way())
}

/// A fragment: its ports are found, or it waits for them.
#[inline(always)]
pub(super) fn fragment<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    let mut packet = SkbPacket::new(skb);
    let order = if H::IS_OWN { Order::AsMade } else { Order::Any };
    let may_send = |source: A| H::may_send(source, skb);
    let held = HeldPackets::new(skb, H::RELEASE_MARK);
    match admit::<A, _>(&mut packet, order, may_send, &held, &Kernel::of(skb)) {
        Admission::Whole => Outcome::to(Stage::Decide),
        Admission::Known(first) => {
            packet.leave_first_fragment(&first);
            Outcome::to(Stage::Decide)
        }
        Admission::Waits => Outcome::done(TC_ACT_SHOT),
        Admission::Passes => Outcome::done(TC_ACT_OK),
        Admission::Dropped(DropReason::Malformed) => Outcome::done(malformed::<H>()),
        Admission::Dropped(reason) => Outcome::done(drop::<H>(reason)),
    }
}

/// A packet that belongs to no flow.
#[inline(always)]
pub(super) fn by_address<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let verdict = H::decide_by_address(facts);
    carry_out::<A, H>(skb, &verdict)
}

/// The first packet of a flow: what the flow becomes.
#[inline(always)]
pub(super) fn plan<A: PacketFamily, H: Hook>(skb: *mut __sk_buff, open: Outcome) -> Outcome {
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    match plan_flow(facts, open.opening(), &Maps, &Kernel::of(skb)) {
        Ok(plan) => {
            leave_to_next(A::PLAN, plan);
            Outcome::to(Stage::Connect)
        }
        Err(not_connected) => unconnected::<H>(not_connected),
    }
}

/// The first packet of a flow: its entries are made.
#[inline(always)]
pub(super) fn connect<A: PacketFamily, H: Hook>(skb: *mut __sk_buff, open: Outcome) -> Outcome {
    // SAFETY: `plan` has just left it.
    let (Some(facts), Some(plan)) = (facts::<A>(), unsafe { left(A::PLAN) }) else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let way_back = H::way_back(facts, skb);
    let mut next = Stage::Connected;
    let made = |known: &Connection<A>| {
        // All else is as rare as to be decided on in its own stage.
        if let Some(Verdict::Translate(translation)) = H::decide_of(known, facts) {
            leave_to_next(A::TRANSLATION, translation);
            next = Stage::Translate;
        }
    };
    match connect_flow(facts, plan, &Maps, &Kernel::of(skb), way_back, made) {
        Ok(()) => {
            if let Some(service) = open.opening().service() {
                count_connection(service);
            }
            Outcome::to(next)
        }
        Err(not_connected) => unconnected::<H>(not_connected),
    }
}

#[inline(always)]
fn unconnected<H: Hook>(not_connected: NotConnected) -> Outcome {
    match not_connected {
        NotConnected::NotOurs => Outcome::done(TC_ACT_OK),
        NotConnected::Untracked => Outcome::to(Stage::ByAddress),
        NotConnected::Refused(reason) => refused::<H>(Stage::Refuse, reason, 0),
        NotConnected::Dropped(reason) => Outcome::done(drop::<H>(reason)),
    }
}

/// An ICMP error: it goes to the sender of what it quotes.
#[inline(always)]
pub(super) fn related<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    let mut packet = SkbPacket::new(skb);
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let hop = if H::IS_OWN { Hop::Own } else { Hop::Forwarded };
    match translate_error(&mut packet, facts, &Maps, hop) {
        Ok(Some(way)) => leave::<H>(skb, way),
        Ok(None) => Outcome::to(Stage::ByAddress),
        Err(reason) => Outcome::done(drop::<H>(reason)),
    }
}

/// An ICMP error that was made just now, about a packet that was to be forwarded.
#[inline(always)]
pub(super) fn answer_related<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    let mut packet = SkbPacket::new(skb);
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    match translate_error(&mut packet, facts, &Maps, Hop::Own) {
        Ok(Some(way)) => leave::<H>(skb, way),
        Ok(None) => Outcome::done(H::send_back(skb)),
        Err(reason) => Outcome::done(drop::<H>(reason)),
    }
}

/// Turns the packet into its own answer; sends it back, or has it translated first where the packet
/// was.
#[inline(always)]
pub(super) fn answer<A: PacketFamily, H: Hook>(skb: *mut __sk_buff, refusal: Outcome) -> Outcome {
    let mut packet = SkbPacket::new(skb);
    let Some(facts) = facts::<A>() else {
        return Outcome::done(drop::<H>(DropReason::LostRace));
    };
    let answer = Answer::of(refusal.reason(), refusal.mtu());
    // Pods know the node by the bridge's address, the outside by an uplink's.
    let router = uplink_address(interface(skb)).unwrap_or_else(A::bridge);
    match refuse(&mut packet, facts, answer, router) {
        Ok(()) if refusal.is(Stage::RefuseForwarded) => Outcome::to(Stage::Related),
        Ok(()) => Outcome::done(H::send_back(skb)),
        Err(Unanswered) => Outcome::done(TC_ACT_SHOT),
    }
}

/// Sends the packet by the node's routes.
#[inline(always)]
pub(super) fn route<A: PacketFamily, H: Hook>(skb: *mut __sk_buff) -> Outcome {
    match route_packet::<A>(skb) {
        Routed::Sent(action) => Outcome::done(action),
        Routed::TooBig(mtu) => refused::<H>(Stage::RefuseForwarded, DropReason::PacketTooBig, mtu),
        Routed::NoRoute => refused::<H>(Stage::RefuseForwarded, DropReason::NoRoute, 0),
    }
}

#[inline(always)]
fn carry_out<A: PacketFamily, H: Hook>(skb: *mut __sk_buff, verdict: &Verdict<A>) -> Outcome {
    match verdict {
        Verdict::Pass => Outcome::done(TC_ACT_OK),
        Verdict::Deliver(link) => leave::<H>(skb, Way::Pod(*link)),
        Verdict::Open(opening) => Outcome::open(*opening),
        Verdict::Forward(way) => match apply_forward::<A>(&mut SkbPacket::new(skb), *way) {
            Ok(()) => leave::<H>(skb, *way),
            Err(_) => Outcome::done(drop::<H>(DropReason::RewriteFailed)),
        },
        Verdict::Translate(translation) => match A::FAMILY {
            Family::V4 => become_translated::<A, H>(skb, translation),
            // IPv6's addresses leave no register free: in one function with all that decides, they
            // are moved to the stack and back more often than it costs to leave them in a map.
            Family::V6 => {
                leave_to_next(A::TRANSLATION, *translation);
                Outcome::to(Stage::Translate)
            }
        },
        Verdict::Related => Outcome::to(Stage::Related),
        // Fragments were told apart before.
        Verdict::Fragment => Outcome::done(drop::<H>(DropReason::LostRace)),
        Verdict::Refuse(reason) => refused::<H>(Stage::Refuse, *reason, 0),
        Verdict::Drop(reason) => Outcome::done(drop::<H>(*reason)),
    }
}

/// Sends a packet on its way, or says which stage does.
#[inline(always)]
fn leave<H: Hook>(skb: *mut __sk_buff, way: Way) -> Outcome {
    if H::IS_OWN {
        return Outcome::done(TC_ACT_OK);
    }
    match way {
        Way::Pod(link) => {
            mark_as_ours(skb);
            Outcome::done(redirect_peer(link.interface))
        }
        Way::Stack => Outcome::done(TC_ACT_OK),
        Way::Route(_) | Way::Outside => Outcome::to(Stage::Route),
        Way::Tunnel(node) => Outcome::send(Stage::Tunnel, node),
        Way::Hand(node) => Outcome::send(Stage::Hand, node),
        Way::Nowhere => Outcome::done(drop::<H>(DropReason::UnallocatedServiceAddress)),
    }
}

#[inline(always)]
fn refused<H: Hook>(stage: Stage, reason: DropReason, mtu: u16) -> Outcome {
    count_drop(H::PROGRAM, reason);
    Outcome::refuse(stage, reason, mtu)
}

#[inline(always)]
pub(super) fn drop<H: Hook>(reason: DropReason) -> i32 {
    count_drop(H::PROGRAM, reason);
    TC_ACT_SHOT
}
