//! `datapath`'s tables, in BPF maps.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST, bpf_sock_addr, xdp_md},
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use datapath::{
    connect::Plan,
    parse::Facts,
    tables::{InsertError, Repeated, Stack, Surroundings, Tables},
    verdict::Translation,
};
use maps_schema::{
    address::{Address, AddressPair, IfIndex, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey, AffinityRule},
    clock::{CoarseTime, Moment},
    connection::{Connection, FlowKey, State},
    fragment::{FirstFragment, FragmentKey},
    service::{
        AddressEntry, AddressRole, Backend, BackendId, Frontend, FrontendKey, ServiceId,
        ServiceRecord, Slot, SourceKey,
    },
    way::{Network, Node, NodeId, Way},
};

use crate::{
    config::{Configured, masquerade_ports},
    helpers,
    maps::{
        ADDRESSES_V4, ADDRESSES_V6, AFFINITIES_V4, AFFINITIES_V6, AFFINITY_RULES, BACKENDS,
        CONNECTIONS_V4, CONNECTIONS_V6, FACTS_V4, FACTS_V6, FRAGMENTS_V4, FRAGMENTS_V6,
        FRONTENDS_V4, FRONTENDS_V6, NETWORKS_V4, NETWORKS_V6, NODE_ADDRESSES, NODES, PLAN_V4,
        PLAN_V6, SERVICES, SLOTS, SOURCE_RANGES_V4, SOURCE_RANGES_V6, SOURCES, TRANSLATION_V4,
        TRANSLATION_V6, UPLINKS,
    },
    route::way_out,
};

/// The maps of this node.
pub(crate) struct Maps;

/// A family that has maps of its own.
pub(crate) trait Mapped: Address {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>>;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend>;
    const ADDRESSES: &'static HashMap<Self, AddressEntry>;
    const NETWORKS: &'static LpmTrie<Self, Network>;
    const AFFINITIES: &'static LruHashMap<AffinityKey<Self>, Affinity<Self>>;
    const SOURCE_RANGES: &'static LpmTrie<SourceKey<Self>, u8>;
    const FRAGMENTS: &'static LruHashMap<FragmentKey<Self>, FirstFragment>;
    const PLAN: &'static PerCpuArray<MaybeUninit<Plan<Self>>>;
    const FACTS: &'static PerCpuArray<MaybeUninit<Facts<Self>>>;
    const TRANSLATION: &'static PerCpuArray<MaybeUninit<Translation<Self>>>;
    /// How many bits an address has.
    const BITS: u32;
    /// The family's half of a pair.
    fn of_pair(pair: &AddressPair) -> Self;
}

impl Mapped for Ipv4Wire {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>> = &CONNECTIONS_V4;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend> = &FRONTENDS_V4;
    const ADDRESSES: &'static HashMap<Self, AddressEntry> = &ADDRESSES_V4;
    const NETWORKS: &'static LpmTrie<Self, Network> = &NETWORKS_V4;
    const AFFINITIES: &'static LruHashMap<AffinityKey<Self>, Affinity<Self>> = &AFFINITIES_V4;
    const SOURCE_RANGES: &'static LpmTrie<SourceKey<Self>, u8> = &SOURCE_RANGES_V4;
    const FRAGMENTS: &'static LruHashMap<FragmentKey<Self>, FirstFragment> = &FRAGMENTS_V4;
    const PLAN: &'static PerCpuArray<MaybeUninit<Plan<Self>>> = &PLAN_V4;
    const FACTS: &'static PerCpuArray<MaybeUninit<Facts<Self>>> = &FACTS_V4;
    const TRANSLATION: &'static PerCpuArray<MaybeUninit<Translation<Self>>> = &TRANSLATION_V4;
    const BITS: u32 = 32;

    #[inline(always)]
    fn of_pair(pair: &AddressPair) -> Self {
        pair.v4
    }
}

impl Mapped for Ipv6Wire {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>> = &CONNECTIONS_V6;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend> = &FRONTENDS_V6;
    const ADDRESSES: &'static HashMap<Self, AddressEntry> = &ADDRESSES_V6;
    const NETWORKS: &'static LpmTrie<Self, Network> = &NETWORKS_V6;
    const AFFINITIES: &'static LruHashMap<AffinityKey<Self>, Affinity<Self>> = &AFFINITIES_V6;
    const SOURCE_RANGES: &'static LpmTrie<SourceKey<Self>, u8> = &SOURCE_RANGES_V6;
    const FRAGMENTS: &'static LruHashMap<FragmentKey<Self>, FirstFragment> = &FRAGMENTS_V6;
    const PLAN: &'static PerCpuArray<MaybeUninit<Plan<Self>>> = &PLAN_V6;
    const FACTS: &'static PerCpuArray<MaybeUninit<Facts<Self>>> = &FACTS_V6;
    const TRANSLATION: &'static PerCpuArray<MaybeUninit<Translation<Self>>> = &TRANSLATION_V6;
    const BITS: u32 = 128;

    #[inline(always)]
    fn of_pair(pair: &AddressPair) -> Self {
        pair.v6
    }
}

const EEXIST: i32 = -17;

impl<A: Mapped> Tables<A> for Maps {
    #[inline(always)]
    fn connection(&self, flow: &FlowKey<A>, seen: State, now: CoarseTime) -> Option<Connection<A>> {
        let entry = A::CONNECTIONS.get_ptr_mut(flow)?;
        // SAFETY: the verifier has checked the pointer, and the element stays allocated for this
        // run of the program. It may be written by other processors meanwhile: only the fields that
        // `note` writes, each in one store.
        let connection = unsafe { *entry };
        if connection.is_news(seen, now) {
            // SAFETY: as above.
            unsafe { (*entry).note(seen, now) };
        }
        Some(connection)
    }

