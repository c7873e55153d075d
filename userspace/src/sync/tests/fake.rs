//! Tables in plain collections, which look at every write through the eyes of packets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    panic,
    time::Instant,
};

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex, PodLink, Protocol},
    affinity::AffinityRule,
    service::{
        AddressRole, Audience, Backend, BackendId, Frontend, ServiceId, ServiceRecord, Slot,
    },
    socket::SocketNamespace,
    way::{Node, NodeId, Way},
};

use super::fate::{Chosen, Fate, Met, Ranges, Stays, clients};
use crate::sync::{
    backends::key_of,
    maglev,
    pool::{GRACE, Run},
    tables::{FrontendAddress, ServiceTables, TableError},
};

/// What a panicking write throws.
pub(super) struct Crash;

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) frontends: BTreeMap<FrontendAddress, Frontend>,
    pub(super) addresses: BTreeMap<IpAddr, AddressRole>,
    pub(super) namespaces: BTreeMap<u64, SocketNamespace>,
    pub(super) node_addresses: AddressPair,
    pub(super) affinity_rules: BTreeMap<ServiceId, AffinityRule>,
    pub(super) source_ranges: BTreeSet<(ServiceId, IpNet)>,
    records: Vec<ServiceRecord>,
    slots: Vec<Option<BackendId>>,
    backends: Vec<Option<Backend>>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) networks: BTreeMap<IpNet, Way>,
    pub(super) sources: BTreeMap<IfIndex, AddressPair>,
    pub(super) uplinks: BTreeMap<IfIndex, AddressPair>,
    /// The most frontends and the most addresses.
    pub(super) limit: usize,
    pub(super) now: Instant,
    pub(super) writes: usize,
    /// Whether ways may still be those to nodes that a former agent knew.
    pub(super) has_leftovers: bool,
    /// How many writes changed something that packets can meet.
    pub(super) steps: usize,
    /// Before which of those this stops, for good.
    pub(super) crash_before: Option<usize>,
    /// Which write, of those that can fail, fails.
    pub(super) fail_at: Option<usize>,
    fallible: usize,
    /// What packets may meet.
    allowed: BTreeMap<FrontendAddress, Vec<Fate>>,
    /// Where packets may meet the node, or what is there without it.
    freely_the_nodes: BTreeSet<IpAddr>,
    in_reach: HashMap<Element, Instant>,
    runs_in_reach: HashMap<(u32, u32), Instant>,
    /// When packets might last have looked for a service's ranges.
    restricted_in_reach: HashMap<ServiceId, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Element {
    Record(ServiceId),
    Backend(BackendId),
}

impl Fake {
    pub(super) fn new(services: usize, slots: usize, backends: usize) -> Self {
        Self {
            frontends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            node_addresses: AddressPair::default(),
            affinity_rules: BTreeMap::new(),
            source_ranges: BTreeSet::new(),
            records: vec![ServiceRecord::default(); services],
            slots: vec![None; slots],
            backends: vec![None; backends],
            nodes: BTreeMap::new(),
            networks: BTreeMap::new(),
            sources: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            limit: usize::MAX,
            now: Instant::now(),
            writes: 0,
            has_leftovers: false,
            steps: 0,
            crash_before: None,
            fail_at: None,
            fallible: 0,
            allowed: BTreeMap::new(),
            freely_the_nodes: BTreeSet::new(),
            in_reach: HashMap::new(),
            runs_in_reach: HashMap::new(),
            restricted_in_reach: HashMap::new(),
        }
    }

