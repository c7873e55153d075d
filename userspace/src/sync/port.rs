//! One service port: from what it is to what it shall be. What it gains is written at once; what it
//! loses goes when everything that changes with it has gained what it gains.

use std::{collections::BTreeMap, time::Instant};

use maps_schema::{
    affinity::AffinityRule,
    service::{BackendId, ClientAddress, Frontend, ServiceId, ServiceRecord, Slot, WhenEmpty},
};

use super::{
    Frontends, InstalledService, Sync, SyncError, maglev,
    pool::Run,
    tables::{FrontendAddress, NetworkTables, ServiceTables},
};
use crate::compile::{CompiledFrontend, CompiledPort};

/// A service port as the tables have it.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) id: ServiceId,
    /// Those that were led here. Another port may have taken some over since.
    pub(super) frontends: Vec<FrontendAddress>,
    /// The slots of its backends, and its Maglev table behind them.
    pub(super) run: Run,
    /// Those that its own slots name.
    pub(super) backends: Vec<BackendId>,
    pub(super) maglev_bits: u32,
    /// The rule by which clients stay with an endpoint, where its record says that they do.
    pub(super) affinity: Option<AffinityRule>,
    pub(super) when_empty: WhenEmpty,
}

/// Where the slots of a record begin that has none: anywhere but at zero.
const NOWHERE: Slot = Slot(1);

/// What becomes of clients at a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Treatment {
    client: ClientAddress,
    restricted: bool,
}

impl Treatment {
    /// The frontend's element, where it leads to the service of this number.
    pub(super) const fn leading_to(self, service: ServiceId) -> Frontend {
        let frontend = Frontend::new(service, self.client);
        if self.restricted { frontend.restricted() } else { frontend }
    }
}

/// Whether all that leads to a port is to lead there as it does.
fn goes_on_as_it_is(
    present: &Installed,
    wanted: &BTreeMap<FrontendAddress, Treatment>,
    frontends: &Frontends,
) -> bool {
    present.frontends.iter().all(|frontend| {
        let leads_to = frontends.get(frontend).filter(|found| found.service() == present.id);
        wanted.get(frontend).is_some_and(|treatment| {
            leads_to.is_none_or(|found| *found == treatment.leading_to(present.id))
        })
    })
}

/// A Maglev table: none has no bits.
struct Table {
    bits: u32,
    /// Which of the port's backends each slot names.
    indices: Vec<u32>,
}

impl Table {
    fn of(port: &CompiledPort) -> Self {
        let bits = if port.has_maglev { maglev::bits(port.backends.len()) } else { 0 };
        Self { bits, indices: maglev::table(&port.backends, bits) }
    }
}

/// The addresses and ports that a port answers on, and what becomes of clients there.
pub(super) fn frontends(port: &CompiledPort) -> impl Iterator<Item = (FrontendAddress, Treatment)> {
    let protocol = port.name.protocol;
    port.frontends.iter().map(move |frontend| {
        let &CompiledFrontend { address, audience, client, restricted } = frontend;
        (FrontendAddress { address, protocol, audience }, Treatment { client, restricted })
    })
}

impl<T: ServiceTables + NetworkTables> Sync<T> {
    /// Gives a port its backends, source ranges and frontends. It may keep frontends and ranges that
    /// it shall lose. Its clients are remembered under the number `group`, its own where there is
    /// none.
    pub(super) fn extend_port(
        &mut self,
        installed: &mut InstalledService,
        port: &CompiledPort,
        group: Option<ServiceId>,
        now: Instant,
    ) -> Result<(), SyncError> {
        let wanted: BTreeMap<FrontendAddress, Treatment> = frontends(port).collect();
        if !installed.ports.contains_key(&port.name)
            && let Some(recovered) = self.recovered.take_port(&wanted, &self.frontends)
        {
            // The addresses that it answered on were its service's own: they go before it does.
            for address in recovered.frontends.iter().map(|frontend| frontend.address.ip()) {
                if self.addresses.is_service(address) && !installed.addresses.contains(&address) {
                    installed.addresses.push(address);
                    self.addresses.claim(address, &mut self.tables)?;
                }
            }
            installed.ports.insert(port.name.clone(), recovered);
        }
        self.give_backends(installed, port, &wanted, group, now)?;
        let Some(present) = installed.ports.get_mut(&port.name) else {
            return Ok(());
        };
        self.source_ranges.allow(present.id, &port.source_ranges, &mut self.tables)?;
        for (frontend, treatment) in wanted {
            let leads_to = treatment.leading_to(present.id);
            if self.frontends.get(&frontend) != Some(&leads_to) {
                self.tables.put_frontend(frontend, leads_to)?;
                self.frontends.insert(frontend, leads_to);
                self.changes += 1;
            }
            if !present.frontends.contains(&frontend) {
                present.frontends.reserve_exact(1);
                present.frontends.push(frontend);
            }
        }
        Ok(())
    }

