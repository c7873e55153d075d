//! A node's tables, copied into maps.

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key},
};
use datapath::testing::node::Node;
use maps_schema::{
    address::{AddressPair, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey, AffinityRule},
    maps,
    service::{AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceRecord, SourceKey},
    way::Network,
};

use super::{KernelMachine, Named};

impl KernelMachine {
    pub(super) fn fill(&mut self, node: &Node) {
        self.fill_family::<Ipv4Wire>(node);
        self.fill_family::<Ipv6Wire>(node);
        let arrays = &node.v4.arrays;
        let mut services: Array<&mut MapData, ServiceRecord> =
            self.map_mut(maps::SERVICES, Array::try_from);
        for (id, record) in &arrays.services {
            services.set(id.0, record, 0).expect("writing a service");
        }
        let mut rules: Array<&mut MapData, AffinityRule> =
            self.map_mut(maps::AFFINITY_RULES, Array::try_from);
        for (id, rule) in &arrays.affinity_rules {
            rules.set(id.0, rule, 0).expect("writing a rule");
        }
        let mut slots: Array<&mut MapData, BackendId> = self.map_mut(maps::SLOTS, Array::try_from);
        for (slot, backend) in &arrays.slots {
            slots.set(slot.0, backend, 0).expect("writing a slot");
        }
        let mut sources: Array<&mut MapData, AddressPair> =
            self.map_mut(maps::SOURCES, Array::try_from);
        for (interface, v4) in &node.v4.sources {
            let v6 = node.v6.sources.get(interface).copied().unwrap_or_default();
            let pair = AddressPair { v4: *v4, v6 };
            sources.set(interface.get(), pair, 0).expect("writing a source");
        }
        let mut backends: Array<&mut MapData, Backend> =
            self.map_mut(maps::BACKENDS, Array::try_from);
        for (id, backend) in &arrays.backends {
            backends.set(id.0, backend, 0).expect("writing a backend");
        }
    }

    fn fill_family<A: Named>(&mut self, node: &Node)
    where
        FrontendKey<A>: Pod,
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
        SourceKey<A>: Pod,
    {
        let tables = A::tables(node);
        let mut frontends: HashMap<&mut MapData, FrontendKey<A>, Frontend> =
            self.map_mut(A::FRONTENDS, HashMap::try_from);
        for (key, frontend) in &tables.frontends {
            frontends.insert(key, frontend, 0).expect("writing a frontend");
        }
        let mut addresses: HashMap<&mut MapData, A, AddressEntry> =
            self.map_mut(A::ADDRESSES, HashMap::try_from);
        for (address, entry) in &tables.addresses {
            addresses.insert(address, entry, 0).expect("writing an address");
        }
        let mut networks: LpmTrie<&mut MapData, A, Network> =
            self.map_mut(A::NETWORKS, LpmTrie::try_from);
        for (prefix, length, way) in &tables.networks {
            let network = Network::new(*way);
            networks.insert(&Key::new(*length, *prefix), network, 0).expect("writing a network");
        }
        let mut ranges: LpmTrie<&mut MapData, SourceKey<A>, u8> =
            self.map_mut(A::SOURCE_RANGES, LpmTrie::try_from);
        for (service, prefix, length) in &tables.source_ranges {
            let length = SourceKey::<A>::SERVICE_BITS + length;
            let key = Key::new(length, SourceKey::new(*service, *prefix));
            ranges.insert(&key, 0, 0).expect("writing a source range");
        }
    }
}
