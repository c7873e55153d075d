//! Making the tables equal to what was compiled: a pure difference, then writes in an order in
//! which packets never see a mixture.
//!
//! Backends and slots are written first, in free space; then one store switches the service's
//! record; frontends come after the service that they lead to, and go before it. What is given up
//! rests for a grace period before it is used again. The tables are the memory: a restarted agent
//! reads them and changes only what differs.

mod backends;
mod pool;
mod recovery;
pub mod tables;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use maps_schema::{
    address::PodLink,
    service::{AddressRole, BackendId, ServiceId, ServiceRecord, Slot, WhenEmpty},
};

use self::{
    backends::Backends,
    pool::{Pool, Run},
    recovery::Recovered,
    tables::{FrontendAddress, ServiceTables, TableError},
};
use crate::{
    cluster::model::ObjectName,
    compile::{CompiledPort, CompiledService, ServicePortName},
};

/// Why a service is not in force as it should be. What it was before stays.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// There are more services, slots or endpoints than fit.
    #[error(
        "there is no room for more {what} ({limit} fit): raise {flag}, and run `shunt cleanup` \
         before the next start, as the sizes of live maps do not change"
    )]
    Full {
        /// What.
        what: &'static str,
        /// How many fit.
        limit: u32,
        /// The flag that sets the limit.
        flag: &'static str,
    },
    /// A table was not changed.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Keeps the tables equal to what was compiled.
#[derive(Debug)]
pub struct Sync<T> {
    tables: T,
    recovered: Recovered,
    ports: BTreeMap<ServicePortName, Installed>,
    services: BTreeMap<ObjectName, InstalledService>,
    backends: Backends,
    slots: Pool,
    ids: Pool,
    pods: HashMap<IpAddr, PodLink>,
    namespaces: BTreeSet<u64>,
    changes: u64,
}

/// A service as the tables have it.
#[derive(Debug, Default)]
struct InstalledService {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<ServicePortName>,
}

/// A service port as the tables have it.
#[derive(Debug)]
struct Installed {
    id: ServiceId,
    frontends: BTreeSet<FrontendAddress>,
    run: Run,
    backends: Vec<BackendId>,
    when_empty: WhenEmpty,
}

impl<T: ServiceTables> Sync<T> {
    /// Takes over the tables as they are.
    pub fn new(tables: T) -> Result<Self, TableError> {
        let (services, slots, backends) = tables.capacity();
        let recovered = Recovered::read(&tables)?;
        Ok(Self {
            backends: Backends::new(backends, recovered.named_backends()),
            slots: Pool::new(slots, recovered.runs()),
            ids: Pool::new(services, recovered.ids().map(single)),
            ports: BTreeMap::new(),
            services: BTreeMap::new(),
            pods: HashMap::new(),
            namespaces: tables.namespaces()?.into_iter().collect(),
            changes: 0,
            recovered,
            tables,
        })
    }

    /// Says which pods this node has. Returns the addresses whose pod has come, gone, or changed:
    /// the services that have them as endpoints are to be applied again.
    pub fn set_pods(
        &mut self,
        pods: HashMap<IpAddr, PodLink>,
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        let mut changed = BTreeSet::new();
        for (&address, &link) in &pods {
            if self.pods.get(&address) != Some(&link) {
                changed.insert(address);
            }
            if self.recovered.take_address(address) != Some(AddressRole::Pod(link))
                && self.pods.get(&address) != Some(&link)
            {
                self.tables.put_address(address, AddressRole::Pod(link))?;
                self.changes += 1;
            }
        }
        let gone: Vec<IpAddr> =
            self.pods.keys().filter(|address| !pods.contains_key(address)).copied().collect();
        for address in gone {
            self.tables.remove_address(address)?;
            self.changes += 1;
            changed.insert(address);
        }
        self.pods = pods;
        Ok(changed)
    }

    /// Says which network namespaces' sockets are translated.
    pub fn set_namespaces(&mut self, cookies: BTreeSet<u64>) -> Result<(), TableError> {
        for &cookie in cookies.difference(&self.namespaces) {
            self.tables.put_namespace(cookie)?;
            self.changes += 1;
        }
        for &cookie in self.namespaces.difference(&cookies) {
            self.tables.remove_namespace(cookie)?;
            self.changes += 1;
        }
        self.namespaces = cookies;
        Ok(())
    }

