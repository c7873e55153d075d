//! TC: parse, decide, apply or refuse, count.
//!
//! Each family's stages are functions of their own, called one after the other, so that their stack
//! frames share the 512 bytes that a program has.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT},
    macros::classifier,
    programs::TcContext,
};
use datapath::{
    apply::apply,
    connect::{NotConnected, connect, connect_beside},
    decide::{decide_bridge_egress, decide_pod_ingress},
    packet::PacketRead,
    parse::{Facts, Network, ParseFamily, Parsed, network, parse, sender},
    refuse::{Refusable, Unanswered, refuse},
    verdict::Verdict,
};
use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, PodLink},
    counters::Program,
    drop_reason::DropReason,
    service::ServiceId,
};

use crate::{
    config::Configured,
    count::{count_connection, count_drop, count_packet},
    helpers::{is_tagged, mark_as_ours, redirect, redirect_peer},
    packet_skb::SkbPacket,
    tables::{Kernel, Mapped, Maps},
};

/// What a pod sends, at the host end of its veth pair.
#[classifier]
pub(crate) fn tc_pod_ingress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if is_tagged(skb) {
        return TC_ACT_OK; // Another network's, of which the tables say nothing.
    }
    match network(&SkbPacket::new(skb)) {
        Network::Ipv4 => pod_stages::<Ipv4Wire>(skb),
        Network::Ipv6 => pod_stages::<Ipv6Wire>(skb),
        Network::NotOurs => TC_ACT_OK,
        Network::Malformed => drop(Program::TcPodIngress, DropReason::Malformed),
    }
}

#[inline(always)]
fn pod_stages<A: Mapped + Configured + ParseFamily + Refusable>(skb: *mut __sk_buff) -> i32 {
    let mut outcome = pod_ingress::<A>(skb);
    if let Some(service) = outcome.connect() {
        outcome = match open::<A>(skb, service) {
            Outcome::CONNECTED => pod_ingress::<A>(skb),
            outcome => outcome,
        };
    }
    if outcome == Outcome::BESIDE {
        outcome = match open_beside::<A>(skb) {
            Outcome::CONNECTED => pod_ingress::<A>(skb),
            outcome => outcome,
        };
    }
    match outcome {
        Outcome::REFUSE => answer::<A>(skb),
        outcome if outcome.is_done() => outcome.action(),
        _ => drop(Program::TcPodIngress, DropReason::LostRace),
    }
}

/// What the node sends to its pods, as it leaves the bridge device. Nothing is refused here.
#[classifier]
pub(crate) fn tc_bridge_egress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if is_tagged(skb) {
        return TC_ACT_OK; // Another network's, of which the tables say nothing.
    }
    match network(&SkbPacket::new(skb)) {
        Network::Ipv4 => bridge_egress::<Ipv4Wire>(skb).action(),
        Network::Ipv6 => bridge_egress::<Ipv6Wire>(skb).action(),
        // What the node's own stack has made is the stack's to answer for.
        Network::NotOurs | Network::Malformed => TC_ACT_OK,
    }
}

/// What a stage hands to the next: a register's worth. The low half is a TC action, or says which
/// stage follows.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outcome(u64);

impl Outcome {
    const STAGE: u64 = 1 << 31;
    /// The packet is to be answered; its reason is counted.
    const REFUSE: Self = Self(Self::STAGE);
    /// The flow has its entries.
    const CONNECTED: Self = Self(Self::STAGE | 1);
    /// The flow needs entries, beside those of another.
    const BESIDE: Self = Self(Self::STAGE | 2);
    const CONNECT: u64 = Self::STAGE | 3;

    #[inline(always)]
    const fn done(action: i32) -> Self {
        Self(action as u64 & (Self::STAGE - 1))
    }

    #[inline(always)]
    const fn connect_to(service: ServiceId) -> Self {
        Self((service.0 as u64) << 32 | Self::CONNECT)
    }

    #[inline(always)]
    const fn connect(self) -> Option<ServiceId> {
        if self.0 as u32 == Self::CONNECT as u32 {
            Some(ServiceId((self.0 >> 32) as u32))
        } else {
            None
        }
    }

    #[inline(always)]
    const fn is_done(self) -> bool {
        self.0 & Self::STAGE == 0
    }

    #[inline(always)]
    const fn action(self) -> i32 {
        self.0 as i32
    }
}

