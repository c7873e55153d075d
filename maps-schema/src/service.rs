//! Service state: frontend → service record → slots → backends.
//!
//! A frontend names a service by number. The service's record, one 64-bit word, says which run of
//! the slot array holds its backends. Slots and backends are written first, in free space; one
//! store of the record then switches the service, so a packet sees it as it was before or as it is
//! after, never a mixture.

use crate::{
    address::{Address, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Port, Protocol},
    way::{Way, WayParts},
};

/// The number of a service port in one address family: an index into the service array. Below 2^24.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// No service: what a flow to the outside has that is masqueraded, and a flow between pods that
    /// must change its source port, because a flow to a service has the same client and backend.
    pub const NONE: Self = Self((1 << 24) - 1);
}

/// The number of a backend: an index into the backend array.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// The number of a slot: an index into the slot array, whose elements are [`BackendId`]s.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// Where a packet comes from that is sent to a frontend: the same address can lead to other
/// endpoints from the outside than from within.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// From a pod or a process of this node.
    #[default]
    Inside = 0,
    /// In by an uplink.
    Outside = 1,
    /// From another node that has handed it over ([`Way::Hand`]).
    Handed = 2,
    /// From a process of this node, at the socket. A frontend has this one only where it leads
    /// elsewhere than for pods, or where pods have none: node ports on loopback addresses.
    Node = 3,
}

/// An address and port that a service answers on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey<A> {
    /// The service's address.
    pub address: A,
    /// The service's port.
    pub port: Port,
    protocol: Protocol,
    audience: u8,
}

impl<A: Address> FrontendKey<A> {
    /// Makes a key.
    #[inline(always)]
    pub const fn new(address: A, port: Port, protocol: Protocol, audience: Audience) -> Self {
        Self { address, port, protocol, audience: audience as u8 }
    }

    /// The transport protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whose packets it is for.
    pub const fn audience(&self) -> Audience {
        match self.audience {
            1 => Audience::Outside,
            2 => Audience::Handed,
            3 => Audience::Node,
            _ => Audience::Inside,
        }
    }
}

/// What a frontend leads to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend(u32);

/// What becomes of the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientAddress {
    /// The backend sees it.
    #[default]
    Kept,
    /// The backend sees the node's, so that its answers come back this way.
    Masqueraded,
    /// The backend sees it, also on another node, and answers it without coming back this way
    /// (direct server return).
    Direct,
}

impl Frontend {
    const MASQUERADED: u32 = 1 << 24;
    const DIRECT: u32 = 2 << 24;
    const RESTRICTED: u32 = 1 << 26;

    /// Makes the value.
    pub const fn new(service: ServiceId, client: ClientAddress) -> Self {
        let flag = match client {
            ClientAddress::Kept => 0,
            ClientAddress::Masqueraded => Self::MASQUERADED,
            ClientAddress::Direct => Self::DIRECT,
        };
        Self(service.0 & ServiceId::NONE.0 | flag)
    }

    /// The same for clients from the service's source ranges only.
    #[must_use]
    pub const fn restricted(self) -> Self {
        Self(self.0 | Self::RESTRICTED)
    }

    /// Whether only clients from the service's source ranges are served.
    #[inline(always)]
    pub const fn is_restricted(self) -> bool {
        self.0 & Self::RESTRICTED != 0
    }

    /// Takes the word that [`Self::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// All of it in one word.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The service port in the frontend's address family.
    #[inline(always)]
    pub const fn service(self) -> ServiceId {
        ServiceId(self.0 & ServiceId::NONE.0)
    }

    /// What becomes of the client's address.
    #[inline(always)]
    pub const fn client(self) -> ClientAddress {
        match self.0 & (Self::MASQUERADED | Self::DIRECT) {
            Self::MASQUERADED => ClientAddress::Masqueraded,
            Self::DIRECT => ClientAddress::Direct,
            _ => ClientAddress::Kept,
        }
    }
}

/// Names a source address for a service: the key of a longest-prefix-match trie, whose prefixes are
/// those of a service's source ranges, 32 bits longer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey<A> {
    service: [u8; 4],
    /// The address.
    pub address: A,
}

impl<A: Address> SourceKey<A> {
    /// How many bits of a prefix are the service's.
    pub const SERVICE_BITS: u32 = 32;

    /// Makes a key.
    #[inline(always)]
    pub const fn new(service: ServiceId, address: A) -> Self {
        Self { service: service.0.to_be_bytes(), address }
    }

    /// The service.
    pub const fn service(&self) -> ServiceId {
        ServiceId(u32::from_be_bytes(self.service))
    }
}

/// Where a service's backends are: one 64-bit word, so that one store replaces it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord(u64);

/// What happens to packets for a service that has no backend here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    /// No endpoint anywhere: the client is told at once.
    Refuse,
    /// A `Local` traffic policy, and endpoints on other nodes only: silence.
    Drop,
}

impl ServiceRecord {
    /// The most slots that one service can have: 2^24 - 1.
    pub const MAX_SLOTS: u32 = (1 << 24) - 1;

    const DROP_WHEN_EMPTY: u64 = 1 << 63;
    const HAS_AFFINITY: u64 = 1 << 61;
    const MAGLEV_SHIFT: u32 = 56;
    const MAGLEV_MASK: u64 = 0x1f;