    #[inline(always)]
    fn peek_connection(&self, flow: &FlowKey<A>) -> Option<Connection<A>> {
        // SAFETY: the value is copied out at once.
        unsafe { A::CONNECTIONS.get(flow) }.copied()
    }

    #[inline(always)]
    fn insert_connection(
        &self,
        flow: &FlowKey<A>,
        connection: &Connection<A>,
    ) -> Result<(), InsertError> {
        match A::CONNECTIONS.insert(flow, connection, BPF_NOEXIST.into()) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(InsertError::Exists),
            Err(_) => Err(InsertError::Full),
        }
    }

    #[inline(always)]
    fn remove_connection(&self, flow: &FlowKey<A>) {
        let _ = A::CONNECTIONS.remove(flow);
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        // SAFETY: the value is copied out at once.
        unsafe { A::FRONTENDS.get(key) }.copied()
    }

    #[inline(always)]
    fn service(&self, service: ServiceId) -> Option<ServiceRecord> {
        let record = SERVICES.get_ptr(service.0)?;
        // SAFETY: the pointer is the verifier's; the agent stores the word whole, and so it is
        // read.
        Some(unsafe { record.read_volatile() })
    }

    #[inline(always)]
    fn backend(&self, slot: Slot) -> Option<Backend> {
        let &BackendId(backend) = SLOTS.get(slot.0)?;
        BACKENDS.get(backend).copied()
    }

    #[inline(always)]
    fn affinity_rule(&self, service: ServiceId) -> Option<AffinityRule> {
        AFFINITY_RULES.get(service.0).copied()
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity<A>> {
        // SAFETY: the value is copied out at once.
        unsafe { A::AFFINITIES.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_affinity(&self, key: &AffinityKey<A>, value: &Affinity<A>) {
        // The table is an LRU: it is never full.
        let _ = A::AFFINITIES.insert(key, value, 0);
    }

    #[inline(always)]
    fn admits(&self, service: ServiceId, source: A) -> bool {
        let bits = SourceKey::<A>::SERVICE_BITS + A::BITS;
        A::SOURCE_RANGES.get(&Key::new(bits, SourceKey::new(service, source))).is_some()
    }

    #[inline(always)]
    fn address(&self, address: A) -> Option<AddressEntry> {
        // SAFETY: the value is copied out at once.
        unsafe { A::ADDRESSES.get(address) }.copied()
    }

    #[inline(always)]
    fn network(&self, address: A) -> Way {
        A::NETWORKS.get(&Key::new(A::BITS, address)).copied().unwrap_or_default().way()
    }

    #[inline(always)]
    fn is_source(&self, interface: IfIndex, address: A) -> bool {
        if let Some(pair) = SOURCES.get(interface.get()) {
            return A::of_pair(pair) == address;
        }
        let entry = Tables::<A>::address(self, address).map(|entry| entry.role());
        matches!(entry, Some(AddressRole::Pod(link)) if link.interface == interface)
    }
}

/// The kernel's clock, chance and network stack.
pub(crate) struct Kernel {
    context: *mut c_void,
    interface: IfIndex,
}

impl Kernel {
    /// For the packet of a TC program.
    #[inline(always)]
    pub(crate) fn of(skb: *mut __sk_buff) -> Self {
        Self { context: skb.cast(), interface: helpers::interface(skb) }
    }

    /// For the frame of an XDP program.
    #[inline(always)]
    pub(crate) fn of_frame(frame: *mut xdp_md) -> Self {
        Self { context: frame.cast(), interface: helpers::receiver(frame) }
    }
}

impl Kernel {
    /// For a socket.
    #[inline(always)]
    pub(crate) fn of_socket(socket: *mut bpf_sock_addr) -> Self {
        Self { context: socket.cast(), interface: IfIndex::NONE }
    }
}

impl Surroundings for Kernel {
    #[inline(always)]
    fn now(&self) -> CoarseTime {
        CoarseTime::from_nanoseconds(helpers::ktime_get_coarse_ns())
    }

    #[inline(always)]
    fn moment(&self) -> Moment {
        Moment::from_nanoseconds(helpers::ktime_get_coarse_ns())
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        helpers::get_prandom_u32()
    }

    #[inline(always)]
    fn repeat<T: Repeated>(&self, times: u32, repeated: &mut T) {
        helpers::repeat(times, repeated);
    }
}

/// Another node, if there is one of this number.
#[inline(always)]
pub(crate) fn known_node(NodeId(node): NodeId) -> Option<Node> {
    NODES.get(node.into()).copied().filter(|node| node.ip_version() != 0)
}

/// The node's address on an interface, if that is an uplink.
#[inline(always)]
pub(crate) fn uplink_address<A: Mapped>(interface: IfIndex) -> Option<A> {
    // SAFETY: the value is copied out at once.
    let pair = unsafe { UPLINKS.get(interface.get()) }?;
    let address = A::of_pair(pair);
    (address != A::from_slot([0; 16])).then_some(address)
}

impl<A: Mapped + Configured> Stack<A> for Kernel {
    #[inline(always)]
    fn bridge_address(&self) -> A {
        A::bridge()
    }

    #[inline(always)]
    fn node_address(&self) -> A {
        NODE_ADDRESSES.get(0).map_or_else(|| A::from_slot([0; 16]), A::of_pair)
    }

    #[inline(always)]
    fn uplink_address(&self, destination: A) -> Option<A> {
        uplink_address(way_out(self.context, self.interface, destination)?)
    }

    #[inline(always)]
    fn has_socket(&self, flow: &FlowKey<A>) -> bool {
        helpers::has_socket(self.context, flow)
    }

    #[inline(always)]
    fn masquerade_ports(&self) -> (u16, u16) {
        masquerade_ports()
    }
}
