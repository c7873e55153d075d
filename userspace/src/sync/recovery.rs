//! What a former agent has left in the tables, to be claimed by what is compiled now.

use std::collections::BTreeMap;

use maps_schema::service::{BackendId, ServiceId, Slot};

use super::{
    Frontends, maglev,
    pool::Run,
    port::{Installed, Treatment},
    tables::{FrontendAddress, ServiceTables},
};

/// The service ports that nobody has claimed yet. What no frontend leads to is free.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) ports: BTreeMap<ServiceId, Installed>,
}

impl Recovered {
    pub(super) fn read(frontends: &Frontends, tables: &impl ServiceTables) -> Self {
        let mut ports = BTreeMap::new();
        for (&frontend, leads_to) in frontends {
            let id = leads_to.service();
            let port: &mut Installed = ports.entry(id).or_insert_with(|| read_port(tables, id));
            port.frontends.push(frontend);
        }
        Self { ports }
    }

    /// Every backend, once for each of its services' own slots that name it. Those of Maglev tables
    /// name the same.
    pub(super) fn backends(&self) -> impl Iterator<Item = BackendId> {
        self.ports.values().flat_map(|port| port.backends.iter().copied())
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.ports.values().map(|port| port.run)
    }

    /// How many of them have a rule of affinity.
    pub(super) fn affinity_rules(&self) -> u64 {
        self.ports.values().filter(|port| port.affinity.is_some()).count() as u64
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ServiceId> {
        self.ports.keys().copied()
    }

    /// The port that one of these frontends leads to, with all that lead to it.
    pub(super) fn take_port(
        &mut self,
        wanted: &BTreeMap<FrontendAddress, Treatment>,
        frontends: &Frontends,
    ) -> Option<Installed> {
        if self.ports.is_empty() {
            return None;
        }
        wanted.keys().find_map(|frontend| self.ports.remove(&frontends.get(frontend)?.service()))
    }
}

fn read_port(tables: &impl ServiceTables, id: ServiceId) -> Installed {
    let record = tables.record(id);
    let table = maglev::size(record.maglev_bits());
    let run = Run { first: record.first().0, length: record.slots().saturating_add(table) };
    Installed {
        id,
        frontends: Vec::new(),
        run,
        backends: (run.first..)
            .take(record.slots() as usize)
            .map(|slot| tables.slot(Slot(slot)))
            .collect(),
        maglev_bits: record.maglev_bits(),
        affinity: record.has_affinity().then(|| tables.affinity_rule(id)),
        when_empty: record.when_empty(),
    }
}
