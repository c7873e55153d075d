//! A node's tables in both families, described by addresses.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr};

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, PodLink, Port, Protocol},
    clock::{CoarseTime, Moment},
    connection::FlowKey,
    counters::{Program, ServiceCounters, drop_counter_index},
    drop_reason::DropReason,
    service::{
        AddressEntry, AddressRole, Audience, Backend, BackendId, ClientAddress, Frontend,
        FrontendKey, ServiceId, ServiceRecord, Slot, WhenEmpty,
    },
    way::Way,
};

use super::{fragments::MemoryFragments, surroundings::Script, tables::MemoryTables};
use crate::{
    fragment::FragmentFamily,
    refuse::Refusable,
    tables::{Repeated, Stack, Surroundings},
};

/// A node.
#[derive(Debug)]
pub struct Node {
    /// The IPv4 tables. The arrays are the same in both.
    pub v4: MemoryTables<Ipv4Wire>,
    /// The IPv6 tables.
    pub v6: MemoryTables<Ipv6Wire>,
    /// The bridge's addresses.
    pub bridge: (Ipv4Wire, Ipv6Wire),
    /// The node's addresses on its uplink; zero where its routes lead elsewhere.
    pub uplink: (Ipv4Wire, Ipv6Wire),
    /// The node's primary addresses; zero where it has none.
    pub primary: (Ipv4Wire, Ipv6Wire),
    /// The ports that the node's own sockets have, on any address.
    pub socket_ports: Vec<u16>,
    /// The source ports of masqueraded flows.
    pub masquerade_ports: (u16, u16),
    /// Fragments.
    pub fragments: MemoryFragments,
    /// Time and chance.
    pub script: Script,
    /// Drops and refusals, by `drop_counter_index`.
    pub drops: RefCell<BTreeMap<u32, u64>>,
    /// Counters of services.
    pub counters: RefCell<BTreeMap<ServiceId, ServiceCounters>>,
    next_service: u32,
    pub(super) next_slot: u32,
}

/// An endpoint, and the way there.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The way.
    pub way: Way,
}

/// A family that a [`Node`] has tables of.
pub trait NodeFamily: FragmentFamily + Refusable {
    /// The address, if it is of this family.
    fn from_ip(address: IpAddr) -> Option<Self>;
    /// The node's tables.
    fn tables(node: &Node) -> &MemoryTables<Self>;
    /// The node's tables, to be changed.
    fn tables_mut(node: &mut Node) -> &mut MemoryTables<Self>;
    /// The bridge's address.
    fn bridge(node: &Node) -> Self;
    /// The node's address on its uplink.
    fn uplink(node: &Node) -> Self;
    /// The node's primary address.
    fn primary(node: &Node) -> Self;
}

impl NodeFamily for Ipv4Wire {
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(_) => None,
        }
    }

    fn tables(node: &Node) -> &MemoryTables<Self> {
        &node.v4
    }

    fn tables_mut(node: &mut Node) -> &mut MemoryTables<Self> {
        &mut node.v4
    }

    fn bridge(node: &Node) -> Self {
        node.bridge.0
    }

    fn uplink(node: &Node) -> Self {
        node.uplink.0
    }

    fn primary(node: &Node) -> Self {
        node.primary.0
    }
}

impl NodeFamily for Ipv6Wire {
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.into()),
        }
    }

    fn tables(node: &Node) -> &MemoryTables<Self> {
        &node.v6
    }

    fn tables_mut(node: &mut Node) -> &mut MemoryTables<Self> {
        &mut node.v6
    }

    fn bridge(node: &Node) -> Self {
        node.bridge.1
    }

    fn uplink(node: &Node) -> Self {
        node.uplink.1
    }

    fn primary(node: &Node) -> Self {
        node.primary.1
    }
}

impl Node {
    /// A node without services, with room for this many connection entries per family.
    pub fn new(connection_capacity: usize) -> Self {
        Self {
            v4: MemoryTables::new(connection_capacity),
            v6: MemoryTables::new(connection_capacity),
            bridge: (Ipv4Wire::default(), Ipv6Wire::default()),
            uplink: (Ipv4Wire::default(), Ipv6Wire::default()),
            primary: (Ipv4Wire::default(), Ipv6Wire::default()),
            socket_ports: Vec::new(),
            masquerade_ports: (1024, u16::MAX),
            fragments: MemoryFragments::new(64),
            script: Script::new(1000, 7),
            drops: RefCell::default(),
            counters: RefCell::default(),
            next_service: 1,
            next_slot: 1,
        }
    }

    /// Adds a pod of this node.
    pub fn add_pod(&mut self, address: IpAddr, link: PodLink) {
        self.add_address(address, AddressRole::Pod(link));
        match address {
            IpAddr::V4(address) => {
                self.v4.sources.insert(link.interface, address.into());
            }
            IpAddr::V6(address) => {
                self.v6.sources.insert(link.interface, address.into());
            }
        }
    }

    /// Adds an address of the node itself.
    pub fn add_own_address(&mut self, address: IpAddr) {
        self.add_address(address, AddressRole::Node);
    }

    /// Adds the way to a network.
    pub fn add_network(&mut self, prefix: IpAddr, length: u32, way: Way) {
        match prefix {
            IpAddr::V4(prefix) => self.v4.networks.push((prefix.into(), length, way)),
            IpAddr::V6(prefix) => self.v6.networks.push((prefix.into(), length, way)),
        }
    }

