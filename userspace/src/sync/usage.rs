//! How full the arrays and tries are: the kernel does not count their elements.

use super::{
    Sync,
    tables::{NetworkTables, ServiceTables},
};

/// How many elements of each array are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Services.
    pub services: u64,
    /// Slots.
    pub slots: u64,
    /// Backends.
    pub backends: u64,
    /// Other nodes.
    pub nodes: u64,
    /// Interfaces of pods.
    pub sources: u64,
    /// IPv4 networks.
    pub networks_v4: u64,
    /// IPv6 networks.
    pub networks_v6: u64,
    /// Services with affinity.
    pub affinity_rules: u64,
    /// IPv4 source ranges.
    pub source_ranges_v4: u64,
    /// IPv6 source ranges.
    pub source_ranges_v6: u64,
}

impl<T: ServiceTables + NetworkTables> Sync<T> {
    /// How many elements of each array are in use.
    pub fn usage(&self) -> Usage {
        let networks = self.networks.written().keys();
        let (source_ranges_v4, source_ranges_v6) = self.source_ranges.counts();
        Usage {
            affinity_rules: self.affinity_rules,
            source_ranges_v4,
            source_ranges_v6,
            services: self.ids.in_use().into(),
            slots: self.slots.in_use().into(),
            backends: self.backends.in_use().into(),
            nodes: self.ways.nodes.len() as u64,
            sources: self.sources.written().len() as u64,
            networks_v4: networks.clone().filter(|network| network.addr().is_ipv4()).count() as u64,
            networks_v6: networks.filter(|network| network.addr().is_ipv6()).count() as u64,
        }
    }
}
