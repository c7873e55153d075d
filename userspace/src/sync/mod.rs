//! Making the tables equal to what was compiled: a pure difference, then writes in an order in
//! which packets never see a mixture.
//!
//! Backends and slots are written first, in free space; then one store switches the service's
//! record; frontends come after the service that they lead to, and go before it. Of services that
//! change together, all gain what they gain before one loses anything, so that a frontend passes
//! from one to another in one store. What is given up rests for a grace period before it is used
//! again. What a record or a frontend says to look for, a rule of affinity or source ranges, is there
//! before it says so. The tables are the memory: a restarted agent reads them and changes only what differs.

mod addresses;
mod backends;
mod maglev;
mod mirror;
mod nodes;
mod pool;
mod port;
mod recovery;
mod source_ranges;
mod surroundings;
pub mod tables;
mod usage;
pub mod ways;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use litemap::LiteMap;
use maps_schema::{
    address::{AddressPair, IfIndex},
    service::{Frontend, ServiceId},
    socket::SocketNamespace,
    way::Way,
};

pub use self::usage::Usage;
use self::{
    addresses::Addresses,
    backends::Backends,
    mirror::Mirror,
    nodes::Nodes,
    pool::{Pool, Run},
    port::{Installed, Treatment, frontends},
    recovery::Recovered,
    source_ranges::SourceRanges,
    tables::{FrontendAddress, NetworkTables, ServiceTables, TableError},
    ways::Ways,
};
use crate::compile::{CompiledService, EndpointList, Owner, ServicePortName};

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
    services: BTreeMap<Owner, InstalledService>,
    recovered: Recovered,
    /// As the table has them.
    frontends: Frontends,
    addresses: Addresses,
    nodes: Nodes,
    networks: Mirror<IpNet, Way>,
    sources: Mirror<IfIndex, AddressPair>,
    uplinks: Mirror<IfIndex, AddressPair>,
    ways: Arc<Ways>,
    backends: Backends,
    slots: Pool,
    ids: Pool,
    source_ranges: SourceRanges,
    namespaces: Mirror<u64, SocketNamespace>,
    /// The node's primary addresses.
    node_addresses: AddressPair,
    /// How many service ports have a rule of affinity.
    affinity_rules: u64,
    changes: u64,
}

/// What frontends lead to.
type Frontends = HashMap<FrontendAddress, Frontend, foldhash::fast::RandomState>;

/// A service as the tables have it.
#[derive(Debug, Default)]
struct InstalledService {
    addresses: Vec<IpAddr>,
    /// A sorted list: most have one.
    ports: LiteMap<ServicePortName, Installed>,
    /// Ports that go on under another number, to be removed.
    superseded: Vec<Installed>,
}

impl<T: ServiceTables + NetworkTables> Sync<T> {
    /// Takes over the tables as they are. Nothing of them is rewritten that a former agent gave up
    /// just before, as starting takes longer than the grace period's purpose asks for.
    pub fn new(tables: T) -> Result<Self, TableError> {
        let (services, slots, _) = tables.capacity();
        let frontends = tables.frontends()?.into_iter().collect();
        let recovered = Recovered::read(&frontends, &tables);
        let nodes = Nodes::read(&tables)?;
        let leads_to_a_node = |way: &Way| !matches!(way, Way::Stack | Way::Outside);
        let networks = Mirror::new(tables.networks()?, leads_to_a_node);
        let mut ways = Ways::default();
        ways.set_networks(networks.written());
        ways.nodes = nodes.ids();
        Ok(Self {
            ways: Arc::new(ways),
            nodes,
            networks,
            sources: Mirror::new(tables.sources()?, |_| true),
            uplinks: Mirror::new(tables.uplinks()?, |_| false),
            backends: Backends::new(recovered.backends(), &tables),
            slots: Pool::new(slots, recovered.runs()),
            ids: Pool::new(services, recovered.ids().map(single)),
            services: BTreeMap::new(),
            addresses: Addresses::read(&tables)?,
            source_ranges: SourceRanges::read(&tables, |id| recovered.ports.contains_key(&id))?,
            namespaces: Mirror::new(tables.namespaces()?, |_| false),
            node_addresses: tables.node_addresses()?,
            affinity_rules: recovered.affinity_rules(),
            changes: 0,
            frontends,
            recovered,
            tables,
        })
    }