    /// What becomes of a packet now, by the steps of the datapath's `decide` and `select`.
    pub(super) fn fate(&self, frontend: FrontendAddress) -> Fate {
        let Some(&leads_to) = self.frontends.get(&frontend) else {
            return match self.addresses.get(&frontend.address.ip()) {
                Some(&AddressRole::Pod(link)) => Fate::Pod(link),
                Some(AddressRole::Service) => Fate::NoSuchPort,
                Some(AddressRole::Node) => Fate::Node,
                None => Fate::Unknown,
            };
        };
        let service = leads_to.service();
        let record = self.record(service);
        let ranges = self.source_ranges.iter().filter(|(of, _)| *of == service);
        let ranges = Ranges::new(leads_to.is_restricted(), ranges.map(|(_, range)| range));
        if record.slots() == 0 {
            return Fate::Empty(record.when_empty(), ranges);
        }
        let run = record.first().0..record.first().0 + record.slots();
        let mut backends: Vec<_> = run
            .map(|slot| self.backend_of(slot))
            .map(|(address, way)| (address, self.met(way)))
            .collect();
        let chosen = if record.maglev_bits() == 0 { Chosen::Hash } else { Chosen::Maglev };
        if record.has_affinity() {
            assert!(backends.is_sorted_by_key(|(address, _)| sort_key(*address)), "to be searched");
            let rule = self.affinity_rules.get(&service).expect("the rule was written");
            assert!(rule.seconds() > 0);
        }
        let stays = Stays::new(record.has_affinity());
        backends.sort_unstable();
        Fate::Backends(backends, leads_to.client(), chosen, stays, ranges)
    }

    fn backend_of(&self, slot: u32) -> (SocketAddr, Way) {
        let id = self.slots[slot as usize].expect("the slot was written");
        let backend = self.backends[id.0 as usize].expect("the backend was written");
        key_of(&backend).expect("the backend has an address")
    }

    pub(super) fn met(&self, way: Way) -> Met {
        match way {
            Way::Stack => Met::Stack,
            Way::Pod(link) => Met::Pod(link),
            Way::Route(NodeId(0)) | Way::Nowhere => Met::Elsewhere,
            Way::Tunnel(id) | Way::Route(id) | Way::Hand(id) => {
                self.nodes.get(&id).map_or(Met::NoNode, |node| Met::Node(node.mac()))
            }
            Way::Outside => Met::Outside,
        }
    }

    /// From now on packets may meet what they would meet now, or `after`. That an address is the
    /// node's own passes between what is before and after it by itself.
    pub(super) fn expect(
        &mut self,
        after: &BTreeMap<FrontendAddress, Fate>,
        node_addresses: &BTreeSet<IpAddr>,
    ) {
        let was_the_nodes = self.addresses.iter().filter(|(_, role)| **role == AddressRole::Node);
        let free = was_the_nodes.map(|(address, _)| address).chain(node_addresses);
        self.freely_the_nodes = free.copied().collect();
        self.allowed = after
            .iter()
            .map(|(&frontend, fate)| (frontend, vec![self.fate(frontend), fate.clone()]))
            .collect();
        if self.fail_at.is_some() {
            // What passes to a service that fails is nobody's, and never somebody else's.
            for allowed in self.allowed.values_mut() {
                allowed.extend([Fate::NoSuchPort, Fate::Unknown]);
            }
        }
    }

    /// The pods that are known.
    pub(super) fn pods(&self) -> HashMap<IpAddr, PodLink> {
        let pod = |(&address, &role)| match role {
            AddressRole::Pod(link) => Some((address, link)),
            AddressRole::Service | AddressRole::Node => None,
        };
        self.addresses.iter().filter_map(pod).collect()
    }

    /// Lets the write of this number fail, counted from now among those that can.
    pub(super) fn fail_next(&mut self, number: Option<usize>) {
        self.fail_at = number.map(|number| self.fallible + number);
    }

    fn before_write(&mut self) {
        self.note_reach();
        if self.crash_before == Some(self.steps) {
            panic::resume_unwind(Box::new(Crash));
        }
        self.writes += 1;
        self.steps += 1;
    }

    pub(super) fn fallible(&mut self) -> Result<(), TableError> {
        self.before_write();
        self.fallible += 1;
        if self.fail_at == Some(self.fallible) {
            return Err(TableError::Full { table: "everything" });
        }
        Ok(())
    }

