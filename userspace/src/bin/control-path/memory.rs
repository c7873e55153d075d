//! Tables in plain memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex},
    affinity::AffinityRule,
    maps::Limits,
    service::{AddressRole, Backend, BackendId, Frontend, ServiceId, ServiceRecord, Slot},
    socket::SocketNamespace,
    way::{Node, NodeId, Way},
};
use userspace::sync::tables::{FrontendAddress, NetworkTables, ServiceTables, TableError};

/// As many elements as the kernel's by default; what was never written is empty.
#[derive(Debug, Default)]
pub(crate) struct MemoryTables {
    backends: Array<Backend>,
    slots: Array<BackendId>,
    records: Array<ServiceRecord>,
    affinity_rules: Array<AffinityRule>,
    frontends: HashMap<FrontendAddress, Frontend>,
    addresses: HashMap<IpAddr, AddressRole>,
    source_ranges: BTreeSet<(ServiceId, IpNet)>,
    namespaces: BTreeMap<u64, SocketNamespace>,
    nodes: BTreeMap<NodeId, Node>,
    networks: BTreeMap<IpNet, Way>,
    sources: BTreeMap<IfIndex, AddressPair>,
    uplinks: BTreeMap<IfIndex, AddressPair>,
    node_addresses: AddressPair,
}

/// An array that is as long as what was written of it.
#[derive(Debug, Default)]
struct Array<T>(Vec<T>);

impl<T: Copy + Default> Array<T> {
    fn set(&mut self, index: u32, value: T) {
        let index = index as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, T::default());
        }
        if let Some(element) = self.0.get_mut(index) {
            *element = value;
        }
    }

    fn get(&self, index: u32) -> T {
        self.0.get(index as usize).copied().unwrap_or_default()
    }
}

impl ServiceTables for MemoryTables {
    fn capacity(&self) -> (u32, u32, u32) {
        let limits = Limits::DEFAULT;
        (limits.services, limits.slots(), limits.endpoints)
    }

    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.backends.set(id.0, backend);
    }

    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.slots.set(slot.0, backend);
    }

    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.records.set(service.0, record);
    }

    fn put_affinity_rule(&mut self, service: ServiceId, rule: AffinityRule) {
        self.affinity_rules.set(service.0, rule);
    }

    fn put_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        self.source_ranges.insert((service, range));
        Ok(())
    }

    fn remove_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        self.source_ranges.remove(&(service, range));
        Ok(())
    }

    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError> {
        self.frontends.insert(frontend, leads_to);
        Ok(())
    }

    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError> {
        self.frontends.remove(&frontend);
        Ok(())
    }

    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError> {
        self.addresses.insert(address, role);
        Ok(())
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError> {
        self.addresses.remove(&address);
        Ok(())
    }

    fn put_namespace(&mut self, cookie: u64, namespace: SocketNamespace) -> Result<(), TableError> {
        self.namespaces.insert(cookie, namespace);
        Ok(())
    }

    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError> {
        self.namespaces.remove(&cookie);
        Ok(())
    }

    fn reset_counters(&mut self, _: ServiceId) -> Result<(), TableError> {
        Ok(())
    }

    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError> {
        Ok(self.frontends.iter().map(|(&frontend, &leads_to)| (frontend, leads_to)).collect())
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        Ok(self.addresses.iter().map(|(&address, &role)| (address, role)).collect())
    }

    fn namespaces(&self) -> Result<Vec<(u64, SocketNamespace)>, TableError> {
        Ok(self.namespaces.iter().map(|(&cookie, &whose)| (cookie, whose)).collect())
    }

    fn source_ranges(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError> {
        Ok(self.source_ranges.iter().copied().collect())
    }

    fn affinity_rule(&self, service: ServiceId) -> AffinityRule {
        self.affinity_rules.get(service.0)
    }

    fn record(&self, service: ServiceId) -> ServiceRecord {
        self.records.get(service.0)
    }

    fn slot(&self, slot: Slot) -> BackendId {
        self.slots.get(slot.0)
    }

    fn backend(&self, id: BackendId) -> Backend {
        self.backends.get(id.0)
    }
}

impl NetworkTables for MemoryTables {
    fn put_node(&mut self, id: NodeId, node: Node) -> Result<(), TableError> {
        self.nodes.insert(id, node);
        Ok(())
    }

    fn put_network(&mut self, network: IpNet, way: Way) -> Result<(), TableError> {
        self.networks.insert(network, way);
        Ok(())
    }

    fn remove_network(&mut self, network: IpNet) -> Result<(), TableError> {
        self.networks.remove(&network);
        Ok(())
    }

    fn put_source(&mut self, interface: IfIndex, pod: AddressPair) -> Result<(), TableError> {
        self.sources.insert(interface, pod);
        Ok(())
    }

    fn put_uplink(&mut self, interface: IfIndex, node: AddressPair) -> Result<(), TableError> {
        self.uplinks.insert(interface, node);
        Ok(())
    }

    fn remove_uplink(&mut self, interface: IfIndex) -> Result<(), TableError> {
        self.uplinks.remove(&interface);
        Ok(())
    }

    fn put_node_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError> {
        self.node_addresses = addresses;
        Ok(())
    }

    fn nodes(&self) -> Result<Vec<(NodeId, Node)>, TableError> {
        Ok(self.nodes.iter().map(|(&id, &node)| (id, node)).collect())
    }

    fn networks(&self) -> Result<Vec<(IpNet, Way)>, TableError> {
        Ok(self.networks.iter().map(|(&network, &way)| (network, way)).collect())
    }

    fn sources(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.sources.iter().map(|(&interface, &pod)| (interface, pod)).collect())
    }

    fn uplinks(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.uplinks.iter().map(|(&interface, &node)| (interface, node)).collect())
    }

    fn node_addresses(&self) -> Result<AddressPair, TableError> {
        Ok(self.node_addresses)
    }
}
