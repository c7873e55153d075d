//! What a former agent has left in the tables, to be claimed by what is compiled now.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use maps_schema::service::{AddressRole, BackendId, ServiceId, Slot};

use super::{
    Installed,
    backends::{BackendKey, key_of},
    pool::Run,
    tables::{FrontendAddress, ServiceTables, TableError},
};

/// What nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    by_frontend: HashMap<FrontendAddress, ServiceId>,
    ports: BTreeMap<ServiceId, Installed>,
    addresses: HashMap<IpAddr, AddressRole>,
    backends: Vec<(BackendId, BackendKey)>,
}

impl Recovered {
    pub(super) fn read(tables: &impl ServiceTables) -> Result<Self, TableError> {
        let mut recovered = Self {
            addresses: tables.addresses()?.into_iter().collect(),
            ..Self::default()
        };
        for (frontend, id) in tables.frontends()? {
            recovered.by_frontend.insert(frontend, id);
            recovered
                .ports
                .entry(id)
                .or_insert_with(|| read_port(tables, id))
                .frontends
                .insert(frontend);
        }
        for port in recovered.ports.values() {
            for &id in &port.backends {
                if let Some(key) = key_of(&tables.backend(id)) {
                    recovered.backends.push((id, key));
                }
            }
        }
        Ok(recovered)
    }

    /// Every backend, once for each slot that names it.
    pub(super) fn named_backends(&self) -> impl Iterator<Item = (BackendId, BackendKey)> {
        self.backends.iter().copied()
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.ports.values().map(|port| port.run)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServiceId> {
        self.ports.keys().copied()
    }

    /// The service that one of these frontends leads to, with all its frontends.
    pub(super) fn take_port(
        &mut self,
        frontends: &BTreeSet<FrontendAddress>,
    ) -> Option<Installed> {
        let id = frontends.iter().find_map(|frontend| self.by_frontend.get(frontend))?;
        let port = self.ports.remove(id)?;
        for frontend in &port.frontends {
            self.by_frontend.remove(frontend);
        }
        Some(port)
    }

    /// What an address was.
    pub(super) fn take_address(&mut self, address: IpAddr) -> Option<AddressRole> {
        self.addresses.remove(&address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, AddressRole)> {
        self.addresses.iter().map(|(&address, &role)| (address, role))
    }

    pub(super) fn into_ports(self) -> impl Iterator<Item = Installed> {
        self.ports.into_values()
    }
}

fn read_port(tables: &impl ServiceTables, id: ServiceId) -> Installed {
    let record = tables.record(id);
    let run = Run { first: record.first().0, length: record.slots() };
    Installed {
        id,
        frontends: BTreeSet::new(),
        run,
        backends: (run.first..).take(run.length as usize).map(|slot| tables.slot(Slot(slot))).collect(),
        when_empty: record.when_empty(),
    }
}
