//! The maps: names, sizes, and the version of everything in this crate.

/// Changes whenever a key, a value, a name or a meaning in this crate does. Maps are pinned below a
/// directory of this name, so that programs never meet maps of another layout.
pub const SCHEMA_VERSION: &str = "v3";

/// Connection entries, IPv4: `FlowKey<Ipv4Wire>` → `Connection<Ipv4Wire>`. Hash, written by
/// programs.
pub const CONNECTIONS_V4: &str = "CONNECTIONS_V4";
/// Connection entries, IPv6: `FlowKey<Ipv6Wire>` → `Connection<Ipv6Wire>`. Hash, written by
/// programs.
pub const CONNECTIONS_V6: &str = "CONNECTIONS_V6";
/// Frontends, IPv4: `FrontendKey<Ipv4Wire>` → `Frontend`. Hash.
pub const FRONTENDS_V4: &str = "FRONTENDS_V4";
/// Frontends, IPv6: `FrontendKey<Ipv6Wire>` → `Frontend`. Hash.
pub const FRONTENDS_V6: &str = "FRONTENDS_V6";
/// What addresses are, IPv4: `Ipv4Wire` → `AddressEntry`. Hash.
pub const ADDRESSES_V4: &str = "ADDRESSES_V4";
/// What addresses are, IPv6: `Ipv6Wire` → `AddressEntry`. Hash.
pub const ADDRESSES_V6: &str = "ADDRESSES_V6";
/// Service records: `ServiceId` → `ServiceRecord`. Array, memory-mapped.
pub const SERVICES: &str = "SERVICES";
/// Slots: `Slot` → `BackendId`. Array, memory-mapped.
pub const SLOTS: &str = "SLOTS";
/// Backends: `BackendId` → `Backend`. Array, memory-mapped.
pub const BACKENDS: &str = "BACKENDS";
/// Which socket talks to which backend for which service address: `SocketPeerKey` → `SocketPeer`.
/// LRU hash.
pub const SOCKET_PEERS: &str = "SOCKET_PEERS";
/// The network namespaces whose sockets are translated, by cookie: `u64` → `SocketNamespace`. Hash.
pub const SOCKET_NAMESPACES: &str = "SOCKET_NAMESPACES";
/// Counters of services: `ServiceId` → `ServiceCounters`. Per-CPU array.
pub const SERVICE_COUNTERS: &str = "SERVICE_COUNTERS";
/// Counters of drops and refusals: `drop_counter_index` → `u64`. Per-CPU array.
pub const DROP_COUNTERS: &str = "DROP_COUNTERS";

/// The ways to networks, IPv4: prefix → `Network`. Longest-prefix-match trie; what no prefix holds
/// is the kernel's.
pub const NETWORKS_V4: &str = "NETWORKS_V4";
/// The ways to networks, IPv6: prefix → `Network`. Longest-prefix-match trie.
pub const NETWORKS_V6: &str = "NETWORKS_V6";
/// Other nodes: `NodeId` → `Node`. Array.
pub const NODES: &str = "NODES";
/// The addresses of the pod behind an interface: its number → `AddressPair`. Array; of interfaces
/// with higher numbers, the address maps tell.
pub const SOURCES: &str = "SOURCES";
/// Uplinks, and the node's addresses that the outside sees there: an interface's number →
/// `AddressPair`. Hash.
pub const UPLINKS: &str = "UPLINKS";
/// First fragments, IPv4: `FragmentKey<Ipv4Wire>` → `FirstFragment`. LRU hash, written by programs.
pub const FRAGMENTS_V4: &str = "FRAGMENTS_V4";
/// First fragments, IPv6: `FragmentKey<Ipv6Wire>` → `FirstFragment`. LRU hash, written by programs.
pub const FRAGMENTS_V6: &str = "FRAGMENTS_V6";
/// Fragments that came before the first one of their datagram: `HeldKey` → `HeldFragment`. LRU hash,
/// written by programs.
pub const HELD_FRAGMENTS: &str = "HELD_FRAGMENTS";