    pub(super) fn after_write(&mut self) {
        self.note_reach();
        for (&frontend, allowed) in &self.allowed {
            let fate = self.fate(frontend);
            let is_allowed = |client: IpAddr| {
                let fate = fate.of(client);
                allowed.iter().any(|other| {
                    let by_any_way = |fate: Option<Fate>| fate.map(|fate| fate.by_any_way());
                    let other = other.of(client);
                    fate == other
                        || self.has_leftovers && by_any_way(fate.clone()) == by_any_way(other)
                })
            };
            let is_free = self.freely_the_nodes.contains(&frontend.address.ip())
                && !matches!(fate, Fate::Backends(..) | Fate::Empty(..));
            assert!(
                is_free || allowed.contains(&fate) || clients().into_iter().all(is_allowed),
                "after write {}: {frontend:?} meets {fate:?}, which is none of {allowed:?}",
                self.writes
            );
        }
    }

    /// Notes what a packet may be looking at now.
    fn note_reach(&mut self) {
        let services: BTreeSet<ServiceId> =
            self.frontends.values().map(|leads_to| leads_to.service()).collect();
        let restricted = self.frontends.values().filter(|leads_to| leads_to.is_restricted());
        self.restricted_in_reach.extend(restricted.map(|leads_to| (leads_to.service(), self.now)));
        for service in services {
            self.in_reach.insert(Element::Record(service), self.now);
            let record = self.record(service);
            let Run { first, length } = run_of(record);
            self.runs_in_reach.insert((first, length), self.now);
            for slot in (first..).take(record.slots() as usize) {
                if let Some(id) = self.slots[slot as usize] {
                    self.in_reach.insert(Element::Backend(id), self.now);
                }
            }
        }
    }

    /// The ranges that frontends look for.
    pub(super) fn ranges_in_use(&self) -> BTreeSet<(ServiceId, IpNet)> {
        let restricted = self.frontends.values().filter(|leads_to| leads_to.is_restricted());
        let services: BTreeSet<_> = restricted.map(|leads_to| leads_to.service()).collect();
        self.source_ranges.iter().filter(|(of, _)| services.contains(of)).copied().collect()
    }

    fn assert_rested(&self, element: Element) {
        if let Some(&seen) = self.in_reach.get(&element) {
            let rested = self.now.duration_since(seen);
            assert!(rested >= GRACE, "{element:?} is rewritten after {rested:?}");
        }
    }

    fn assert_slot_rested(&self, Slot(slot): Slot) {
        for (&(first, length), &seen) in &self.runs_in_reach {
            let rested = self.now.duration_since(seen);
            let is_in_it = (first..first + length).contains(&slot);
            assert!(!is_in_it || rested >= GRACE, "slot {slot} is rewritten after {rested:?}");
        }
    }

    /// A Maglev table is all there before its service is switched to it.
    fn assert_has_table(&self, record: ServiceRecord) {
        let (first, slots) = (record.first().0, record.slots());
        let addresses: Vec<_> =
            (first..).take(slots as usize).map(|slot| self.backend_of(slot).0).collect();
        let expected = maglev::table(&addresses, record.maglev_bits());
        for (slot, index) in (first + slots..).zip(expected) {
            assert_eq!(self.backend_of(slot).0, addresses[index as usize]);
        }
    }
}

/// What a service with affinity is searched by.
fn sort_key(address: SocketAddr) -> (Vec<u8>, u16) {
    let bytes = match address.ip() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    (bytes, address.port())
}

/// All slots of a service.
fn run_of(record: ServiceRecord) -> Run {
    let length = record.slots() + maglev::size(record.maglev_bits());
    Run { first: record.first().0, length }
}

impl ServiceTables for Fake {
    fn capacity(&self) -> (u32, u32, u32) {
        let length = |length: usize| u32::try_from(length).unwrap();
        (length(self.records.len()), length(self.slots.len()), length(self.backends.len()))
    }

