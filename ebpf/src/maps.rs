//! The maps. Their names and sizes are `maps_schema::maps`'.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    connection::{Connection, FlowKey},
    counters::{self, ServiceCounters},
    maps::{Limits, MAX_SOCKET_NAMESPACES, MAX_SOCKET_PEERS},
    service::{AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceRecord},
    socket::{SocketPeer, SocketPeerKey},
};

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
    HashMap::with_max_entries(LIMITS.services, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static FRONTENDS_V6: HashMap<FrontendKey<Ipv6Wire>, Frontend> =
    HashMap::with_max_entries(LIMITS.services, BPF_F_NO_PREALLOC);

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
pub(crate) static SLOTS: Array<BackendId> =
    Array::with_max_entries(LIMITS.endpoints * 2, BPF_F_MMAPABLE);

#[map]
pub(crate) static BACKENDS: Array<Backend> =
    Array::with_max_entries(LIMITS.endpoints, BPF_F_MMAPABLE);

#[map]
pub(crate) static SOCKET_PEERS: LruHashMap<SocketPeerKey, SocketPeer> =
    LruHashMap::with_max_entries(MAX_SOCKET_PEERS, 0);

#[map]
pub(crate) static SOCKET_NAMESPACES: HashMap<u64, u8> =
    HashMap::with_max_entries(MAX_SOCKET_NAMESPACES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static SERVICE_COUNTERS: PerCpuArray<ServiceCounters> =
    PerCpuArray::with_max_entries(LIMITS.services, 0);

#[map]
pub(crate) static DROP_COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(counters::DROP_COUNTERS, 0);