    /// Lets new connections go to the port's backends: all of them at once.
    fn give_backends(
        &mut self,
        installed: &mut InstalledService,
        port: &CompiledPort,
        wanted: &BTreeMap<FrontendAddress, Treatment>,
        group: Option<ServiceId>,
        now: Instant,
    ) -> Result<(), SyncError> {
        let backends = self.acquire_all(port, now)?;
        let table = Table::of(port);
        let rule = |id| {
            let rule = |seconds| AffinityRule::new(group.unwrap_or(id), seconds);
            port.affinity_seconds.map(rule)
        };
        if let Some(present) = installed.ports.get_mut(&port.name) {
            let is_as_it_was = present.backends == backends
                && present.when_empty == port.when_empty
                && present.maglev_bits == table.bits
                && present.affinity.is_some() == port.affinity_seconds.is_some();
            let serves_the_same = self.source_ranges.are(present.id, &port.source_ranges)
                || wanted.values().all(|treatment| !treatment.restricted);
            // Where ranges change, those that go are still there when a frontend comes.
            let comes = |(frontend, treatment): (&FrontendAddress, &Treatment)| {
                self.frontends.get(frontend) != Some(&treatment.leading_to(present.id))
            };
            let is_restricted_news = !serves_the_same
                && wanted.iter().any(|wanted| wanted.1.restricted && comes(wanted));
            if is_as_it_was && !is_restricted_news {
                self.release_all(&backends, now);
                self.put_affinity(present, rule(present.id));
                return Ok(());
            }
            if serves_the_same && goes_on_as_it_is(present, wanted, &self.frontends) {
                let run = self.put_slots(&backends, &table, now)?;
                self.put_affinity(present, rule(present.id));
                self.put_record(present.id, run, &table, port);
                present.maglev_bits = table.bits;
                let old_run = std::mem::replace(&mut present.run, run);
                let old_backends = std::mem::replace(&mut present.backends, backends);
                present.when_empty = port.when_empty;
                self.slots.give_back(old_run, now);
                self.release_all(&old_backends, now);
                return Ok(());
            }
        }
        // A new port. Or one that loses a frontend, where packets, perhaps one that has just found
        // the number there, are not to meet the new backends; or one with a frontend where something
        // else becomes of clients; or with other source ranges: the port goes on under another
        // number, to which its frontends are led one by one.
        let (limit, _, _) = self.tables.capacity();
        let Some(number) = self.ids.take(1, now) else {
            self.release_all(&backends, now);
            let what = "service ports";
            return Err(SyncError::Full { what, limit, flag: "--max-services" });
        };
        let id = ServiceId(number.first);
        let tables = &mut self.tables;
        // The counters of a number that never had a record are zero.
        let has_counted = tables.record(id) != ServiceRecord::default();
        let reset = if has_counted { tables.reset_counters(id) } else { Ok(()) };
        let cleared = reset.and_then(|()| self.source_ranges.clear(id, tables));
        let prepared = match cleared {
            Ok(()) => self.put_slots(&backends, &table, now),
            Err(error) => {
                self.release_all(&backends, now);
                Err(error.into())
            }
        };
        let run = prepared.inspect_err(|_| self.ids.give_back(number, now))?;
        let mut new = Installed {
            id,
            frontends: Vec::new(),
            run,
            backends,
            maglev_bits: table.bits,
            affinity: None,
            when_empty: port.when_empty,
        };
        self.put_affinity(&mut new, rule(id));
        self.put_record(id, run, &table, port);
        installed.superseded.extend(installed.ports.insert(port.name.clone(), new));
        Ok(())
    }