    /// Adds a service port with its endpoints.
    pub fn add_service(
        &mut self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        endpoints: &[Endpoint],
    ) -> ServiceId {
        let first = Slot(self.next_slot);
        for endpoint in endpoints {
            let port = Port::new(endpoint.port);
            let backend = match endpoint.address {
                IpAddr::V4(address) => Backend::new(Ipv4Wire::from(address), port, endpoint.way),
                IpAddr::V6(address) => Backend::new(Ipv6Wire::from(address), port, endpoint.way),
            };
            let (slot, id) = (Slot(self.next_slot), BackendId(self.next_slot));
            for arrays in [&mut self.v4.arrays, &mut self.v6.arrays] {
                arrays.slots.insert(slot, id);
                arrays.backends.insert(id, backend);
            }
            self.next_slot += 1;
        }
        let slots = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let record = ServiceRecord::new(first, slots, WhenEmpty::Refuse);
        self.add_frontend(address, port, protocol, record)
    }

    /// Adds a service port with any record.
    pub fn add_frontend(
        &mut self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        record: ServiceRecord,
    ) -> ServiceId {
        let service = ServiceId(self.next_service);
        self.next_service += 1;
        self.v4.arrays.services.insert(service, record);
        self.v6.arrays.services.insert(service, record);
        let inside = (Audience::Inside, ClientAddress::Kept);
        self.lead(address, port, protocol, inside, service);
        self.add_address(address, AddressRole::Service);
        service
    }

    /// Leads one more frontend to a service port.
    pub fn lead(
        &mut self,
        address: IpAddr,
        port: u16,
        protocol: Protocol,
        (audience, client): (Audience, ClientAddress),
        service: ServiceId,
    ) {
        let (port, frontend) = (Port::new(port), Frontend::new(service, client));
        match address {
            IpAddr::V4(address) => {
                let key = FrontendKey::new(address.into(), port, protocol, audience);
                self.v4.frontends.insert(key, frontend);
            }
            IpAddr::V6(address) => {
                let key = FrontendKey::new(address.into(), port, protocol, audience);
                self.v6.frontends.insert(key, frontend);
            }
        }
    }

    /// Replaces a service's record.
    pub fn set_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.v4.arrays.services.insert(service, record);
        self.v6.arrays.services.insert(service, record);
    }

    fn add_address(&mut self, address: IpAddr, role: AddressRole) {
        let entry = AddressEntry::new(role);
        match address {
            IpAddr::V4(address) => {
                self.v4.addresses.insert(address.into(), entry);
            }
            IpAddr::V6(address) => {
                self.v6.addresses.insert(address.into(), entry);
            }
        }
    }

    /// How often a program has dropped or refused for this reason.
    pub fn drops(&self, program: Program, reason: DropReason) -> u64 {
        self.drops.borrow().get(&drop_counter_index(program, reason)).copied().unwrap_or(0)
    }

    pub(super) fn count_drop(&self, program: Program, reason: DropReason) {
        *self.drops.borrow_mut().entry(drop_counter_index(program, reason)).or_default() += 1;
    }

    pub(super) fn count_packet(&self, service: ServiceId, bytes: u32) {
        let packet = ServiceCounters { connections: 0, packets: 1, bytes: u64::from(bytes) };
        *self.counters.borrow_mut().entry(service).or_default() += packet;
    }

    pub(super) fn count_connection(&self, service: ServiceId) {
        let connection = ServiceCounters { connections: 1, packets: 0, bytes: 0 };
        *self.counters.borrow_mut().entry(service).or_default() += connection;
    }

    /// Every forward or reply entry must have the other one, each with the key that follows from
    /// the other.
    ///
    /// # Errors
    ///
    /// The key of an entry whose mate is not there, or is another flow's.
    pub fn require_whole_pairs<A: NodeFamily>(&self) -> Result<(), FlowKey<A>> {
        let connections = A::tables(self).connections.borrow();
        for (flow, entry) in connections.iter() {
            let mate = connections.get(&entry.rewritten(flow.protocol()).reverse());
            let fits = mate.is_some_and(|mate| {
                mate.rewritten(flow.protocol()).reverse() == *flow
                    && mate.direction() != entry.direction()
                    && mate.service() == entry.service()
            });
            if !fits {
                return Err(*flow);
            }
        }
        Ok(())
    }
}

impl Surroundings for Node {
    fn now(&self) -> CoarseTime {
        self.script.now()
    }

    fn moment(&self) -> Moment {
        self.script.moment()
    }

    fn random(&self) -> u32 {
        self.script.random()
    }

    fn repeat<T: Repeated>(&self, times: u32, repeated: &mut T) {
        self.script.repeat(times, repeated);
    }
}

impl<A: NodeFamily> Stack<A> for Node {
    fn bridge_address(&self) -> A {
        A::bridge(self)
    }

    fn node_address(&self) -> A {
        A::primary(self)
    }

    fn uplink_address(&self, _destination: A) -> Option<A> {
        let address = A::uplink(self);
        (address != A::from_slot([0; 16])).then_some(address)
    }

    fn has_socket(&self, flow: &FlowKey<A>) -> bool {
        self.socket_ports.contains(&flow.destination_port.number())
    }

    fn masquerade_ports(&self) -> (u16, u16) {
        self.masquerade_ports
    }
}