#[inline(never)]
fn pod_ingress<A: Mapped + ParseFamily>(skb: *mut __sk_buff) -> Outcome {
    let packet = SkbPacket::new(skb);
    let facts = match parse::<A>(&packet) {
        Parsed::Facts(facts) => facts,
        Parsed::NotOurs => return Outcome::done(TC_ACT_OK),
        Parsed::Malformed => {
            return Outcome::done(drop(Program::TcPodIngress, DropReason::Malformed));
        }
    };
    let verdict = decide_pod_ingress(&facts, &Maps, &Kernel);
    carry_out(skb, packet, &facts, &verdict, Program::TcPodIngress)
}

/// The first packet of a flow to a service.
#[inline(never)]
fn open<A: Mapped + Configured + ParseFamily>(skb: *mut __sk_buff, service: ServiceId) -> Outcome {
    let Parsed::Facts(facts) = parse::<A>(&SkbPacket::new(skb)) else {
        return Outcome::done(drop(Program::TcPodIngress, DropReason::Malformed));
    };
    let connected = connect(&facts, service, &Maps, &Kernel, way_back(skb), A::bridge());
    if connected.is_ok() {
        count_connection(service);
    }
    opened(connected)
}

/// The first packet of a flow to a pod, beside a flow to a service. A stage of its own, for the sake
/// of its stack frame.
#[inline(never)]
fn open_beside<A: Mapped + ParseFamily>(skb: *mut __sk_buff) -> Outcome {
    let Parsed::Facts(facts) = parse::<A>(&SkbPacket::new(skb)) else {
        return Outcome::done(drop(Program::TcPodIngress, DropReason::Malformed));
    };
    opened(connect_beside(&facts, &Maps, &Kernel, way_back(skb)))
}

/// The way back to the pod that sent the packet.
#[inline(always)]
fn way_back(skb: *mut __sk_buff) -> PodLink {
    // SAFETY: `skb` is the program's context.
    let interface = IfIndex::new(unsafe { (*skb).ifindex });
    PodLink { interface, mac: sender(&SkbPacket::new(skb)).unwrap_or_default() }
}

#[inline(always)]
fn opened(connected: Result<(), NotConnected>) -> Outcome {
    match connected {
        Ok(()) => Outcome::CONNECTED,
        Err(NotConnected::Refused(reason)) => {
            count_drop(Program::TcPodIngress, reason);
            Outcome::REFUSE
        }
        Err(NotConnected::Dropped(reason)) => Outcome::done(drop(Program::TcPodIngress, reason)),
    }
}

#[inline(never)]
fn bridge_egress<A: Mapped + ParseFamily>(skb: *mut __sk_buff) -> Outcome {
    let packet = SkbPacket::new(skb);
    let Parsed::Facts(facts) = parse::<A>(&packet) else { return Outcome::done(TC_ACT_OK) };
    let verdict = decide_bridge_egress(&facts, &Maps, &Kernel);
    carry_out(skb, packet, &facts, &verdict, Program::TcBridgeEgress)
}

/// Turns the packet into its own answer, and sends that back.
#[inline(never)]
fn answer<A: Refusable + ParseFamily>(skb: *mut __sk_buff) -> i32 {
    let mut packet = SkbPacket::new(skb);
    let Parsed::Facts(facts) = parse::<A>(&packet) else {
        return drop(Program::TcPodIngress, DropReason::Malformed);
    };
    match refuse(&mut packet, &facts) {
        // SAFETY: `skb` is the program's context.
        Ok(()) => redirect(IfIndex::new(unsafe { (*skb).ifindex })),
        Err(Unanswered) => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn carry_out<A: ParseFamily>(
    skb: *mut __sk_buff,
    mut packet: SkbPacket,
    facts: &Facts<A>,
    verdict: &Verdict<A>,
    program: Program,
) -> Outcome {
    Outcome::done(match verdict {
        Verdict::Pass => TC_ACT_OK,
        Verdict::Deliver(link) => deliver(skb, *link),
        Verdict::Connect(service) => return Outcome::connect_to(*service),
        Verdict::ConnectBeside => return Outcome::BESIDE,
        Verdict::Translate(translation) => {
            if apply(&mut packet, facts, translation).is_err() {
                return Outcome::done(drop(program, DropReason::RewriteFailed));
            }
            count_packet(translation.service, packet.length());
            deliver(skb, translation.link)
        }
        Verdict::Refuse(reason) => {
            count_drop(program, *reason);
            return Outcome::REFUSE;
        }
        Verdict::Drop(reason) => drop(program, *reason),
    })
}

#[inline(always)]
fn deliver(skb: *mut __sk_buff, link: PodLink) -> i32 {
    if link.interface == IfIndex::NONE {
        return TC_ACT_OK;
    }
    mark_as_ours(skb);
    redirect_peer(link.interface)
}

#[inline(always)]
fn drop(program: Program, reason: DropReason) -> i32 {
    count_drop(program, reason);
    TC_ACT_SHOT
}
