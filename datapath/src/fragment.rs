//! Fragments: the first one's ports are those of all others of its datagram.
//!
//! The first one is noted, and goes on as a whole packet would. A later one whose first one is known
//! goes on as a packet of that flow, without a transport header; one that comes too early waits. As
//! soon as the first one has come, those that wait are sent to the same hook again, behind it.

use core::marker::PhantomData;

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Protocol},
    clock::CoarseTime,
    drop_reason::DropReason,
    fragment::{FirstFragment, FragmentKey, HeldKey, MAX_HELD_PER_DATAGRAM},
};

use crate::{
    family::IpFamily,
    packet::{NETWORK_OFFSET, PacketRead, WriteFailed},
    parse::{
        FRAGMENT, Facts, MAX_EXTENSIONS, ParseFamily, Parsed, SctpChunk, TcpFlags, Transport,
        any_way_to, is_skipped, may_have_ports, parse,
    },
    tables::{Progress, Repeated, Surroundings},
};

/// How long the fragments of a datagram belong together, in units of [`CoarseTime`]: as long as
/// Linux waits for the missing ones of an IPv4 datagram.
pub const LIFETIME: u32 = 30;

/// A frame is too long to be copied, or another one was copied to that place meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// What is known of fragments: BPF maps in the kernel, `BTreeMap`s in tests. Both forget what is
/// oldest where they are full.
pub trait Fragments<A, P> {
    /// What the first fragment of a datagram says.
    fn first(&self, key: &FragmentKey<A>) -> Option<FirstFragment>;

    /// Remembers a first fragment.
    fn note(&self, key: &FragmentKey<A>, first: &FirstFragment);

    /// Since when a fragment waits in this place; none where none does.
    fn held_since(&self, key: &HeldKey) -> Option<CoarseTime>;

    /// Copies a packet to this place.
    fn hold(&self, key: &HeldKey, packet: &P, now: CoarseTime) -> Result<(), NoRoom>;

    /// Forgets what waits in this place; whether it was still there.
    fn forget(&self, key: &HeldKey) -> bool;

    /// Copies a packet, for [`Self::take_back`]; an error where it is too long.
    fn set_aside(&self, packet: &P) -> Result<(), NoRoom>;

    /// Makes the packet the one that waits in this place, removes it from there, and has a copy of it
    /// come in by the hook that runs.
    fn release(&self, key: &HeldKey, packet: &mut P) -> Result<(), WriteFailed>;

    /// Makes the packet again what [`Self::set_aside`] has copied.
    fn take_back(&self, packet: &mut P) -> Result<(), WriteFailed>;
}

/// In which order fragments come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In any: they have been on a network.
    Any,
    /// As the node's own stack makes them: the first one first.
    AsMade,
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is none of a datagram with ports: it is decided on as it is.
    Whole,
    /// It is of a known datagram: it is decided on with this left to it.
    Known(FirstFragment),
    /// It waits for the first one: it was copied, and this one goes no further. Nothing is lost.
    Waits,
    /// It goes on as it is.
    Passes,
    /// It goes no further.
    Dropped(DropReason),
}

/// Finds what the first fragment of a packet's datagram says. Asked of packets that
/// [may be](FragmentFamily::may_be_fragment) fragments, before anything is decided on them; nothing is
/// remembered of one whose source `may_send` denies.
#[inline(always)]
pub fn admit<A: FragmentFamily, P: PacketRead>(
    packet: &mut P,
    order: Order,
    may_send: impl Fn(A) -> bool,
    fragments: &impl Fragments<A, P>,
    surroundings: &impl Surroundings,
) -> Admission {
    let Some(Fragment { key, is_first }) = A::fragment(packet) else { return Admission::Whole };
    if !may_send(key.source) {
        return Admission::Whole;
    }
    let now = surroundings.now();
    if is_first {
        let first = match parse::<A>(&AsFirst(packet)) {
            Parsed::Facts(facts) => note_of(&facts, now),
            Parsed::NotOurs => return Admission::Passes,
            Parsed::Malformed => return Admission::Dropped(DropReason::Malformed),
        };
        fragments.note(&key, &first);
        return match order {
            Order::AsMade => Admission::Known(first),
            Order::Any => release_all(packet, &key, fragments, surroundings)
                .map_or_else(Admission::Dropped, |()| Admission::Known(first)),
        };
    }
    match (known(&key, fragments, now), order) {
        (Some(first), _) => Admission::Known(first),
        (None, Order::AsMade) => Admission::Passes,
        (None, Order::Any) => hold(packet, &key, fragments, surroundings),
    }
}

/// A first fragment, to be parsed with its transport header.
struct AsFirst<'packet, P>(&'packet P);

impl<P: PacketRead> PacketRead for AsFirst<'_, P> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.length()
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }

    #[inline(always)]
    fn load_words<const N: usize>(&self, offset: u32) -> Option<[[u8; 4]; N]> {
        self.0.load_words(offset)
    }

    #[inline(always)]
    fn forget(&self, offset: u32) -> u32 {
        self.0.forget(offset)
    }

    #[inline(always)]
    fn first_fragment(&self) -> Option<FirstFragment> {
        Some(FirstFragment::default()) // That there is one is all that is asked of a first fragment.
    }
}

