//! What services ask of their clients, and for them.

use std::net::IpAddr;

use maps_schema::{
    affinity::AffinityRule,
    service::{ServiceId, Slot},
};

use super::{
    node::{Node, NodeFamily},
    tables::MemoryTables,
};

impl Node {
    /// Gives a service session affinity, shared by all services of the group. Its endpoints were
    /// added in the order of their addresses and ports.
    pub fn keep_clients(&mut self, service: ServiceId, group: ServiceId, seconds: u32) {
        for arrays in [&mut self.v4.arrays, &mut self.v6.arrays] {
            let record = arrays.services.entry(service).or_default();
            *record = record.with_affinity();
            arrays.affinity_rules.insert(service, AffinityRule::new(group, seconds));
        }
    }

    /// Gives the service that was added last a Maglev table of so many elements, a power of two: the
    /// numbers of its endpoints.
    pub fn add_maglev(&mut self, service: ServiceId, table: &[u32]) {
        for arrays in [&mut self.v4.arrays, &mut self.v6.arrays] {
            let record = arrays.services.entry(service).or_default();
            *record = record.with_maglev(table.len().ilog2());
            let Slot(first) = record.first();
            for (slot, endpoint) in (self.next_slot..).zip(table) {
                let backend = arrays.slots.get(&Slot(first + endpoint)).copied();
                arrays.slots.insert(Slot(slot), backend.unwrap_or_default());
            }
        }
        self.next_slot += u32::try_from(table.len()).unwrap_or(u32::MAX);
    }

    /// Restricts all of a service's frontends to these ranges: prefixes and their lengths.
    pub fn restrict(&mut self, service: ServiceId, ranges: &[(IpAddr, u32)]) {
        restrict(&mut self.v4, service, ranges);
        restrict(&mut self.v6, service, ranges);
    }
}

fn restrict<A: NodeFamily>(
    tables: &mut MemoryTables<A>,
    service: ServiceId,
    ranges: &[(IpAddr, u32)],
) {
    for frontend in tables.frontends.values_mut().filter(|one| one.service() == service) {
        *frontend = frontend.restricted();
    }
    let ranges = ranges.iter().filter_map(|&(ip, length)| Some((A::from_ip(ip)?, length)));
    tables.source_ranges.extend(ranges.map(|(prefix, length)| (service, prefix, length)));
}