    /// Says which network namespaces' sockets are translated, by cookie, and whose they are.
    pub fn set_namespaces(
        &mut self,
        namespaces: &BTreeMap<u64, SocketNamespace>,
    ) -> Result<(), TableError> {
        let tables = &mut self.tables;
        self.namespaces.put(namespaces, |cookie, whose| tables.put_namespace(cookie, whose))?;
        self.namespaces.remove_others(namespaces, |cookie| tables.remove_namespace(cookie))
    }

    /// Makes Services what they were compiled to, or removes them. Returns those of which something
    /// did not fit or failed: a port of theirs is as it was before, and they are to be applied
    /// again. Services that change together belong in one call: what passes from one to another
    /// is always one's or the other's; but where the one that gets it fails, it is nobody's until
    /// that one is applied again.
    pub fn apply<'a>(
        &mut self,
        services: impl IntoIterator<Item = (&'a Owner, Option<&'a CompiledService>)> + Clone,
        now: Instant,
    ) -> BTreeMap<Owner, SyncError> {
        // What fails here is nobody's, and is tried again with the next change.
        let _ = self.source_ranges.wake(&mut self.tables, now);
        let mut failed = BTreeMap::new();
        for (name, compiled) in services.clone() {
            let Some(compiled) = compiled else { continue };
            let mut installed = self.services.remove(name).unwrap_or_default();
            if installed.ports.is_empty() {
                installed.ports = LiteMap::with_capacity(compiled.ports.len());
            }
            if let Err(error) = self.extend(&mut installed, compiled, now) {
                failed.insert(name.clone(), error);
            }
            self.services.insert(name.clone(), installed);
        }
        let nothing = CompiledService::default();
        for (name, compiled) in services.clone() {
            if failed.contains_key(name) {
                continue;
            }
            let Some(installed) = self.services.get_mut(name) else {
                continue;
            };
            let compiled = compiled.unwrap_or(&nothing);
            if let Err(error) =
                give_up_addresses(installed, compiled, &mut self.addresses, &mut self.tables)
            {
                failed.insert(name.clone(), error.into());
            }
        }
        for (name, compiled) in services {
            let Some(mut installed) = self.services.remove(name) else {
                continue;
            };
            let compiled = compiled.unwrap_or(&nothing);
            if let Err(error) = self.reduce(&mut installed, compiled, now) {
                failed.entry(name.clone()).or_insert(error);
            }
            if !installed.is_empty() {
                self.services.insert(name.clone(), installed);
            }
        }
        if failed.is_empty() {
            // What fails here is nobody's way, and is tried again with the next change.
            let _ = self.forget_nodes(now);
        }
        failed
    }

    /// The service port that a frontend leads to.
    fn leads_to(&self, frontend: &FrontendAddress) -> Option<ServiceId> {
        self.frontends.get(frontend).map(|frontend| frontend.service())
    }

    /// Gives a service everything that it shall have.
    fn extend(
        &mut self,
        installed: &mut InstalledService,
        compiled: &CompiledService,
        now: Instant,
    ) -> Result<(), SyncError> {
        let mut result = Ok(());
        for port in &compiled.ports {
            let group = group(installed, compiled, &port.name);
            result = result.and(self.extend_port(installed, port, group, now));
        }
        // Until its frontends are there, nothing at an address is refused; while they are, all
        // else is.
        for &address in &compiled.addresses {
            if (result.is_ok() || self.addresses.is_service(address))
                && !installed.addresses.contains(&address)
            {
                self.addresses.claim(address, &mut self.tables)?;
                installed.addresses.push(address);
            }
        }
        result
    }

    /// Takes from a service the ports and frontends that it shall not have. A port that could not
    /// be changed keeps what it had.
    fn reduce(
        &mut self,
        installed: &mut InstalledService,
        compiled: &CompiledService,
        now: Instant,
    ) -> Result<(), SyncError> {
        let wanted: BTreeSet<FrontendAddress> =
            compiled.ports.iter().flat_map(frontends).map(|(frontend, _)| frontend).collect();
        let ports: BTreeSet<&ServicePortName> =
            compiled.ports.iter().map(|port| &port.name).collect();
        for port in &compiled.ports {
            let Some(present) = installed.ports.get_mut(&port.name) else {
                continue;
            };
            let own: BTreeMap<_, _> = frontends(port).collect();
            if own.keys().all(|frontend| self.leads_to(frontend) == Some(present.id)) {
                self.reduce_port(present, |frontend| own.contains_key(frontend))?;
            }
            let is_as_wanted = |(frontend, treatment): (&FrontendAddress, &Treatment)| {
                self.frontends.get(frontend) == Some(&treatment.leading_to(present.id))
            };
            if own.iter().all(is_as_wanted) {
                let (ranges, tables) = (&port.source_ranges, &mut self.tables);
                self.source_ranges.restrict(present.id, ranges, tables, now)?;
            }
        }
        let is_needed = |port: &Installed| {
            let is_served = |frontend: &FrontendAddress| {
                wanted.contains(frontend) && self.leads_to(frontend) == Some(port.id)
            };
            port.frontends.iter().any(is_served)
        };
        let (stay, gone): (LiteMap<_, _>, LiteMap<_, _>) = std::mem::take(&mut installed.ports)
            .into_iter()
            .partition(|(name, port)| ports.contains(name) || is_needed(port));
        installed.ports = stay;
        installed.superseded.extend(gone.into_iter().map(|(_, port)| port));
        while let Some(mut port) = installed.superseded.pop() {
            if let Err(error) = self.remove_port(&mut port, now) {
                installed.superseded.push(port);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes what a former agent has left and nobody has claimed. To be called once everything
    /// that is wanted was applied; where it fails, again. Returns what [`Self::set_networks`]
    /// returns.
    pub fn finish_recovery(&mut self, now: Instant) -> Result<BTreeSet<IpAddr>, SyncError> {
        self.addresses.remove_unclaimed(&mut self.tables)?;
        self.remove_leftover_surroundings(now)?;
        while let Some((id, mut port)) = self.recovered.ports.pop_first() {
            if let Err(error) = self.remove_port(&mut port, now) {
                self.recovered.ports.insert(id, port);
                return Err(error);
            }
        }
        self.source_ranges.wake(&mut self.tables, now)?;
        Ok(self.led_astray())
    }

    /// The number of a service port, if it is in force.
    pub fn service_id(&self, name: &ServicePortName) -> Option<ServiceId> {
        Some(self.services.get(&name.owner)?.ports.get(name)?.id)
    }

    /// How many elements were written or deleted so far.
    pub fn changes(&self) -> u64 {
        self.changes
            + self.addresses.changes()
            + self.backends.changes()
            + self.nodes.changes()
            + self.networks.changes()
            + self.sources.changes()
            + self.uplinks.changes()
            + self.source_ranges.changes()
            + self.namespaces.changes()
    }
}

/// Under which number the clients of one of a service's lists are remembered, where it is that of
/// the port's other list: both lists are of one service port, whose clients are to stay with one
/// endpoint by whichever address they come. The list of the whole cluster is the first of the two.
fn group(
    installed: &InstalledService,
    compiled: &CompiledService,
    name: &ServicePortName,
) -> Option<ServiceId> {
    let cluster = ServicePortName { list: EndpointList::Cluster, ..name.clone() };
    let is_wanted = cluster != *name && compiled.ports.iter().any(|port| port.name == cluster);
    is_wanted.then(|| installed.ports.get(&cluster)).flatten().map(|port| port.id)
}

/// Takes from a service the addresses that it shall not have: before their frontends, or else those
/// would be refused for a moment before they are unknown.
fn give_up_addresses(
    installed: &mut InstalledService,
    compiled: &CompiledService,
    addresses: &mut Addresses,
    tables: &mut impl ServiceTables,
) -> Result<(), TableError> {
    let is_gone = |address: &&IpAddr| !compiled.addresses.contains(address);
    let gone: Vec<IpAddr> = installed.addresses.iter().filter(is_gone).copied().collect();
    for address in gone {
        addresses.give_up(address, tables)?;
        installed.addresses.retain(|other| *other != address);
    }
    Ok(())
}

impl InstalledService {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.ports.is_empty() && self.superseded.is_empty()
    }
}

const fn single(id: ServiceId) -> Run {
    Run { first: id.0, length: 1 }
}
