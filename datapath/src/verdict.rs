//! What is to be done with a packet.

use maps_schema::{
    address::PodLink,
    connection::FlowKey,
    drop_reason::DropReason,
    service::{Frontend, ServiceId},
    way::{Way, WayParts},
};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<A> {
    /// It is not ours: the kernel goes on with it, bytes unchanged.
    Pass,
    /// It goes to a pod on the sender's bridge as it is.
    Deliver(PodLink),
    /// It goes on its way as a router sends it: only the hop limit changes.
    Forward(Way),
    /// Its addresses and ports change, then it goes on its way.
    Translate(Translation<A>),
    /// It opens a flow: [`connect`](crate::connect) makes the entries, and the packet is then decided
    /// on again.
    Open(Opening),
    /// It is an ICMP error: [`related`](crate::related) finds the flow that it is about.
    Related,
    /// It is a fragment: [`fragment`](crate::fragment) finds its ports, or has it wait for them.
    Fragment,
    /// It goes no further, and its sender is told.
    Refuse(DropReason),
    /// It goes no further.
    Drop(DropReason),
}

/// A change of addresses and ports, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<A> {
    /// What they become.
    pub rewritten: FlowKey<A>,
    /// Where the packet goes then.
    pub way: WayParts,
    /// The service port that the packet is counted for.
    pub service: ServiceId,
    /// Whether the node is a router to the packet, or the end of its way.
    pub hop: Hop,
}

/// What happens to a hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The packet is the node's own: its limit stays.
    Own,
    /// The packet is forwarded: its limit is one less.
    Forwarded,
}

/// A flow that is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// From within to a service.
    ToService(Frontend),
    /// From the outside, or from another node that hands it over, to a service.
    FromOutside(Frontend),
    /// From a pod to the outside, with the node's address.
    Masqueraded,
    /// From a pod to another one itself, on this node or another.
    BetweenPods,
    /// To an address itself, whose answers would else be taken for those of another flow, or for a
    /// flow of a pod's own.
    Beside,
}

impl Opening {
    const TO_SERVICE: u64 = 0;
    const FROM_OUTSIDE: u64 = 1;
    const MASQUERADED: u64 = 2;
    const BESIDE: u64 = 3;
    const BETWEEN_PODS: u64 = 4;

    /// All of it in 32 bits, for one stage of a program to hand to the next.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::ToService(frontend) => (frontend.word() as u64) << 3 | Self::TO_SERVICE,
            Self::FromOutside(frontend) => (frontend.word() as u64) << 3 | Self::FROM_OUTSIDE,
            Self::Masqueraded => Self::MASQUERADED,
            Self::Beside => Self::BESIDE,
            Self::BetweenPods => Self::BETWEEN_PODS,
        }
    }

    /// The inverse of [`Self::to_bits`].
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the word's 32 bits")]
    pub const fn from_bits(bits: u64) -> Self {
        let frontend = Frontend::from_word((bits >> 3) as u32);
        match bits & 7 {
            Self::TO_SERVICE => Self::ToService(frontend),
            Self::FROM_OUTSIDE => Self::FromOutside(frontend),
            Self::MASQUERADED => Self::Masqueraded,
            Self::BETWEEN_PODS => Self::BetweenPods,
            _ => Self::Beside,
        }
    }

    /// The service port that the flow is counted for.
    #[inline(always)]
    pub const fn service(self) -> Option<ServiceId> {
        match self {
            Self::ToService(frontend) | Self::FromOutside(frontend) => Some(frontend.service()),
            Self::Masqueraded | Self::BetweenPods | Self::Beside => None,
        }
    }
}