    /// Makes a Service what it was compiled to, or removes it. Where it does not fit, what it was
    /// before stays in force.
    pub fn apply(
        &mut self,
        service: &ObjectName,
        compiled: Option<&CompiledService>,
        now: Instant,
    ) -> Result<(), SyncError> {
        let nothing = CompiledService::default();
        let compiled = compiled.unwrap_or(&nothing);
        let mut installed = self.services.remove(service).unwrap_or_default();
        let result = self.apply_to(&mut installed, compiled, now);
        if !installed.ports.is_empty() || !installed.addresses.is_empty() {
            self.services.insert(service.clone(), installed);
        }
        result
    }

    fn apply_to(
        &mut self,
        installed: &mut InstalledService,
        compiled: &CompiledService,
        now: Instant,
    ) -> Result<(), SyncError> {
        let wanted: BTreeSet<IpAddr> = compiled.addresses.iter().copied().collect();
        let names: BTreeSet<&ServicePortName> =
            compiled.ports.iter().map(|port| &port.name).collect();
        let gone: Vec<ServicePortName> =
            installed.ports.iter().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            self.remove_port(&name, now)?;
            installed.ports.remove(&name);
        }
        for port in &compiled.ports {
            self.apply_port(port, now)?;
            installed.ports.insert(port.name.clone());
        }
        // Until its frontends are there, nothing at an address is refused; while they are, all
        // else is.
        for &address in wanted.difference(&installed.addresses.clone()) {
            if self.recovered.take_address(address) != Some(AddressRole::Service) {
                self.tables.put_address(address, AddressRole::Service)?;
                self.changes += 1;
            }
            installed.addresses.insert(address);
        }
        for address in installed.addresses.clone().difference(&wanted) {
            self.tables.remove_address(*address)?;
            self.changes += 1;
            installed.addresses.remove(address);
        }
        Ok(())
    }

    fn apply_port(&mut self, port: &CompiledPort, now: Instant) -> Result<(), SyncError> {
        let frontends: BTreeSet<FrontendAddress> = port
            .frontends
            .iter()
            .map(|&address| FrontendAddress { address, protocol: port.name.protocol })
            .collect();
        if !self.ports.contains_key(&port.name) {
            let installed = match self.recovered.take_port(&frontends) {
                Some(recovered) => recovered,
                None => self.new_port(now)?,
            };
            self.ports.insert(port.name.clone(), installed);
        }
        self.switch_backends(port, now)?;
        let Some(installed) = self.ports.get_mut(&port.name) else { return Ok(()) };
        for &frontend in frontends.difference(&installed.frontends.clone()) {
            self.tables.put_frontend(frontend, installed.id)?;
            self.changes += 1;
            installed.frontends.insert(frontend);
        }
        for frontend in installed.frontends.clone().difference(&frontends) {
            self.tables.remove_frontend(*frontend)?;
            self.changes += 1;
            installed.frontends.remove(frontend);
        }
        Ok(())
    }

    fn new_port(&mut self, now: Instant) -> Result<Installed, SyncError> {
        let (limit, _, _) = self.tables.capacity();
        let full = SyncError::Full { what: "service ports", limit, flag: "--max-services" };
        let id = ServiceId(self.ids.take(1, now).ok_or(full)?.first);
        self.tables.put_record(id, ServiceRecord::default());
        self.tables.reset_counters(id)?;
        Ok(Installed {
            id,
            frontends: BTreeSet::new(),
            run: Run::default(),
            backends: Vec::new(),
            when_empty: WhenEmpty::Refuse,
        })
    }

    /// Lets new connections go to the port's backends: all of them at once.
    fn switch_backends(&mut self, port: &CompiledPort, now: Instant) -> Result<(), SyncError> {
        let (_, slots, backends) = self.tables.capacity();
        let mut wanted = Vec::with_capacity(port.backends.len());
        for &address in &port.backends {
            let Some(id) = self.acquire(address, now) else {
                self.release_all(&wanted, now);
                let what = "endpoints";
                return Err(SyncError::Full { what, limit: backends, flag: "--max-endpoints" });
            };
            wanted.push(id);
        }
        let Some(installed) = self.ports.get(&port.name) else { return Ok(()) };
        if installed.backends == wanted && installed.when_empty == port.when_empty {
            self.release_all(&wanted, now);
            return Ok(());
        }
        let length = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let run = (length <= ServiceRecord::MAX_SLOTS).then(|| self.slots.take(length, now));
        let Some(run) = run.flatten() else {
            self.release_all(&wanted, now);
            let what = "endpoints of service ports";
            return Err(SyncError::Full { what, limit: slots, flag: "--max-endpoints" });
        };
        for (slot, &backend) in (run.first..).zip(&wanted) {
            self.tables.put_slot(Slot(slot), backend);
        }
        self.changes += u64::from(run.length) + 1;
        let Some(installed) = self.ports.get_mut(&port.name) else { return Ok(()) };
        let record = ServiceRecord::new(Slot(run.first), run.length, port.when_empty);
        self.tables.put_record(installed.id, record);
        let old_run = std::mem::replace(&mut installed.run, run);
        let old_backends = std::mem::replace(&mut installed.backends, wanted);
        installed.when_empty = port.when_empty;
        self.slots.give_back(old_run, now);
        self.release_all(&old_backends, now);
        Ok(())
    }

    fn acquire(&mut self, address: SocketAddr, now: Instant) -> Option<BackendId> {
        let link = self.pods.get(&address.ip()).copied().unwrap_or_default();
        self.backends.acquire((address, link), &mut self.tables, now)
    }

    fn release_all(&mut self, backends: &[BackendId], now: Instant) {
        for &backend in backends {
            self.backends.release(backend, now);
        }
    }

    fn remove_port(&mut self, name: &ServicePortName, now: Instant) -> Result<(), SyncError> {
        if let Some(installed) = self.ports.remove(name) {
            self.remove_installed(installed, now)?;
        }
        Ok(())
    }

    fn remove_installed(&mut self, installed: Installed, now: Instant) -> Result<(), SyncError> {
        let Installed { id, frontends, run, backends, when_empty: _ } = installed;
        for frontend in frontends {
            self.tables.remove_frontend(frontend)?;
            self.changes += 1;
        }
        self.tables.put_record(id, ServiceRecord::default());
        self.slots.give_back(run, now);
        self.release_all(&backends, now);
        self.ids.give_back(single(id), now);
        Ok(())
    }

    /// Removes what a former agent has left and nobody has claimed. To be called once everything
    /// that is wanted was applied.
    pub fn finish_recovery(&mut self, now: Instant) -> Result<(), SyncError> {
        let leftovers = std::mem::take(&mut self.recovered);
        for (address, role) in leftovers.addresses() {
            let claimed = match role {
                AddressRole::Pod(_) => self.pods.contains_key(&address),
                AddressRole::Service => {
                    self.services.values().any(|service| service.addresses.contains(&address))
                }
            };
            if !claimed {
                self.tables.remove_address(address)?;
                self.changes += 1;
            }
        }
        for installed in leftovers.into_ports() {
            self.remove_installed(installed, now)?;
        }
        Ok(())
    }

    /// The number of a service port, if it is in force.
    pub fn service_id(&self, name: &ServicePortName) -> Option<ServiceId> {
        self.ports.get(name).map(|installed| installed.id)
    }

    /// How many elements were written or deleted so far.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// How many elements of each array are in use.
    pub fn usage(&self) -> Usage {
        Usage {
            services: self.ids.in_use().into(),
            slots: self.slots.in_use().into(),
            backends: self.backends.in_use().into(),
        }
    }
}

/// How many elements of each array are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Services.
    pub services: u64,
    /// Slots.
    pub slots: u64,
    /// Backends.
    pub backends: u64,
}

const fn single(id: ServiceId) -> Run {
    Run { first: id.0, length: 1 }
}
