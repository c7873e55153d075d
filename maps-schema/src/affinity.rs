//! Session affinity: which endpoint a client's connections to a service port go to.

use crate::{
    address::{Address, Ipv4Wire, Ipv6Wire, Port},
    clock::Moment,
    service::ServiceId,
};

/// Whose affinity it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey<A> {
    /// The client's address as it was before any translation. A process of the node has the node's.
    pub client: A,
    group: u32,
}

impl<A: Address> AffinityKey<A> {
    /// Makes a key.
    #[inline(always)]
    pub const fn new(client: A, group: ServiceId) -> Self {
        Self { client, group: group.0 }
    }
}

/// The endpoint that a client's last connection went to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity<A> {
    /// The endpoint's address.
    pub address: A,
    /// The endpoint's port.
    pub port: Port,
    padding: [u8; 2],
    /// When the last connection was opened.
    pub opened: Moment,
}

impl<A: Address> Affinity<A> {
    /// Makes the value.
    #[inline(always)]
    pub const fn new(address: A, port: Port, opened: Moment) -> Self {
        Self { address, port, padding: [0; 2], opened }
    }
}

/// For how long a service's clients stay with an endpoint; of meaning only where the service's
/// record [says so](crate::service::ServiceRecord::has_affinity).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityRule {
    group: u32,
    seconds: u32,
}

impl AffinityRule {
    /// Makes the rule: `seconds` from 1 to 86400. Services of one `group` share what they remember:
    /// the lists of endpoints of one service port.
    pub const fn new(group: ServiceId, seconds: u32) -> Self {
        Self { group: group.0, seconds }
    }

    /// Under which number a client is remembered.
    #[inline(always)]
    pub const fn group(self) -> ServiceId {
        ServiceId(self.group)
    }

    /// How long after its last connection was opened a client is remembered.
    #[inline(always)]
    pub const fn seconds(self) -> u32 {
        self.seconds
    }
}

const _: () = assert!(size_of::<AffinityKey<Ipv4Wire>>() == 8);
const _: () = assert!(size_of::<AffinityKey<Ipv6Wire>>() == 20);
const _: () = assert!(size_of::<Affinity<Ipv4Wire>>() == 12);
const _: () = assert!(size_of::<Affinity<Ipv6Wire>>() == 24);
const _: () = assert!(size_of::<AffinityRule>() == 8);
