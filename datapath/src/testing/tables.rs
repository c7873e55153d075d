//! Tables in `BTreeMap`s, with the capacities and the zeroed elements that BPF maps have.

use std::{cell::RefCell, collections::BTreeMap};

use maps_schema::{
    address::{Address, IfIndex},
    affinity::{Affinity, AffinityKey, AffinityRule},
    clock::CoarseTime,
    connection::{Connection, FlowKey, State},
    service::{
        AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceId, ServiceRecord, Slot,
    },
    way::Way,
};

use super::accesses::{Access, Accesses, Map};
use crate::tables::{InsertError, Tables};

/// How many elements the arrays have: beyond, a look-up finds nothing; before, an element that was
/// never written is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraySizes {
    /// Service records.
    pub services: u32,
    /// Slots.
    pub slots: u32,
    /// Backends.
    pub backends: u32,
}

impl ArraySizes {
    /// Enough for any test, and little to clear.
    pub const SMALL: Self = Self { services: 128, slots: 128, backends: 128 };
}

/// The arrays that both families share.
#[derive(Clone, Debug)]
pub struct Arrays {
    /// Their sizes.
    pub sizes: ArraySizes,
    /// Service records.
    pub services: BTreeMap<ServiceId, ServiceRecord>,
    /// Slots.
    pub slots: BTreeMap<Slot, BackendId>,
    /// Backends.
    pub backends: BTreeMap<BackendId, Backend>,
    /// Rules of session affinity.
    pub affinity_rules: BTreeMap<ServiceId, AffinityRule>,
}

impl Arrays {
    /// Arrays of zeros.
    pub fn new(sizes: ArraySizes) -> Self {
        Self {
            sizes,
            services: BTreeMap::new(),
            slots: BTreeMap::new(),
            backends: BTreeMap::new(),
            affinity_rules: BTreeMap::new(),
        }
    }
}

/// The tables of one family.
#[derive(Clone, Debug)]
pub struct MemoryTables<A> {
    /// Connection entries.
    pub connections: RefCell<BTreeMap<FlowKey<A>, Connection<A>>>,
    /// How many connection entries there can be.
    pub connection_capacity: usize,
    /// Frontends.
    pub frontends: BTreeMap<FrontendKey<A>, Frontend>,
    /// What addresses are.
    pub addresses: BTreeMap<A, AddressEntry>,
    /// The ways to networks: prefixes and their lengths.
    pub networks: Vec<(A, u32, Way)>,
    /// The address of the pod behind each interface.
    pub sources: BTreeMap<IfIndex, A>,
    /// Which clients stay with which endpoints.
    pub affinities: RefCell<BTreeMap<AffinityKey<A>, Affinity<A>>>,
    /// The source ranges of services: prefixes and their lengths.
    pub source_ranges: Vec<(ServiceId, A, u32)>,
    /// The arrays.
    pub arrays: Arrays,
    /// How often each was asked and changed, as BPF maps would be.
    pub accesses: Accesses,
}

impl<A: Address> MemoryTables<A> {
    /// Empty tables.
    pub fn new(connection_capacity: usize) -> Self {
        Self {
            connections: RefCell::default(),
            connection_capacity,
            frontends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            networks: Vec::new(),
            sources: BTreeMap::new(),
            affinities: RefCell::default(),
            source_ranges: Vec::new(),
            arrays: Arrays::new(ArraySizes::SMALL),
            accesses: Accesses::default(),
        }
    }

    fn count(&self, map: Map, access: Access) {
        self.accesses.count(map, access);
    }
}

impl<A: Address> Tables<A> for MemoryTables<A> {
    fn connection(&self, flow: &FlowKey<A>, seen: State, now: CoarseTime) -> Option<Connection<A>> {
        self.count(Map::Connections, Access::Lookup);
        let mut connections = self.connections.borrow_mut();
        let entry = connections.get_mut(flow)?;
        let before = *entry;
        if entry.is_news(seen, now) {
            entry.note(seen, now);
        }
        Some(before)
    }

