//! The types that userspace may copy to and from maps.
#![allow(
    unsafe_code,
    reason = "aya's `Pod` is an unsafe trait, and the orphan rule puts its implementations here"
)]

use crate::{
    address::{AddressPair, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey, AffinityRule},
    connection::{Connection, FlowKey},
    counters::ServiceCounters,
    fragment::{FirstFragment, FragmentKey, HeldFragment, HeldKey},
    replay::Replay,
    service::{AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceRecord, SourceKey},
    socket::{SocketNamespace, SocketPeer, SocketPeerKey},
    way::{Network, Node},
};

macro_rules! plain_bytes {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: the type is `repr(C)` or `repr(transparent)`, made of integers and byte
            // arrays only; its size assertion in its own module, or its transparency, rules out
            // padding.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

plain_bytes!(
    Ipv4Wire,
    Ipv6Wire,
    FlowKey<Ipv4Wire>,
    FlowKey<Ipv6Wire>,
    Connection<Ipv4Wire>,
    Connection<Ipv6Wire>,
    FrontendKey<Ipv4Wire>,
    FrontendKey<Ipv6Wire>,
    Frontend,
    AddressEntry,
    ServiceRecord,
    BackendId,
    Backend,
    ServiceCounters,
    SocketPeerKey,
    SocketPeer,
    AddressPair,
    Network,
    Node,
    FragmentKey<Ipv4Wire>,
    FragmentKey<Ipv6Wire>,
    FirstFragment,
    HeldKey,
    HeldFragment,
    AffinityRule,
    AffinityKey<Ipv4Wire>,
    AffinityKey<Ipv6Wire>,
    Affinity<Ipv4Wire>,
    Affinity<Ipv6Wire>,
    SourceKey<Ipv4Wire>,
    SourceKey<Ipv6Wire>,
    SocketNamespace,
    Replay,
);
