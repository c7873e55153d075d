//! Fragments: the first one's ports are those of all others of its datagram.
//!
//! The first one is noted, and goes on as a whole packet would. A later one whose first one is known
//! goes on as a packet of that flow, without a transport header; one that comes too early waits. As
//! soon as the first one has come, those that wait are sent to the same hook again, behind it.

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Protocol},
    clock::CoarseTime,
    drop_reason::DropReason,
    fragment::{FirstFragment, FragmentKey, HeldKey, MAX_HELD_PER_DATAGRAM},
};

use crate::{
    packet::{NETWORK_OFFSET, PacketRead, WriteFailed},
    parse::{
        FRAGMENT, Facts, MAX_EXTENSIONS, ParseFamily, Parsed, TcpFlags, Transport, any_way_to,
        is_skipped, parse,
    },
    tables::Surroundings,
};

/// How long the fragments of a datagram belong together, in units of [`CoarseTime`]: as long as
/// Linux waits for the missing ones of an IPv4 datagram.
pub const LIFETIME: u32 = 30;

/// Why a fragment cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldError {
    /// Another one waits in this place.
    Exists,
    /// It is too long, or there is no room.
    Full,
}

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
    fn hold(&self, key: &HeldKey, packet: &P, now: CoarseTime) -> Result<(), HoldError>;

    /// Forgets what waits in this place; whether it was still there.
    fn forget(&self, key: &HeldKey) -> bool;

    /// Copies a packet, for [`Self::take_back`]; an error where it is too long.
    fn set_aside(&self, packet: &P) -> Result<(), HoldError>;

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
    /// It is of a known datagram: with this left to it, it is decided on again.
    Known(FirstFragment),
    /// It waits for the first one: it was copied, and this one goes no further. Nothing is lost.
    Waits,
    /// It goes on as it is.
    Passes,
    /// It goes no further.
    Dropped(DropReason),
}

/// Finds what the first fragment of a packet's datagram says; the packet is a fragment of which
/// that is not known yet.
#[inline(always)]
pub fn admit<A: FragmentFamily, P: PacketRead>(
    packet: &mut P,
    order: Order,
    fragments: &impl Fragments<A, P>,
    surroundings: &impl Surroundings,
) -> Admission {
    let Parsed::Facts(facts) = parse::<A>(packet) else {
        return Admission::Dropped(DropReason::Malformed);
    };
    let Some(key) = A::fragment_key(packet, &facts) else {
        return Admission::Dropped(DropReason::Malformed);
    };
    let now = surroundings.now();
    if facts.transport == Transport::FirstFragment {
        let first = match parse::<A>(&AsFirst(packet)) {
            Parsed::Facts(facts) => note_of(&facts, now),
            Parsed::NotOurs => return Admission::Passes,
            Parsed::Malformed => return Admission::Dropped(DropReason::Malformed),
        };
        fragments.note(&key, &first);
        return match order {
            Order::AsMade => Admission::Known(first),
            Order::Any => release_all(packet, &key, fragments, now)
                .map_or_else(Admission::Dropped, |()| Admission::Known(first)),
        };
    }
    match (known(&key, fragments, now), order) {
        (Some(first), _) => Admission::Known(first),
        (None, Order::AsMade) => Admission::Passes,
        (None, Order::Any) => hold(packet, &key, fragments, now),
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
    now: CoarseTime,
) -> Admission {
    for slot in 0..MAX_HELD_PER_DATAGRAM {
        let place = HeldKey::new(key, slot);
        match fragments.held_since(&place) {
            Some(since) if now.is_within(LIFETIME, since) => continue,
            Some(_) => {
                fragments.forget(&place);
            }
            None => {}
        }
        match fragments.hold(&place, packet, now) {
            Ok(()) => {}
            Err(HoldError::Exists) => continue,
            Err(HoldError::Full) => break,
        }
        // The first one may have come meanwhile, to another processor, and not have seen this one.
        return match known(key, fragments, now) {
            Some(first) if fragments.forget(&place) => Admission::Known(first),
            _ => Admission::Waits,
        };
    }
    Admission::Dropped(DropReason::FragmentsFull)
}

/// Lets all fragments go that wait for this one.
#[inline(always)]
fn release_all<A: FragmentFamily, P>(
    packet: &mut P,
    key: &FragmentKey<A>,
    fragments: &impl Fragments<A, P>,
    now: CoarseTime,
) -> Result<(), DropReason> {
    let mut is_aside = false;
    for slot in 0..MAX_HELD_PER_DATAGRAM {
        let place = HeldKey::new(key, slot);
        let Some(since) = fragments.held_since(&place) else { continue };
        if !now.is_within(LIFETIME, since) {
            fragments.forget(&place);
            continue;
        }
        if !is_aside {
            fragments.set_aside(packet).map_err(|_| DropReason::FragmentsFull)?;
            is_aside = true;
        }
        fragments.release(&place, packet).map_err(|_| DropReason::RewriteFailed)?;
    }
    if is_aside {
        fragments.take_back(packet).map_err(|_| DropReason::RewriteFailed)?;
    }
    Ok(())
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
        (_, UDP) => Transport::Udp,
        (_, ECHO_REQUEST) => Transport::EchoRequest,
        (_, ECHO_REPLY) => Transport::EchoReply,
        // A later fragment of an error quotes nothing.
        (_, ICMP) => Transport::IcmpQuery,
        (_, _) => Transport::Other,
    }
}

/// The family's part of what fragments have in common.
pub trait FragmentFamily: ParseFamily {
    /// What the packet, a fragment with these facts, has in common with all others of its datagram;
    /// none where it is no fragment.
    fn fragment_key(packet: &impl PacketRead, facts: &Facts<Self>) -> Option<FragmentKey<Self>>;
}

impl FragmentFamily for Ipv4Wire {
    #[inline(always)]
    fn fragment_key(packet: &impl PacketRead, facts: &Facts<Self>) -> Option<FragmentKey<Self>> {
        let identification = u16::from_be_bytes(packet.load(NETWORK_OFFSET + 4)?);
        let flow = &facts.flow;
        let (source, destination) = (flow.source, flow.destination);
        Some(FragmentKey::new(source, destination, identification.into(), flow.protocol()))
    }
}

impl FragmentFamily for Ipv6Wire {
    #[inline(always)]
    fn fragment_key(packet: &impl PacketRead, facts: &Facts<Self>) -> Option<FragmentKey<Self>> {
        let offset = fragment_header(packet)?;
        let identification = u32::from_be_bytes(packet.load(offset + 4)?);
        let (source, destination) = (facts.flow.source, facts.flow.destination);
        let protocol = Protocol::new(FRAGMENT);
        Some(FragmentKey::new(source, destination, identification, protocol))
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