    // Packets cannot meet these two before a record leads to them.

    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.writes += 1;
        self.assert_rested(Element::Backend(id));
        self.backends[id.0 as usize] = Some(backend);
    }

    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.writes += 1;
        self.assert_slot_rested(slot);
        self.slots[slot.0 as usize] = Some(backend);
    }

    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.before_write();
        if !self.frontends.values().any(|used| used.service() == service) {
            self.assert_rested(Element::Record(service));
        }
        self.assert_has_table(record);
        let has_rule = self.affinity_rules.get(&service).is_some_and(|rule| rule.seconds() > 0);
        assert!(!record.has_affinity() || has_rule, "its rule is there before");
        self.records[service.0 as usize] = record;
        self.after_write();
    }

    fn put_affinity_rule(&mut self, service: ServiceId, rule: AffinityRule) {
        self.before_write();
        self.affinity_rules.insert(service, rule);
        self.after_write();
    }

    fn put_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        self.fallible()?;
        if self.source_ranges.len() >= self.limit {
            return Err(TableError::TooMany { table: "source ranges" });
        }
        assert!(self.source_ranges.insert((service, range)), "only what is missing is added");
        self.after_write();
        Ok(())
    }

    fn remove_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        self.fallible()?;
        let is_looked_for = self.ranges_in_use().iter().any(|(of, _)| *of == service);
        if !is_looked_for && let Some(&seen) = self.restricted_in_reach.get(&service) {
            let rested = self.now.duration_since(seen);
            assert!(rested >= GRACE, "a range of {service:?} is gone after {rested:?}");
        }
        assert!(self.source_ranges.remove(&(service, range)), "only what is there is removed");
        self.after_write();
        Ok(())
    }

    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError> {
        self.fallible()?;
        if self.frontends.len() >= self.limit && !self.frontends.contains_key(&frontend) {
            return Err(TableError::Full { table: "frontends" });
        }
        self.frontends.insert(frontend, leads_to);
        self.after_write();
        Ok(())
    }

    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError> {
        self.fallible()?;
        self.frontends.remove(&frontend).expect("only what is there is removed");
        self.after_write();
        Ok(())
    }

    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError> {
        self.fallible()?;
        if self.addresses.len() >= self.limit && !self.addresses.contains_key(&address) {
            return Err(TableError::Full { table: "addresses" });
        }
        self.addresses.insert(address, role);
        self.after_write();
        Ok(())
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError> {
        self.fallible()?;
        self.addresses.remove(&address).expect("only what is there is removed");
        self.after_write();
        Ok(())
    }

    fn put_namespace(&mut self, cookie: u64, namespace: SocketNamespace) -> Result<(), TableError> {
        self.fallible()?;
        self.namespaces.insert(cookie, namespace);
        Ok(())
    }

    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError> {
        self.fallible()?;
        self.namespaces.remove(&cookie);
        Ok(())
    }

    fn reset_counters(&mut self, _service: ServiceId) -> Result<(), TableError> {
        self.fallible()
    }

    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError> {
        Ok(self.frontends.iter().map(|(&frontend, &leads_to)| (frontend, leads_to)).collect())
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        Ok(self.addresses.iter().map(|(&address, &role)| (address, role)).collect())
    }

    fn namespaces(&self) -> Result<Vec<(u64, SocketNamespace)>, TableError> {
        Ok(self.namespaces.clone().into_iter().collect())
    }

    fn source_ranges(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError> {
        Ok(self.source_ranges.iter().copied().collect())
    }

    fn affinity_rule(&self, service: ServiceId) -> AffinityRule {
        *self.affinity_rules.get(&service).expect("only what was written is read")
    }

    fn record(&self, service: ServiceId) -> ServiceRecord {
        self.records[service.0 as usize]
    }

    fn slot(&self, slot: Slot) -> BackendId {
        self.slots[slot.0 as usize].expect("only what was written is read")
    }

    fn backend(&self, id: BackendId) -> Backend {
        self.backends[id.0 as usize].expect("only what was written is read")
    }
}

/// A frontend over TCP.
pub(super) fn tcp(address: SocketAddr, audience: Audience) -> FrontendAddress {
    FrontendAddress { address, protocol: Protocol::TCP, audience }
}
