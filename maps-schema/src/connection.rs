//! Connection entries: one per direction of a translated flow, each holding its whole rewrite and
//! the way out.
//!
//! A flow from a pod C to a service address V that B answers has two entries:
//!
//! | direction | key | value (what the packet's addresses become) |
//! |---|---|---|
//! | [`Direction::Forward`] | C → V | C' → B |
//! | [`Direction::Reply`] | B → C' | V → C |
//!
//! C' is C, but for clients that are masqueraded and for a pod that reaches itself (there C' has an
//! address of the node), and for flows that would collide after translation (there C' has another
//! port). Either entry yields the other's key: the reverse of its value.
//!
//! A masqueraded flow to the outside has the same two entries, with B = V and no service. An ICMP
//! echo has its identifier for a port: a request for its source port, a reply for its destination
//! port.
//!
//! Both entries together are 96 bytes (IPv4) or 192 bytes (IPv6) of keys and values.

use crate::{
    address::{Address, Ipv4Wire, Ipv6Wire, Mac, Port, Protocol},
    clock::CoarseTime,
    service::ServiceId,
    way::{Way, WayParts},
};

/// The five values that name one direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey<A> {
    /// Where the packet comes from.
    pub source: A,
    /// Where the packet goes.
    pub destination: A,
    /// The source port; [`Port::NONE`] where the protocol has none.
    pub source_port: Port,
    /// The destination port; [`Port::NONE`] where the protocol has none.
    pub destination_port: Port,
    /// The transport protocol. A whole word, so that making a key leaves no odd bytes to zero.
    protocol: u32,
}

impl<A: Address> FlowKey<A> {
    /// Makes a key.
    #[inline(always)]
    pub const fn new(
        source: A,
        source_port: Port,
        destination: A,
        destination_port: Port,
        protocol: Protocol,
    ) -> Self {
        let protocol = protocol.number() as u32;
        Self { source, destination, source_port, destination_port, protocol }
    }

    /// The transport protocol.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "made from one byte")]
    pub const fn protocol(&self) -> Protocol {
        Protocol::new(self.protocol as u8)
    }

    /// The key of the packets that answer this flow's.
    #[inline(always)]
    #[must_use]
    pub const fn reverse(&self) -> Self {
        Self::new(
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
            self.protocol(),
        )
    }
}

/// One direction of a translated flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<A> {
    /// What the packet's source address becomes.
    pub source: A,
    /// What the packet's destination address becomes.
    pub destination: A,
    /// What the packet's source port becomes.
    pub source_port: Port,
    /// What the packet's destination port becomes.
    pub destination_port: Port,
    way: u32,
    /// When a packet of this direction was last seen; written at most once per unit.
    pub last_seen: CoarseTime,
    service_and_state: u32,
    mac: Mac,
    born_half: [u8; 2],
}

const _: () = assert!(size_of::<FlowKey<Ipv4Wire>>() == 16);
const _: () = assert!(size_of::<FlowKey<Ipv6Wire>>() == 40);
const _: () = assert!(size_of::<Connection<Ipv4Wire>>() == 32);
const _: () = assert!(size_of::<Connection<Ipv6Wire>>() == 56);

/// What both entries of a flow share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOrigin {
    /// The service port that the flow belongs to.
    pub service: ServiceId,
    /// When its first packet came.
    pub born: CoarseTime,
}

const STATE_BITS: u32 = 8;
const DIRECTION_BIT: u32 = 1 << 7;

impl<A: Address> Connection<A> {
    /// Makes the entry whose packets become packets of `rewritten` and leave by `way`.
    #[inline(always)]
    pub fn new(
        rewritten: &FlowKey<A>,
        way: impl Into<WayParts>,
        origin: FlowOrigin,
        direction: Direction,
        state: State,
    ) -> Self {
        let way = way.into();
        let [b0, b1, b2, b3] = origin.born.to_bytes();
        let (direction_bit, born_half) = match direction {
            Direction::Forward => (0, [b0, b1]),
            Direction::Reply => (DIRECTION_BIT, [b2, b3]),
        };
        Self {
            source: rewritten.source,
            destination: rewritten.destination,
            source_port: rewritten.source_port,
            destination_port: rewritten.destination_port,
            way: way.word(),
            last_seen: origin.born,
            service_and_state: origin.service.0 << STATE_BITS | direction_bit | u32::from(state.0),
            mac: way.mac(),
            born_half,
        }
    }

    /// The flow that a packet of this entry becomes.
    #[inline(always)]
    pub const fn rewritten(&self, protocol: Protocol) -> FlowKey<A> {
        FlowKey::new(
            self.source,
            self.source_port,
            self.destination,
            self.destination_port,
            protocol,
        )
    }

    /// Whether packets of both entries get the same addresses and ports.
    #[inline(always)]
    pub fn becomes_the_same_as(&self, other: &Self) -> bool {
        self.source == other.source
            && self.destination == other.destination
            && self.source_port == other.source_port
            && self.destination_port == other.destination_port
    }

    /// The way out.
    #[inline(always)]
    pub const fn way(&self) -> Way {
        self.way_parts().way()
    }

    /// The way out, to be passed on.
    #[inline(always)]
    pub const fn way_parts(&self) -> WayParts {
        WayParts::new(self.way, self.mac)
    }

    /// The service port that the flow belongs to.
    #[inline(always)]
    pub const fn service(&self) -> ServiceId {
        ServiceId(self.service_and_state >> STATE_BITS)
    }

    /// Whether the entry is the client's direction or the backend's.
    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        if self.service_and_state & DIRECTION_BIT == 0 {
            Direction::Forward
        } else {
            Direction::Reply
        }
    }

    /// What was seen in this direction.
    #[inline(always)]
    pub const fn state(&self) -> State {
        State((self.service_and_state & (DIRECTION_BIT - 1)) as u8)
    }

    /// Whether a packet with this state, at this moment, says something that the entry does not.
    #[inline(always)]
    pub fn is_news(&self, state: State, now: CoarseTime) -> bool {
        self.last_seen != now || !self.state().contains(state)
    }

    /// Notes that a packet was seen: the only change that an entry undergoes. Two processors may do
    /// so at once; the worst that can happen is that one of two states seen within nanoseconds is
    /// forgotten.
    #[inline(always)]
    pub const fn note(&mut self, state: State, now: CoarseTime) {
        self.service_and_state |= state.0 as u32;
        self.last_seen = now;
    }

    /// When the flow's first packet came. Each of its two entries holds half of it.
    pub const fn born(forward: &Self, reply: &Self) -> CoarseTime {
        let [b0, b1] = forward.born_half;
        let [b2, b3] = reply.born_half;
        CoarseTime::from_bytes([b0, b1, b2, b3])
    }
}

/// Which of a flow's two entries this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the service.
    Forward,
    /// From the backend to the client.
    Reply,
}

/// What was seen in one direction of a flow: a set of the constants below.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(u8);

impl State {
    /// Nothing yet.
    pub const NONE: Self = Self(0);
    /// At least one packet.
    pub const SEEN: Self = Self(1);
    /// A TCP segment with FIN.
    pub const FIN: Self = Self(1 << 1);
    /// A TCP segment with RST.
    pub const RST: Self = Self(1 << 2);
    /// A TCP segment without SYN: the sender has seen the peer's SYN.
    pub const ESTABLISHED: Self = Self(1 << 3);

    /// Both sets together.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everything in `other` is in this set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the sender has ended the flow: a FIN or a RST was seen in this direction.
    #[inline(always)]
    pub const fn is_closing(self) -> bool {
        self.0 & (Self::FIN.0 | Self::RST.0) != 0
    }
}
