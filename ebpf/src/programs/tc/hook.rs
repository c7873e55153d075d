//! Where a packet is met: which decision is asked for, and where the answers to a flow go that begins
//! there.

use aya_ebpf::bindings::__sk_buff;
use datapath::{
    decide::{
        decide_arrival, decide_arrival_by_address, decide_arrival_of, decide_node_egress,
        decide_pod_ingress, decide_pod_ingress_by_address, decide_pod_ingress_of, way_to_sender,
    },
    departure::{decide_uplink_egress, decide_uplink_egress_by_address},
    fragment::FragmentFamily,
    parse::{Facts, sender},
    refuse::Refusable,
    tables::Tables as _,
    verdict::Verdict,
};
use maps_schema::{
    address::PodLink,
    connection::Connection,
    counters::Program,
    service::Audience,
    way::{VNI_HANDED, VNI_PODS, Way},
};

use crate::{
    config::Configured,
    helpers::{interface, redirect, redirect_into},
    packet_skb::SkbPacket,
    tables::{Kernel, Mapped, Maps},
};

/// What all families' stages ask of theirs.
pub(crate) trait PacketFamily: Mapped + Configured + FragmentFamily + Refusable {}
impl<A: Mapped + Configured + FragmentFamily + Refusable> PacketFamily for A {}

/// With a network identifier: the mark of a packet that comes out of the overlay device again,
/// without its tunnel key.
pub(super) const RELEASED_MARK: u32 = 0x5368_7600;

/// A place where packets are met.
pub(super) trait Hook {
    /// As drops are counted.
    const PROGRAM: Program;

    /// Whether the packet is the node's own: it goes on where it was going.
    const IS_OWN: bool;

    /// A mark for packets that come by this hook again and have lost what told where they are from.
    const RELEASE_MARK: Option<u32> = None;

    /// Whether packets from this source may come here at all.
    #[inline(always)]
    fn may_send<A: PacketFamily>(_: A, _: *mut __sk_buff) -> bool {
        true
    }

    fn decide<A: PacketFamily>(facts: &Facts<A>, skb: *mut __sk_buff) -> Verdict<A>;

    fn decide_by_address<A: PacketFamily>(facts: &Facts<A>) -> Verdict<A>;

    /// The verdict on a packet whose entry is at hand; none where it is to be looked for.
    #[inline(always)]
    fn decide_of<A: PacketFamily>(_: &Connection<A>, _: &Facts<A>) -> Option<Verdict<A>> {
        None
    }

    /// Where the answers to a flow go that begins here.
    fn way_back<A: PacketFamily>(facts: &Facts<A>, skb: *mut __sk_buff) -> Way;

    /// Sends what the packet has become to who sent the packet; the program's result.
    #[inline(always)]
    fn send_back(skb: *mut __sk_buff) -> i32 {
        if Self::IS_OWN { redirect_into(interface(skb)) } else { redirect(interface(skb)) }
    }
}

pub(super) struct PodIngress;
pub(super) struct BridgeEgress;
pub(super) struct UplinkIngress;
pub(super) struct UplinkEgress;
pub(super) struct OverlayEgress;
pub(super) struct Overlay;
pub(super) struct Handed;

impl Hook for PodIngress {
    const PROGRAM: Program = Program::TcPodIngress;
    const IS_OWN: bool = false;

    #[inline(always)]
    fn may_send<A: PacketFamily>(source: A, skb: *mut __sk_buff) -> bool {
        Maps.is_source(interface(skb), source)
    }

    #[inline(always)]
    fn decide<A: PacketFamily>(facts: &Facts<A>, skb: *mut __sk_buff) -> Verdict<A> {
        decide_pod_ingress(facts, interface(skb), &Maps, &Kernel::of(skb))
    }

    #[inline(always)]
    fn decide_by_address<A: PacketFamily>(facts: &Facts<A>) -> Verdict<A> {
        decide_pod_ingress_by_address(facts, &Maps)
    }

    #[inline(always)]
    fn decide_of<A: PacketFamily>(known: &Connection<A>, facts: &Facts<A>) -> Option<Verdict<A>> {
        Some(decide_pod_ingress_of(known, facts))
    }

    #[inline(always)]
    fn way_back<A: PacketFamily>(_: &Facts<A>, skb: *mut __sk_buff) -> Way {
        let mac = sender(&SkbPacket::new(skb)).unwrap_or_default();
        Way::Pod(PodLink { interface: interface(skb), mac })
    }
}

macro_rules! arrivals {
    ($($hook:ident at $program:ident for $audience:expr, marked $mark:expr;)+) => {
        $(
            impl Hook for $hook {
                const PROGRAM: Program = Program::$program;
                const IS_OWN: bool = false;
                const RELEASE_MARK: Option<u32> = $mark;

                #[inline(always)]
                fn decide<A: PacketFamily>(facts: &Facts<A>, skb: *mut __sk_buff) -> Verdict<A> {
                    decide_arrival(facts, $audience, &Maps, &Kernel::of(skb))
                }

                #[inline(always)]
                fn decide_by_address<A: PacketFamily>(facts: &Facts<A>) -> Verdict<A> {
                    decide_arrival_by_address(facts, &Maps)
                }

                #[inline(always)]
                fn decide_of<A: PacketFamily>(
                    known: &Connection<A>,
                    facts: &Facts<A>,
                ) -> Option<Verdict<A>> {
                    Some(decide_arrival_of(known, facts))
                }

                #[inline(always)]
                fn way_back<A: PacketFamily>(facts: &Facts<A>, _: *mut __sk_buff) -> Way {
                    way_to_sender(facts, &Maps)
                }
            }
        )+
    };
}

arrivals! {
    UplinkIngress at TcUplinkIngress for Some(Audience::Outside), marked None;
    Overlay at TcOverlayIngress for None, marked Some(RELEASED_MARK | VNI_PODS);
    Handed at TcOverlayIngress for Some(Audience::Handed), marked Some(RELEASED_MARK | VNI_HANDED);
}

macro_rules! departures {
    ($($hook:ident at $program:ident by $decide:ident, $by_address:expr;)+) => {
        $(
            impl Hook for $hook {
                const PROGRAM: Program = Program::$program;
                const IS_OWN: bool = true;

                #[inline(always)]
                fn decide<A: PacketFamily>(facts: &Facts<A>, skb: *mut __sk_buff) -> Verdict<A> {
                    $decide(facts, &Maps, &Kernel::of(skb))
                }

                #[inline(always)]
                fn decide_by_address<A: PacketFamily>(facts: &Facts<A>) -> Verdict<A> {
                    $by_address(facts)
                }

                #[inline(always)]
                fn way_back<A: PacketFamily>(_: &Facts<A>, _: *mut __sk_buff) -> Way {
                    Way::Stack
                }
            }
        )+
    };
}

departures! {
    BridgeEgress at TcBridgeEgress by decide_node_egress, |_| Verdict::Pass;
    OverlayEgress at TcOverlayEgress by decide_node_egress, |_| Verdict::Pass;
    UplinkEgress at TcUplinkEgress by decide_uplink_egress,
        |facts| decide_uplink_egress_by_address(facts, &Maps);
}