    /// Makes a record for the `slots` slots from `first` on. Slots beyond [`Self::MAX_SLOTS`] are
    /// cut off: the caller checks.
    pub const fn new(first: Slot, slots: u32, when_empty: WhenEmpty) -> Self {
        let flag = match when_empty {
            WhenEmpty::Refuse => 0,
            WhenEmpty::Drop => Self::DROP_WHEN_EMPTY,
        };
        Self(first.0 as u64 | ((slots & Self::MAX_SLOTS) as u64) << 32 | flag)
    }

    /// The same with a Maglev table of 2^`bits` slots right behind the backends' slots; 0 for none.
    /// At most 2^31.
    #[must_use]
    pub const fn with_maglev(self, bits: u32) -> Self {
        let cleared = self.0 & !(Self::MAGLEV_MASK << Self::MAGLEV_SHIFT);
        Self(cleared | (bits as u64 & Self::MAGLEV_MASK) << Self::MAGLEV_SHIFT)
    }

    /// The same with session affinity, by the service's
    /// [`AffinityRule`](crate::affinity::AffinityRule). Its backends' slots are sorted by address
    /// and port, so that one is found among them.
    #[must_use]
    pub const fn with_affinity(self) -> Self {
        Self(self.0 | Self::HAS_AFFINITY)
    }

    /// Whether clients stay with the backend that they had.
    #[inline(always)]
    pub const fn has_affinity(self) -> bool {
        self.0 & Self::HAS_AFFINITY != 0
    }

    /// The binary logarithm of the Maglev table's size; 0 where there is none.
    #[inline(always)]
    pub const fn maglev_bits(self) -> u32 {
        (self.0 >> Self::MAGLEV_SHIFT & Self::MAGLEV_MASK) as u32
    }

    /// Takes the word as it stands in the service array.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word as it stands in the service array.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The first slot.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the word")]
    pub const fn first(self) -> Slot {
        Slot(self.0 as u32)
    }

    /// How many slots there are.
    #[inline(always)]
    pub const fn slots(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_SLOTS
    }

    /// What happens where there are no slots.
    #[inline(always)]
    pub const fn when_empty(self) -> WhenEmpty {
        if self.0 & Self::DROP_WHEN_EMPTY == 0 { WhenEmpty::Refuse } else { WhenEmpty::Drop }
    }
}

/// An endpoint that connections are sent to, and the way there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backend {
    address: [u8; 16],
    /// The endpoint's port.
    pub port: Port,
    mac: Mac,
    way: u32,
    ip_version: u32,
}

impl Backend {
    /// Makes a backend.
    pub fn new<A: Address>(address: A, port: Port, way: Way) -> Self {
        Self {
            address: address.to_slot(),
            port,
            mac: way.mac(),
            way: way.word(),
            ip_version: match A::FAMILY {
                crate::address::Family::V4 => 4,
                crate::address::Family::V6 => 6,
            },
        }
    }

    /// The endpoint's address. The caller knows the family: a service has backends of its own
    /// family only.
    #[inline(always)]
    pub fn address<A: Address>(&self) -> A {
        A::from_slot(self.address)
    }

    /// 4 or 6, or 0 in an element that was never used.
    pub const fn ip_version(&self) -> u32 {
        self.ip_version
    }

    /// The way to the endpoint.
    #[inline(always)]
    pub const fn way(&self) -> Way {
        self.way_parts().way()
    }

    /// The way to the endpoint, to be passed on.
    #[inline(always)]
    pub const fn way_parts(&self) -> WayParts {
        WayParts::new(self.way, self.mac)
    }
}

/// What this node knows of a single address, beside its ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressEntry {
    interface: IfIndex,
    mac: Mac,
    role: u8,
    padding: u8,
}

/// What an address is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRole {
    /// A pod of this node.
    Pod(PodLink),
    /// A service's address: it answers on its frontends' ports, and everything else sent to it is
    /// refused.
    Service,
    /// The node's own: the kernel answers for it.
    Node,
}

impl AddressEntry {
    const SERVICE: u8 = 1;
    const NODE: u8 = 2;

    /// Makes the entry.
    pub const fn new(role: AddressRole) -> Self {
        match role {
            AddressRole::Pod(link) => {
                Self { interface: link.interface, mac: link.mac, role: 0, padding: 0 }
            }
            AddressRole::Service => Self::of_no_pod(Self::SERVICE),
            AddressRole::Node => Self::of_no_pod(Self::NODE),
        }
    }

    const fn of_no_pod(role: u8) -> Self {
        Self { interface: IfIndex::NONE, mac: Mac::from_bytes([0; 6]), role, padding: 0 }
    }

    /// What the address is.
    #[inline(always)]
    pub const fn role(&self) -> AddressRole {
        match self.role {
            Self::SERVICE => AddressRole::Service,
            Self::NODE => AddressRole::Node,
            _ => AddressRole::Pod(PodLink { interface: self.interface, mac: self.mac }),
        }
    }
}

const _: () = assert!(size_of::<FrontendKey<Ipv4Wire>>() == 8);
const _: () = assert!(size_of::<FrontendKey<Ipv6Wire>>() == 20);
const _: () = assert!(size_of::<Frontend>() == 4);
const _: () = assert!(size_of::<SourceKey<Ipv4Wire>>() == 8);
const _: () = assert!(size_of::<SourceKey<Ipv6Wire>>() == 20);
const _: () = assert!(size_of::<ServiceRecord>() == 8);
const _: () = assert!(size_of::<Backend>() == 32);
const _: () = assert!(size_of::<AddressEntry>() == 12);