#[inline(always)]
fn known<A, P>(
    key: &FragmentKey<A>,
    fragments: &impl Fragments<A, P>,
    now: CoarseTime,
) -> Option<FirstFragment> {
    // Identifications come again.
    fragments.first(key).filter(|first| now.is_within(LIFETIME, first.noted))
}

/// Has a later fragment wait.
#[inline(always)]
fn hold<A: FragmentFamily, P>(
    packet: &P,
    key: &FragmentKey<A>,
    fragments: &impl Fragments<A, P>,
    surroundings: &impl Surroundings,
) -> Admission {
    let now = surroundings.now();
    let mut search =
        Search { place: HeldKey::new(key, 0), is_free: false, now, fragments, names: PhantomData };
    surroundings.repeat(MAX_HELD_PER_DATAGRAM.into(), &mut search);
    let Search { place, is_free, .. } = search;
    if !is_free || fragments.hold(&place, packet, now).is_err() {
        return Admission::Dropped(DropReason::FragmentsFull);
    }
    // The first one may have come meanwhile, to another processor, and not have seen this one.
    match known(key, fragments, now) {
        Some(first) if fragments.forget(&place) => Admission::Known(first),
        _ => Admission::Waits,
    }
}

/// A search for a place where nothing waits, or what has waited for too long.
struct Search<'fragments, A, P, F> {
    place: HeldKey,
    is_free: bool,
    now: CoarseTime,
    fragments: &'fragments F,
    names: PhantomData<(A, P)>,
}

impl<A, P, F: Fragments<A, P>> Repeated for Search<'_, A, P, F> {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        if let Some(since) = self.fragments.held_since(&self.place) {
            if self.now.is_within(LIFETIME, since) {
                self.place.advance();
                return Progress::Again;
            }
            self.fragments.forget(&self.place);
        }
        self.is_free = true;
        Progress::Done
    }
}

/// Lets all fragments go that wait for this one.
#[inline(always)]
fn release_all<A: FragmentFamily, P>(
    packet: &mut P,
    key: &FragmentKey<A>,
    fragments: &impl Fragments<A, P>,
    surroundings: &impl Surroundings,
) -> Result<(), DropReason> {
    let mut release = Release {
        place: HeldKey::new(key, 0),
        is_aside: false,
        failure: None,
        now: surroundings.now(),
        packet,
        fragments,
        names: PhantomData,
    };
    surroundings.repeat(MAX_HELD_PER_DATAGRAM.into(), &mut release);
    let Release { is_aside, failure, packet, .. } = release;
    match failure {
        Some(reason) => Err(reason),
        None if is_aside => fragments.take_back(packet).map_err(|_| DropReason::RewriteFailed),
        None => Ok(()),
    }
}

/// A walk through all places of a datagram.
struct Release<'packet, A, P, F> {
    place: HeldKey,
    is_aside: bool,
    failure: Option<DropReason>,
    now: CoarseTime,
    packet: &'packet mut P,
    fragments: &'packet F,
    names: PhantomData<A>,
}

impl<A, P, F: Fragments<A, P>> Release<'_, A, P, F> {
    #[inline(always)]
    fn release(&mut self, since: CoarseTime) -> Result<(), DropReason> {
        if !self.now.is_within(LIFETIME, since) {
            self.fragments.forget(&self.place);
            return Ok(());
        }
        if !self.is_aside {
            self.fragments.set_aside(self.packet).map_err(|_| DropReason::FragmentsFull)?;
            self.is_aside = true;
        }
        self.fragments.release(&self.place, self.packet).map_err(|_| DropReason::RewriteFailed)
    }
}

impl<A, P, F: Fragments<A, P>> Repeated for Release<'_, A, P, F> {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        if let Some(since) = self.fragments.held_since(&self.place)
            && let Err(reason) = self.release(since)
        {
            self.failure = Some(reason);
            return Progress::Done;
        }
        self.place.advance();
        Progress::Again
    }
}

const UDP: u8 = 0;
const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
const ICMP: u8 = 3;
const OTHER: u8 = 4;

/// What a first fragment says of the others.
#[inline(always)]
fn note_of<A: FragmentFamily>(facts: &Facts<A>, now: CoarseTime) -> FirstFragment {
    let kind = match facts.transport {
        Transport::Tcp(flags) => flags.byte(),
        Transport::Sctp(chunk) => chunk.byte(),
        Transport::Udp => UDP,
        Transport::EchoRequest => ECHO_REQUEST,
        Transport::EchoReply => ECHO_REPLY,
        Transport::IcmpQuery | Transport::IcmpError => ICMP,
        Transport::FirstFragment | Transport::LaterFragment | Transport::Other => OTHER,
    };
    let ports = (facts.flow.source_port, facts.flow.destination_port);
    FirstFragment::new(ports, facts.flow.protocol(), kind, now)
}