/// Rules of session affinity: `ServiceId` → `AffinityRule`. Array, memory-mapped.
pub const AFFINITY_RULES: &str = "AFFINITY_RULES";
/// Who stays with which endpoint, IPv4: `AffinityKey<Ipv4Wire>` → `Affinity<Ipv4Wire>`. LRU hash,
/// written by programs.
pub const AFFINITIES_V4: &str = "AFFINITIES_V4";
/// Who stays with which endpoint, IPv6: `AffinityKey<Ipv6Wire>` → `Affinity<Ipv6Wire>`. LRU hash,
/// written by programs.
pub const AFFINITIES_V6: &str = "AFFINITIES_V6";
/// Whom restricted frontends serve, IPv4: prefix of `SourceKey<Ipv4Wire>` → `u8`, without meaning.
/// Longest-prefix-match trie.
pub const SOURCE_RANGES_V4: &str = "SOURCE_RANGES_V4";
/// Whom restricted frontends serve, IPv6: prefix of `SourceKey<Ipv6Wire>` → `u8`, without meaning.
/// Longest-prefix-match trie.
pub const SOURCE_RANGES_V6: &str = "SOURCE_RANGES_V6";
/// The node's primary addresses: 0 → `AddressPair`. Array.
pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";

/// Every map that is pinned.
pub const ALL: [&str; 27] = [
    CONNECTIONS_V4,
    CONNECTIONS_V6,
    FRONTENDS_V4,
    FRONTENDS_V6,
    ADDRESSES_V4,
    ADDRESSES_V6,
    SERVICES,
    SLOTS,
    BACKENDS,
    SOCKET_PEERS,
    SOCKET_NAMESPACES,
    SERVICE_COUNTERS,
    DROP_COUNTERS,
    NETWORKS_V4,
    NETWORKS_V6,
    NODES,
    SOURCES,
    UPLINKS,
    FRAGMENTS_V4,
    FRAGMENTS_V6,
    HELD_FRAGMENTS,
    AFFINITY_RULES,
    AFFINITIES_V4,
    AFFINITIES_V6,
    SOURCE_RANGES_V4,
    SOURCE_RANGES_V6,
    NODE_ADDRESSES,
];

/// How much the maps hold; the agent's flags of the same names set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Service ports, each counted once per address family.
    pub services: u32,
    /// Endpoints of service ports.
    pub endpoints: u32,
    /// Flows, each with two entries, per address family.
    pub connections: u32,
}

impl Limits {
    /// The sizes that the object file is built with.
    pub const DEFAULT: Self = Self { services: 1 << 17, endpoints: 1 << 20, connections: 1 << 20 };
}

impl Limits {
    /// How many frontends there can be per family: a service port has several.
    pub const fn frontends(self) -> u32 {
        self.services.saturating_mul(4)
    }

    /// How many slots there are: a service can be replaced while it is in use, and those that the
    /// outside reaches have a Maglev table.
    pub const fn slots(self) -> u32 {
        self.endpoints.saturating_mul(4)
    }

    /// How many pods' and services' addresses are known per family.
    pub const fn addresses(self) -> u32 {
        self.services.saturating_add(1 << 12)
    }
}

/// How many socket translations are remembered.
pub const MAX_SOCKET_PEERS: u32 = 1 << 16;
/// How many namespaces' sockets are translated: the node's and its pods'.
pub const MAX_SOCKET_NAMESPACES: u32 = 1 << 12;
/// How many networks are known per family.
pub const MAX_NETWORKS: u32 = 1 << 14;
/// How many other nodes are known.
pub const MAX_NODES: u32 = 1 << 13;
/// How many uplinks a node has.
pub const MAX_UPLINKS: u32 = 1 << 4;
/// Below this number, an interface's pod is found in an array.
pub const MAX_SOURCES: u32 = 1 << 16;
/// How many clients with session affinity are remembered per family.
pub const MAX_AFFINITIES: u32 = 1 << 16;
/// How many source ranges of services there are per family, each counted once per list of
/// endpoints.
pub const MAX_SOURCE_RANGES: u32 = 1 << 16;
/// How many fragmented datagrams are remembered per family.
pub const MAX_FRAGMENTS: u32 = 1 << 13;
/// How many fragments wait for the first one of their datagram, in both families together: 4 MiB.
pub const MAX_HELD_FRAGMENTS: u32 = 1 << 11;