    fn acquire_all(
        &mut self,
        port: &CompiledPort,
        now: Instant,
    ) -> Result<Vec<BackendId>, SyncError> {
        let mut acquired = Vec::with_capacity(port.backends.len());
        for &address in &port.backends {
            let way = self.ways.to(address.ip(), self.addresses.pod(address.ip()));
            let Some(id) = self.backends.acquire((address, way), &mut self.tables, now) else {
                self.release_all(&acquired, now);
                let (_, _, limit) = self.tables.capacity();
                return Err(SyncError::Full { what: "endpoints", limit, flag: "--max-endpoints" });
            };
            acquired.push(id);
        }
        Ok(acquired)
    }

    fn release_all(&mut self, backends: &[BackendId], now: Instant) {
        for &backend in backends {
            self.backends.release(backend, &self.tables, now);
        }
    }

    /// Writes backends, and their Maglev table, to free slots; where there are too few, the backends
    /// are released.
    fn put_slots(
        &mut self,
        backends: &[BackendId],
        table: &Table,
        now: Instant,
    ) -> Result<Run, SyncError> {
        let length = u32::try_from(backends.len()).unwrap_or(u32::MAX);
        let with_table = length.saturating_add(maglev::size(table.bits));
        let run = (length <= ServiceRecord::MAX_SLOTS).then(|| self.slots.take(with_table, now));
        let Some(run) = run.flatten() else {
            self.release_all(backends, now);
            let (_, limit, _) = self.tables.capacity();
            let what = "endpoints of service ports";
            return Err(SyncError::Full { what, limit, flag: "--max-endpoints" });
        };
        let chosen = table.indices.iter().filter_map(|&index| backends.get(index as usize));
        for (slot, &backend) in (run.first..).zip(backends.iter().chain(chosen)) {
            self.tables.put_slot(Slot(slot), backend);
        }
        self.changes += u64::from(run.length);
        Ok(run)
    }

    fn put_record(&mut self, id: ServiceId, run: Run, table: &Table, port: &CompiledPort) {
        let slots = run.length - maglev::size(table.bits);
        // A number that has a record once is told by it from one that never had, for good.
        let first = if run.length == 0 { NOWHERE } else { Slot(run.first) };
        let record = ServiceRecord::new(first, slots, port.when_empty);
        let record = record.with_maglev(table.bits);
        let has_affinity = port.affinity_seconds.is_some();
        let record = if has_affinity { record.with_affinity() } else { record };
        self.tables.put_record(id, record);
        self.changes += 1;
    }

    /// Writes the rule by which clients stay with an endpoint. The record is not to say that they do
    /// before.
    fn put_affinity(&mut self, present: &mut Installed, rule: Option<AffinityRule>) {
        if let Some(rule) = rule
            && present.affinity != Some(rule)
        {
            self.tables.put_affinity_rule(present.id, rule);
            self.changes += 1;
        }
        let before = std::mem::replace(&mut present.affinity, rule);
        self.affinity_rules -= u64::from(before.is_some());
        self.affinity_rules += u64::from(rule.is_some());
    }

    /// Takes frontends away from a port that still lead to it, but for those to keep.
    pub(super) fn reduce_port(
        &mut self,
        present: &mut Installed,
        keep: impl Fn(&FrontendAddress) -> bool,
    ) -> Result<(), SyncError> {
        let lost: Vec<FrontendAddress> =
            present.frontends.iter().filter(|frontend| !keep(frontend)).copied().collect();
        for frontend in lost {
            if self.leads_to(&frontend) == Some(present.id) {
                self.tables.remove_frontend(frontend)?;
                self.frontends.remove(&frontend);
                self.changes += 1;
            }
            present.frontends.retain(|other| *other != frontend);
        }
        Ok(())
    }

    /// Removes a port. Its record stays as it is for packets that have just found it, until its
    /// number is used again.
    pub(super) fn remove_port(
        &mut self,
        present: &mut Installed,
        now: Instant,
    ) -> Result<(), SyncError> {
        self.reduce_port(present, |_| false)?;
        self.source_ranges.rest(present.id, now);
        self.slots.give_back(std::mem::take(&mut present.run), now);
        self.release_all(&std::mem::take(&mut present.backends), now);
        self.affinity_rules -= u64::from(present.affinity.take().is_some());
        self.ids.give_back(super::single(present.id), now);
        Ok(())
    }
}