/// What a later fragment is one of.
#[inline(always)]
pub(crate) fn transport_behind(first: &FirstFragment) -> Transport {
    match (first.protocol(), first.kind) {
        (Protocol::TCP, flags) => Transport::Tcp(TcpFlags::from_byte(flags)),
        (Protocol::SCTP, chunk) => Transport::Sctp(SctpChunk::from_byte(chunk)),
        (_, UDP) => Transport::Udp,
        (_, ECHO_REQUEST) => Transport::EchoRequest,
        (_, ECHO_REPLY) => Transport::EchoReply,
        // A later fragment of an error quotes nothing.
        (_, ICMP) => Transport::IcmpQuery,
        (_, _) => Transport::Other,
    }
}

/// A fragment of a datagram that may have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<A> {
    /// What it has in common with all others of its datagram.
    pub key: FragmentKey<A>,
    /// Whether it is the first of them.
    pub is_first: bool,
}

/// The family's part of what fragments have in common.
pub trait FragmentFamily: ParseFamily {
    /// Whether the packet may be a fragment, at a glance.
    fn may_be_fragment(packet: &impl PacketRead) -> bool;

    /// What fragment the packet is; none where it is none, or one of a protocol without ports.
    fn fragment(packet: &impl PacketRead) -> Option<Fragment<Self>>;
}

/// Of the 16 bits that hold a fragment's offset: the offset, and whether more fragments follow.
const IPV4_FRAGMENT: u16 = 0x3fff;
const IPV4_FIRST: u16 = 0x2000;
const IPV6_FRAGMENT: u16 = 0xfff9;
const IPV6_FIRST: u16 = 1;

impl FragmentFamily for Ipv4Wire {
    #[inline(always)]
    fn may_be_fragment(packet: &impl PacketRead) -> bool {
        let place = packet.load(NETWORK_OFFSET + 6).map(u16::from_be_bytes);
        place.is_some_and(|place| place & IPV4_FRAGMENT != 0)
    }

    #[inline(always)]
    fn fragment(packet: &impl PacketRead) -> Option<Fragment<Self>> {
        let source = Self::from_bytes(packet.load(Self::SOURCE_OFFSET)?);
        let destination = Self::from_bytes(packet.load(Self::DESTINATION_OFFSET)?);
        let [id0, id1, place0, place1] = packet.load(NETWORK_OFFSET + 4)?;
        let [_, protocol] = packet.load(NETWORK_OFFSET + 8)?;
        let place = u16::from_be_bytes([place0, place1]) & IPV4_FRAGMENT;
        let protocol = Protocol::new(protocol);
        if place == 0 || !may_have_ports(protocol) {
            return None;
        }
        let identification = u16::from_be_bytes([id0, id1]).into();
        let key = FragmentKey::new(source, destination, identification, protocol);
        Some(Fragment { key, is_first: place == IPV4_FIRST })
    }
}

impl FragmentFamily for Ipv6Wire {
    #[inline(always)]
    fn may_be_fragment(packet: &impl PacketRead) -> bool {
        let next = packet.load(NETWORK_OFFSET + 6).map(|[next, _]| Protocol::new(next));
        !matches!(
            next,
            None | Some(Protocol::TCP | Protocol::UDP | Protocol::SCTP | Protocol::ICMPV6)
        )
    }

    #[inline(always)]
    fn fragment(packet: &impl PacketRead) -> Option<Fragment<Self>> {
        let header = fragment_header(packet)?;
        let [next, _, place0, place1] = packet.load(header)?;
        let place = u16::from_be_bytes([place0, place1]) & IPV6_FRAGMENT;
        let is_first = place == IPV6_FIRST;
        if place == 0 || !(is_first || may_have_ports(Protocol::new(next))) {
            return None;
        }
        let source = Self::from_bytes(packet.load(Self::SOURCE_OFFSET)?);
        let destination = Self::from_bytes(packet.load(Self::DESTINATION_OFFSET)?);
        let identification = u32::from_be_bytes(packet.load(header + 4)?);
        let protocol = Protocol::new(FRAGMENT);
        let key = FragmentKey::new(source, destination, identification, protocol);
        Some(Fragment { key, is_first })
    }
}

/// Where the IPv6 fragment header is.
#[inline(always)]
fn fragment_header(packet: &impl PacketRead) -> Option<u32> {
    let [mut next, _] = packet.load::<2>(NETWORK_OFFSET + 6)?;
    let mut offset = NETWORK_OFFSET + 40;
    for _ in 0..MAX_EXTENSIONS {
        if next == FRAGMENT {
            return Some(offset);
        }
        if !is_skipped(next) {
            return None;
        }
        let [following, length] = packet.load::<2>(offset)?;
        next = following;
        offset = any_way_to(packet, offset + (u32::from(length) + 1) * 8)?;
    }
    None
}
