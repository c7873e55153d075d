//! Connection entries: one per direction of a translated flow, each holding its whole rewrite and the way out.
//!
//! A flow from a pod C to a service address V that B answers has two entries:
//!
//! | direction | key | value (what the packet's addresses become) |
//! |---|---|---|
//! | [`Direction::Forward`] | C → V | C' → B |
//! | [`Direction::Reply`] | B → C' | V → C |
//!
//! C' is C, but for a pod that reaches itself (there C' is the bridge's address) and for flows that would collide after
//! translation (there C' has another port). Either entry yields the other's key: the reverse of its value.
//!
//! Both entries together are 96 bytes (IPv4) or 192 bytes (IPv6) of keys and values.

use crate::{
    address::{Address, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Port, Protocol},
    clock::CoarseTime,
    service::ServiceId,
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
    /// The transport protocol.
    pub protocol: Protocol,
    padding: [u8; 3],
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
        Self { source, destination, source_port, destination_port, protocol, padding: [0; 3] }
    }

    /// The key of the packets that answer this flow's.
    #[inline(always)]
    pub const fn reverse(&self) -> Self {
        Self::new(
            self.destination,
            self.destination_port,
            self.source,
            self.source_port,
            self.protocol,
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
    egress: IfIndex,
    /// When a packet of this direction was last seen; written at most once per unit.
    pub last_seen: CoarseTime,
    /// The service port that the flow belongs to.
    pub service: ServiceId,
    egress_mac: Mac,
    /// What was seen in this direction.
    pub state: State,
    direction: u8,
}

const _: () = assert!(size_of::<FlowKey<Ipv4Wire>>() == 16);
const _: () = assert!(size_of::<FlowKey<Ipv6Wire>>() == 40);
const _: () = assert!(size_of::<Connection<Ipv4Wire>>() == 32);
const _: () = assert!(size_of::<Connection<Ipv6Wire>>() == 56);

impl<A: Address> Connection<A> {
    /// Makes the entry whose packets become packets of `rewritten` and leave by `egress`.
    #[inline(always)]
    pub const fn new(
        rewritten: &FlowKey<A>,
        egress: PodLink,
        service: ServiceId,
        direction: Direction,
        state: State,
        now: CoarseTime,
    ) -> Self {
        Self {
            source: rewritten.source,
            destination: rewritten.destination,
            source_port: rewritten.source_port,
            destination_port: rewritten.destination_port,
            egress: egress.interface,
            last_seen: now,
            service,
            egress_mac: egress.mac,
            state,
            direction: direction as u8,
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

    /// The way out: the pod that the rewritten packet goes to, if it is one of this node.
    #[inline(always)]
    pub const fn egress(&self) -> PodLink {
        PodLink { interface: self.egress, mac: self.egress_mac }
    }

    /// Whether the entry is the client's direction or the backend's.
    #[inline(always)]
    pub const fn direction(&self) -> Direction {
        if self.direction == Direction::Reply as u8 {
            Direction::Reply
        } else {
            Direction::Forward
        }
    }
}

/// Which of a flow's two entries this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the service.
    Forward = 0,
    /// From the backend to the client.
    Reply = 1,
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
    /// A TCP segment after the handshake's first: without SYN, so the peer's SYN has been seen.
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

/// One request to the `reap_connections` program: delete a pair of entries if nothing was seen of it since.
///
/// Addresses are in the form of [`Address::to_slot`], so that both families travel in one shape.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapRequest {
    /// The forward entry's source address.
    pub source: [u8; 16],
    /// The forward entry's destination address.
    pub destination: [u8; 16],
    /// The forward entry's `last_seen` when it was judged.
    pub forward_last_seen: CoarseTime,
    /// The reply entry's `last_seen` when it was judged; that of the forward entry where there is none.
    pub reply_last_seen: CoarseTime,
    /// The forward entry's source port.
    pub source_port: Port,
    /// The forward entry's destination port.
    pub destination_port: Port,
    /// The transport protocol.
    pub protocol: Protocol,
    /// 4 or 6.
    pub ip_version: u8,
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<ReapRequest>() == 48);
