//! The maps. Their names and sizes are `maps_schema::maps`'.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
};
use datapath::{connect::Plan, parse::Facts, verdict::Translation};
use maps_schema::{
    address::{AddressPair, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey, AffinityRule},
    connection::{Connection, FlowKey},
    counters::{self, ServiceCounters},
    fragment::{FirstFragment, FragmentKey, HeldFragment, HeldKey},
    maps::{
        Limits, MAX_AFFINITIES, MAX_FRAGMENTS, MAX_HELD_FRAGMENTS, MAX_NETWORKS, MAX_NODES,
        MAX_SOCKET_NAMESPACES, MAX_SOCKET_PEERS, MAX_SOURCE_RANGES, MAX_SOURCES, MAX_UPLINKS,
    },
    service::{AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceRecord, SourceKey},
    socket::{SocketNamespace, SocketPeer, SocketPeerKey},
    way::{Network, Node},
};

use crate::programs::{ANSWERS, NextHop, Pending};

const LIMITS: Limits = Limits::DEFAULT;

// Entries of hashes are allocated as they come: what is reserved up front would be most of what is
// ever used.

#[map]
pub(crate) static CONNECTIONS_V4: HashMap<FlowKey<Ipv4Wire>, Connection<Ipv4Wire>> =
    HashMap::with_max_entries(LIMITS.connections * 2, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static CONNECTIONS_V6: HashMap<FlowKey<Ipv6Wire>, Connection<Ipv6Wire>> =
    HashMap::with_max_entries(LIMITS.connections * 2, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static FRONTENDS_V4: HashMap<FrontendKey<Ipv4Wire>, Frontend> =
    HashMap::with_max_entries(LIMITS.frontends(), BPF_F_NO_PREALLOC);

#[map]
pub(crate) static FRONTENDS_V6: HashMap<FrontendKey<Ipv6Wire>, Frontend> =
    HashMap::with_max_entries(LIMITS.frontends(), BPF_F_NO_PREALLOC);

#[map]
pub(crate) static ADDRESSES_V4: HashMap<Ipv4Wire, AddressEntry> =
    HashMap::with_max_entries(LIMITS.addresses(), BPF_F_NO_PREALLOC);

#[map]
pub(crate) static ADDRESSES_V6: HashMap<Ipv6Wire, AddressEntry> =
    HashMap::with_max_entries(LIMITS.addresses(), BPF_F_NO_PREALLOC);

#[map]
pub(crate) static SERVICES: Array<ServiceRecord> =
    Array::with_max_entries(LIMITS.services, BPF_F_MMAPABLE);

#[map]
pub(crate) static SLOTS: Array<BackendId> = Array::with_max_entries(LIMITS.slots(), BPF_F_MMAPABLE);

#[map]
pub(crate) static BACKENDS: Array<Backend> =
    Array::with_max_entries(LIMITS.endpoints, BPF_F_MMAPABLE);

#[map]
pub(crate) static SOCKET_PEERS: LruHashMap<SocketPeerKey, SocketPeer> =
    LruHashMap::with_max_entries(MAX_SOCKET_PEERS, 0);

#[map]
pub(crate) static SOCKET_NAMESPACES: HashMap<u64, SocketNamespace> =
    HashMap::with_max_entries(MAX_SOCKET_NAMESPACES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static SERVICE_COUNTERS: PerCpuArray<ServiceCounters> =
    PerCpuArray::with_max_entries(LIMITS.services, 0);

#[map]
pub(crate) static DROP_COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(counters::DROP_COUNTERS, 0);

#[map]
pub(crate) static NETWORKS_V4: LpmTrie<Ipv4Wire, Network> =
    LpmTrie::with_max_entries(MAX_NETWORKS, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static NETWORKS_V6: LpmTrie<Ipv6Wire, Network> =
    LpmTrie::with_max_entries(MAX_NETWORKS, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static NODES: Array<Node> = Array::with_max_entries(MAX_NODES, 0);

#[map]
pub(crate) static NODE_ADDRESSES: Array<AddressPair> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static SOURCES: Array<AddressPair> = Array::with_max_entries(MAX_SOURCES, 0);

#[map]
pub(crate) static UPLINKS: HashMap<u32, AddressPair> =
    HashMap::with_max_entries(MAX_UPLINKS, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static FRAGMENTS_V4: LruHashMap<FragmentKey<Ipv4Wire>, FirstFragment> =
    LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);

#[map]
pub(crate) static FRAGMENTS_V6: LruHashMap<FragmentKey<Ipv6Wire>, FirstFragment> =
    LruHashMap::with_max_entries(MAX_FRAGMENTS, 0);

#[map]
pub(crate) static HELD_FRAGMENTS: LruHashMap<HeldKey, HeldFragment> =
    LruHashMap::with_max_entries(MAX_HELD_FRAGMENTS, 0);

#[map]
pub(crate) static AFFINITY_RULES: Array<AffinityRule> =
    Array::with_max_entries(LIMITS.services, BPF_F_MMAPABLE);

#[map]
pub(crate) static AFFINITIES_V4: LruHashMap<AffinityKey<Ipv4Wire>, Affinity<Ipv4Wire>> =
    LruHashMap::with_max_entries(MAX_AFFINITIES, 0);

#[map]
pub(crate) static AFFINITIES_V6: LruHashMap<AffinityKey<Ipv6Wire>, Affinity<Ipv6Wire>> =
    LruHashMap::with_max_entries(MAX_AFFINITIES, 0);

#[map]
pub(crate) static SOURCE_RANGES_V4: LpmTrie<SourceKey<Ipv4Wire>, u8> =
    LpmTrie::with_max_entries(MAX_SOURCE_RANGES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static SOURCE_RANGES_V6: LpmTrie<SourceKey<Ipv6Wire>, u8> =
    LpmTrie::with_max_entries(MAX_SOURCE_RANGES, BPF_F_NO_PREALLOC);

// Frames on their way to a map or back into a packet: they are more than a stack holds. Not pinned.

#[map]
pub(crate) static HELD_FRAME: PerCpuArray<HeldFragment> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static ASIDE: PerCpuArray<Aside> = PerCpuArray::with_max_entries(1, 0);

/// The longest frame that is copied to be restored: one of the longest Ethernet frames that there
/// are.
pub(crate) const MAX_ASIDE_FRAME: usize = 10 * 1024;

/// A packet that is to be restored.
#[repr(C)]
pub(crate) struct Aside {
    pub(crate) mark: u32,
    pub(crate) length: u32,
    pub(crate) frame: [u8; MAX_ASIDE_FRAME],
}

// What one stage of a program hands to the next, where that is more than a register. Not pinned.

#[map]
pub(crate) static PLAN_V4: PerCpuArray<MaybeUninit<Plan<Ipv4Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static PLAN_V6: PerCpuArray<MaybeUninit<Plan<Ipv6Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static PENDING_V4: PerCpuArray<MaybeUninit<Pending<Ipv4Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static PENDING_V6: PerCpuArray<MaybeUninit<Pending<Ipv6Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static FACTS_V4: PerCpuArray<MaybeUninit<Facts<Ipv4Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static FACTS_V6: PerCpuArray<MaybeUninit<Facts<Ipv6Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static TRANSLATION_V4: PerCpuArray<MaybeUninit<Translation<Ipv4Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static TRANSLATION_V6: PerCpuArray<MaybeUninit<Translation<Ipv6Wire>>> =
    PerCpuArray::with_max_entries(1, 0);

// What the kernel has answered. Not pinned either.

#[map]
pub(crate) static NEXT_HOPS: PerCpuArray<NextHop> = PerCpuArray::with_max_entries(ANSWERS, 0);
