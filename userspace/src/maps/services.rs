//! The maps that `sync` keeps, and the counters.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use aya::{
    Pod,
    maps::{HashMap, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use ipnet::IpNet;
use maps_schema::{
    address::{Address, Ipv4Wire, Ipv6Wire, Port},
    affinity::AffinityRule,
    counters::{Program, ServiceCounters, drop_counter_index},
    drop_reason::DropReason,
    maps,
    service::{
        AddressEntry, AddressRole, Backend, BackendId, Frontend, FrontendKey, ServiceId,
        ServiceRecord, Slot, SourceKey,
    },
    socket::SocketNamespace,
};

use super::{
    MapsError,
    array::MappedArray,
    failures::{full, too_many, unless_absent},
    networks::NetworkMaps,
    open, open_as,
    source_ranges::SourceRangeMap,
};
use crate::sync::tables::{FrontendAddress, ServiceTables, TableError};

/// Frontends, addresses, services, slots and backends.
#[expect(missing_debug_implementations, reason = "aya's per-CPU maps have none")]
pub struct ServiceMaps {
    v4: FamilyMaps<Ipv4Wire>,
    v6: FamilyMaps<Ipv6Wire>,
    services: MappedArray<ServiceRecord>,
    slots: MappedArray<BackendId>,
    backends: MappedArray<Backend>,
    counters: PerCpuArray<MapData, ServiceCounters>,
    affinity_rules: MappedArray<AffinityRule>,
    namespaces: HashMap<MapData, u64, SocketNamespace>,
    pub(super) networks: NetworkMaps,
    processors: usize,
}

#[derive(Debug)]
struct FamilyMaps<A> {
    frontends: HashMap<MapData, FrontendKey<A>, Frontend>,
    addresses: HashMap<MapData, A, AddressEntry>,
    source_ranges: SourceRangeMap<A>,
}

impl<A: Address + Pod> FamilyMaps<A>
where
    FrontendKey<A>: Pod,
    SourceKey<A>: Pod,
{
    fn open(
        pins: &Path,
        frontends: &str,
        addresses: &str,
        source_ranges: &str,
    ) -> Result<Self, MapsError> {
        Ok(Self {
            frontends: open_as(pins, frontends)?,
            addresses: open_as(pins, addresses)?,
            source_ranges: SourceRangeMap::open(pins, source_ranges)?,
        })
    }

    fn put_frontend(
        &mut self,
        address: A,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError> {
        let key = key(address, frontend);
        self.frontends.insert(key, leads_to, 0).map_err(|error| full("frontends", error))
    }

    fn remove_frontend(&mut self, address: A, frontend: FrontendAddress) -> Result<(), TableError> {
        unless_absent(self.frontends.remove(&key(address, frontend)))
    }

    fn put_address(&mut self, address: A, role: AddressRole) -> Result<(), TableError> {
        self.addresses
            .insert(address, AddressEntry::new(role), 0)
            .map_err(|error| full("addresses", error))
    }

    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError> {
        self.frontends
            .iter()
            .map(|entry| {
                let (key, leads_to) = entry?;
                let address = SocketAddr::new(key.address.ip(), key.port.number());
                let (protocol, audience) = (key.protocol(), key.audience());
                Ok((FrontendAddress { address, protocol, audience }, leads_to))
            })
            .collect()
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        self.addresses
            .iter()
            .map(|entry| {
                let (address, entry) = entry?;
                Ok((address.ip(), entry.role()))
            })
            .collect()
    }
}

fn key<A: Address>(address: A, frontend: FrontendAddress) -> FrontendKey<A> {
    let FrontendAddress { address: frontend, protocol, audience } = frontend;
    FrontendKey::new(address, Port::new(frontend.port()), protocol, audience)
}

impl ServiceMaps {
    /// Opens the maps that are pinned in a directory.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        let array = |name| open(pins, name);
        Ok(Self {
            v4: FamilyMaps::open(
                pins,
                maps::FRONTENDS_V4,
                maps::ADDRESSES_V4,
                maps::SOURCE_RANGES_V4,
            )?,
            v6: FamilyMaps::open(
                pins,
                maps::FRONTENDS_V6,
                maps::ADDRESSES_V6,
                maps::SOURCE_RANGES_V6,
            )?,
            affinity_rules: MappedArray::open(maps::AFFINITY_RULES, array(maps::AFFINITY_RULES)?)?,
            services: MappedArray::open(maps::SERVICES, array(maps::SERVICES)?)?,
            slots: MappedArray::open(maps::SLOTS, array(maps::SLOTS)?)?,
            backends: MappedArray::open(maps::BACKENDS, array(maps::BACKENDS)?)?,
            counters: open_as(pins, maps::SERVICE_COUNTERS)?,
            namespaces: open_as(pins, maps::SOCKET_NAMESPACES)?,
            networks: NetworkMaps::open(pins)?,
            processors: nr_cpus().map_err(|(_, error)| MapError::IoError(error))?,
        })
    }
}

impl ServiceTables for ServiceMaps {
    fn capacity(&self) -> (u32, u32, u32) {
        (self.services.length(), self.slots.length(), self.backends.length())
    }

    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.backends.set(id.0, backend);
    }

    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.slots.set(slot.0, backend);
    }

    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.services.switch(service, record);
    }

    fn put_affinity_rule(&mut self, service: ServiceId, rule: AffinityRule) {
        self.affinity_rules.set(service.0, rule);
    }

    fn put_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        match range.network() {
            IpAddr::V4(address) => self.v4.source_ranges.put(service, address.into(), range),
            IpAddr::V6(address) => self.v6.source_ranges.put(service, address.into(), range),
        }
    }

    fn remove_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        match range.network() {
            IpAddr::V4(address) => self.v4.source_ranges.remove(service, address.into(), range),
            IpAddr::V6(address) => self.v6.source_ranges.remove(service, address.into(), range),
        }
    }

    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError> {
        match frontend.address.ip() {
            IpAddr::V4(address) => self.v4.put_frontend(address.into(), frontend, leads_to),
            IpAddr::V6(address) => self.v6.put_frontend(address.into(), frontend, leads_to),
        }
    }

    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError> {
        match frontend.address.ip() {
            IpAddr::V4(address) => self.v4.remove_frontend(address.into(), frontend),
            IpAddr::V6(address) => self.v6.remove_frontend(address.into(), frontend),
        }
    }

    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError> {
        match address {
            IpAddr::V4(address) => self.v4.put_address(address.into(), role),
            IpAddr::V6(address) => self.v6.put_address(address.into(), role),
        }
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError> {
        unless_absent(match address {
            IpAddr::V4(address) => self.v4.addresses.remove(&address.into()),
            IpAddr::V6(address) => self.v6.addresses.remove(&address.into()),
        })
    }

    fn put_namespace(&mut self, cookie: u64, namespace: SocketNamespace) -> Result<(), TableError> {
        self.namespaces
            .insert(cookie, namespace, 0)
            .map_err(|error| too_many("socket namespaces", error))
    }

    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError> {
        unless_absent(self.namespaces.remove(&cookie))
    }

    fn reset_counters(&mut self, service: ServiceId) -> Result<(), TableError> {
        let zero = PerCpuValues::try_from(vec![ServiceCounters::default(); self.processors])
            .map_err(MapError::IoError)?;
        Ok(self.counters.set(service.0, zero, 0)?)
    }

    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError> {
        let mut frontends = self.v4.frontends()?;
        frontends.extend(self.v6.frontends()?);
        Ok(frontends)
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        let mut addresses = self.v4.addresses()?;
        addresses.extend(self.v6.addresses()?);
        Ok(addresses)
    }

    fn namespaces(&self) -> Result<Vec<(u64, SocketNamespace)>, TableError> {
        self.namespaces.iter().map(|entry| Ok(entry?)).collect()
    }

    fn source_ranges(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError> {
        let mut ranges = self.v4.source_ranges.read()?;
        ranges.extend(self.v6.source_ranges.read()?);
        Ok(ranges)
    }

    fn affinity_rule(&self, service: ServiceId) -> AffinityRule {
        self.affinity_rules.get(service.0)
    }

    fn record(&self, service: ServiceId) -> ServiceRecord {
        self.services.get(service.0)
    }

    fn slot(&self, slot: Slot) -> BackendId {
        self.slots.get(slot.0)
    }

    fn backend(&self, id: BackendId) -> Backend {
        self.backends.get(id.0)
    }
}

/// The counters, for reading.
#[expect(missing_debug_implementations, reason = "aya's per-CPU maps have none")]
pub struct CounterMaps {
    services: PerCpuArray<MapData, ServiceCounters>,
    drops: PerCpuArray<MapData, u64>,
}

impl CounterMaps {
    /// Opens the maps that are pinned in a directory.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        Ok(Self {
            services: open_as(pins, maps::SERVICE_COUNTERS)?,
            drops: open_as(pins, maps::DROP_COUNTERS)?,
        })
    }

    /// A service port's counters in one family, over all processors.
    pub fn service(&self, service: ServiceId) -> ServiceCounters {
        let mut sum = ServiceCounters::default();
        if let Ok(counters) = self.services.get(&service.0, 0) {
            for counters in counters.iter() {
                sum += *counters;
            }
        }
        sum
    }

    /// How many packets a program has dropped or refused for a reason.
    pub fn drops(&self, program: Program, reason: DropReason) -> u64 {
        self.drops
            .get(&drop_counter_index(program, reason), 0)
            .map_or(0, |counters| counters.iter().sum())
    }
}