    fn peek_connection(&self, flow: &FlowKey<A>) -> Option<Connection<A>> {
        self.count(Map::Connections, Access::Lookup);
        self.connections.borrow().get(flow).copied()
    }

    fn insert_connection(
        &self,
        flow: &FlowKey<A>,
        connection: &Connection<A>,
    ) -> Result<(), InsertError> {
        self.count(Map::Connections, Access::Update);
        let mut connections = self.connections.borrow_mut();
        if connections.contains_key(flow) {
            return Err(InsertError::Exists);
        }
        if connections.len() >= self.connection_capacity {
            return Err(InsertError::Full);
        }
        connections.insert(*flow, *connection);
        Ok(())
    }

    fn remove_connection(&self, flow: &FlowKey<A>) {
        self.count(Map::Connections, Access::Delete);
        self.connections.borrow_mut().remove(flow);
    }

    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        self.count(Map::Frontends, Access::Lookup);
        self.frontends.get(key).copied()
    }

    fn service(&self, service: ServiceId) -> Option<ServiceRecord> {
        self.count(Map::Services, Access::Lookup);
        let Arrays { sizes, services, .. } = &self.arrays;
        (service.0 < sizes.services).then(|| services.get(&service).copied().unwrap_or_default())
    }

    fn backend(&self, slot: Slot) -> Option<Backend> {
        self.count(Map::Slots, Access::Lookup);
        self.count(Map::Backends, Access::Lookup);
        let Arrays { sizes, slots, backends, .. } = &self.arrays;
        if slot.0 >= sizes.slots {
            return None;
        }
        let backend = slots.get(&slot).copied().unwrap_or_default();
        (backend.0 < sizes.backends).then(|| backends.get(&backend).copied().unwrap_or_default())
    }

    fn affinity_rule(&self, service: ServiceId) -> Option<AffinityRule> {
        self.count(Map::AffinityRules, Access::Lookup);
        let Arrays { sizes, affinity_rules, .. } = &self.arrays;
        (service.0 < sizes.services)
            .then(|| affinity_rules.get(&service).copied().unwrap_or_default())
    }

    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity<A>> {
        self.count(Map::Affinities, Access::Lookup);
        self.affinities.borrow().get(key).copied()
    }

    fn remember_affinity(&self, key: &AffinityKey<A>, value: &Affinity<A>) {
        self.count(Map::Affinities, Access::Update);
        self.affinities.borrow_mut().insert(*key, *value);
    }

    fn admits(&self, service: ServiceId, source: A) -> bool {
        self.count(Map::SourceRanges, Access::Lookup);
        self.source_ranges
            .iter()
            .any(|&(of, prefix, length)| of == service && holds(prefix, length, source))
    }

    fn address(&self, address: A) -> Option<AddressEntry> {
        self.count(Map::Addresses, Access::Lookup);
        self.addresses.get(&address).copied()
    }

    fn network(&self, address: A) -> Way {
        self.count(Map::Networks, Access::Lookup);
        let networks = self.networks.iter();
        let holding = networks.filter(|(prefix, length, _)| holds(*prefix, *length, address));
        let longest = holding.max_by_key(|(_, length, _)| *length);
        longest.map_or(Way::Stack, |&(_, _, way)| way)
    }

    fn is_source(&self, interface: IfIndex, address: A) -> bool {
        self.count(Map::Sources, Access::Lookup);
        self.sources.get(&interface) == Some(&address)
    }
}

/// Whether a prefix of so many bits holds an address.
fn holds<A: Address>(prefix: A, length: u32, address: A) -> bool {
    let [prefix, address] = [prefix, address].map(|one| u128::from_be_bytes(one.to_slot()));
    (prefix ^ address).leading_zeros() >= length
}
