//! Tables in plain collections, which look at every write through the eyes of packets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    panic,
    time::Instant,
};

use maps_schema::{
    address::{PodLink, Protocol},
    service::{AddressRole, Backend, BackendId, ServiceId, ServiceRecord, Slot, WhenEmpty},
};

use crate::sync::{
    backends::key_of,
    pool::GRACE,
    tables::{FrontendAddress, ServiceTables, TableError},
};

/// What becomes of a packet that opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to one of these, each as likely as often as it is named.
    Backends(Vec<(SocketAddr, PodLink)>),
    Empty(WhenEmpty),
    /// The address is a service's own, the port is not.
    NoSuchPort,
    Pod(PodLink),
    Unknown,
}

/// What a panicking write throws.
pub(super) struct Crash;

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) frontends: BTreeMap<FrontendAddress, ServiceId>,
    pub(super) addresses: BTreeMap<IpAddr, AddressRole>,
    namespaces: BTreeSet<u64>,
    records: Vec<ServiceRecord>,
    slots: Vec<Option<BackendId>>,
    backends: Vec<Option<Backend>>,
    /// The most frontends and the most addresses.
    pub(super) limit: usize,
    pub(super) now: Instant,
    pub(super) writes: usize,
    /// Before which write this stops, for good.
    pub(super) crash_before: Option<usize>,
    /// Which write, of those that can fail, fails.
    pub(super) fail_at: Option<usize>,
    fallible: usize,
    /// What packets may meet.
    allowed: BTreeMap<FrontendAddress, Vec<Fate>>,
    in_reach: HashMap<Element, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Element {
    Record(ServiceId),
    Slot(Slot),
    Backend(BackendId),
}

impl Fake {
    pub(super) fn new(services: usize, slots: usize, backends: usize) -> Self {
        Self {
            frontends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            records: vec![ServiceRecord::default(); services],
            slots: vec![None; slots],
            backends: vec![None; backends],
            limit: usize::MAX,
            now: Instant::now(),
            writes: 0,
            crash_before: None,
            fail_at: None,
            fallible: 0,
            allowed: BTreeMap::new(),
            in_reach: HashMap::new(),
        }
    }

    /// What becomes of a packet now, by the steps of the datapath's `decide` and `select`.
    pub(super) fn fate(&self, frontend: FrontendAddress) -> Fate {
        let Some(&service) = self.frontends.get(&frontend) else {
            return match self.addresses.get(&frontend.address.ip()) {
                Some(&AddressRole::Pod(link)) => Fate::Pod(link),
                Some(AddressRole::Service) => Fate::NoSuchPort,
                None => Fate::Unknown,
            };
        };
        let record = self.record(service);
        if record.slots() == 0 {
            return Fate::Empty(record.when_empty());
        }
        let run = record.first().0..record.first().0 + record.slots();
        let backend = |slot| {
            let id = self.slots[slot as usize].expect("the slot was written");
            let backend = self.backends[id.0 as usize].expect("the backend was written");
            key_of(&backend).expect("the backend has an address")
        };
        let mut backends: Vec<_> = run.map(backend).collect();
        backends.sort_unstable();
        Fate::Backends(backends)
    }

    /// From now on packets may meet what they would meet now, or `after`.
    pub(super) fn expect(&mut self, after: &BTreeMap<FrontendAddress, Fate>) {
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
            AddressRole::Service => None,
        };
        self.addresses.iter().filter_map(pod).collect()
    }

    /// Lets the write of this number fail, counted from now among those that can.
    pub(super) fn fail_next(&mut self, number: Option<usize>) {
        self.fail_at = number.map(|number| self.fallible + number);
    }

    fn before_write(&mut self) {
        self.note_reach();
        if self.crash_before == Some(self.writes) {
            panic::resume_unwind(Box::new(Crash));
        }
        self.writes += 1;
    }

    fn fallible(&mut self) -> Result<(), TableError> {
        self.before_write();
        self.fallible += 1;
        if self.fail_at == Some(self.fallible) {
            return Err(TableError::Full { table: "everything" });
        }
        Ok(())
    }

    fn after_write(&mut self) {
        self.note_reach();
        for (&frontend, allowed) in &self.allowed {
            let fate = self.fate(frontend);
            assert!(
                allowed.contains(&fate),
                "after write {}: {frontend:?} meets {fate:?}, which is none of {allowed:?}",
                self.writes
            );
        }
    }

    /// Notes what a packet may be looking at now.
    fn note_reach(&mut self) {
        let services: BTreeSet<ServiceId> = self.frontends.values().copied().collect();
        for service in services {
            self.in_reach.insert(Element::Record(service), self.now);
            let record = self.record(service);
            for slot in (record.first().0..).take(record.slots() as usize) {
                self.in_reach.insert(Element::Slot(Slot(slot)), self.now);
                if let Some(id) = self.slots[slot as usize] {
                    self.in_reach.insert(Element::Backend(id), self.now);
                }
            }
        }
    }

    fn assert_rested(&self, element: Element) {
        if let Some(&seen) = self.in_reach.get(&element) {
            let rested = self.now.duration_since(seen);
            assert!(rested >= GRACE, "{element:?} is rewritten after {rested:?}");
        }
    }
}

impl ServiceTables for Fake {
    fn capacity(&self) -> (u32, u32, u32) {
        let length = |length: usize| u32::try_from(length).unwrap();
        (length(self.records.len()), length(self.slots.len()), length(self.backends.len()))
    }

    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.before_write();
        self.assert_rested(Element::Backend(id));
        self.backends[id.0 as usize] = Some(backend);
        self.after_write();
    }

    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.before_write();
        self.assert_rested(Element::Slot(slot));
        self.slots[slot.0 as usize] = Some(backend);
        self.after_write();
    }

    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.before_write();
        if !self.frontends.values().any(|&used| used == service) {
            self.assert_rested(Element::Record(service));
        }
        self.records[service.0 as usize] = record;
        self.after_write();
    }

    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        service: ServiceId,
    ) -> Result<(), TableError> {
        self.fallible()?;
        if self.frontends.len() >= self.limit && !self.frontends.contains_key(&frontend) {
            return Err(TableError::Full { table: "frontends" });
        }
        self.frontends.insert(frontend, service);
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

    fn put_namespace(&mut self, cookie: u64) -> Result<(), TableError> {
        self.fallible()?;
        self.namespaces.insert(cookie);
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

    fn frontends(&self) -> Result<Vec<(FrontendAddress, ServiceId)>, TableError> {
        Ok(self.frontends.iter().map(|(&frontend, &service)| (frontend, service)).collect())
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        Ok(self.addresses.iter().map(|(&address, &role)| (address, role)).collect())
    }

    fn namespaces(&self) -> Result<Vec<u64>, TableError> {
        Ok(self.namespaces.iter().copied().collect())
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
pub(super) fn tcp(address: SocketAddr) -> FrontendAddress {
    FrontendAddress { address, protocol: Protocol::TCP }
}
