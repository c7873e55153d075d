//! What `sync` asks of its tables: BPF maps in the agent, plain collections in tests.

use std::net::{IpAddr, SocketAddr};

use aya::maps::MapError;
use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex, Protocol},
    affinity::AffinityRule,
    service::{
        AddressRole, Audience, Backend, BackendId, Frontend, ServiceId, ServiceRecord, Slot,
    },
    socket::SocketNamespace,
    way::{Node, NodeId, Way},
};

/// An address, port and protocol that a service answers on, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// The transport protocol.
    pub protocol: Protocol,
    /// Whose packets it is for.
    pub audience: Audience,
}

/// Why a table was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It holds as much as it can.
    #[error(
        "the table of {table} is full: raise --max-services, and run `shunt cleanup` before the \
         next start, as the sizes of live maps do not change"
    )]
    Full {
        /// The table.
        table: &'static str,
    },
    /// It holds as much as it ever can.
    #[error("the table of {table} is full, and no setting makes it larger: there are too many")]
    TooMany {
        /// The table.
        table: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The kernel did not let a table be read.
    #[error("reading the table of {table}: {error}")]
    Read {
        /// The table.
        table: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

/// The tables of services. Only `sync` writes them.
pub trait ServiceTables {
    /// How many services, slots and backends there can be.
    fn capacity(&self) -> (u32, u32, u32);

    /// Writes a backend, which no slot in use names.
    fn put_backend(&mut self, id: BackendId, backend: Backend);
    /// Writes a slot, which no record in use covers.
    fn put_slot(&mut self, slot: Slot, backend: BackendId);
    /// Switches a service: one store, after all that was written before.
    fn put_record(&mut self, service: ServiceId, record: ServiceRecord);
    /// Writes for how long a service's clients stay with an endpoint. Of meaning where its record
    /// says that they do.
    fn put_affinity_rule(&mut self, service: ServiceId, rule: AffinityRule);
    /// Allows clients in a range for a service's restricted frontends.
    fn put_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError>;
    /// Allows them no more, if they were.
    fn remove_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError>;
    /// Adds a frontend, or lets it lead elsewhere.
    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError>;
    /// Removes a frontend, if it is there.
    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError>;
    /// Says what an address is.
    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError>;
    /// Forgets an address, if it is known.
    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError>;
    /// Adds a network namespace whose sockets are translated, or says something else of it.
    fn put_namespace(&mut self, cookie: u64, namespace: SocketNamespace) -> Result<(), TableError>;
    /// Removes one, if it is there.
    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError>;
    /// Sets a service's counters to zero.
    fn reset_counters(&mut self, service: ServiceId) -> Result<(), TableError>;

    /// Every frontend.
    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError>;
    /// Every address.
    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError>;
    /// Every namespace.
    fn namespaces(&self) -> Result<Vec<(u64, SocketNamespace)>, TableError>;
    /// Every range that a service allows.
    fn source_ranges(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError>;
    /// A service's rule of affinity.
    fn affinity_rule(&self, service: ServiceId) -> AffinityRule;
    /// A service's record.
    fn record(&self, service: ServiceId) -> ServiceRecord;
    /// A slot.
    fn slot(&self, slot: Slot) -> BackendId;
    /// A backend.
    fn backend(&self, id: BackendId) -> Backend;
}

/// The tables of what is around the services: other nodes, networks, and the node's interfaces.
/// Only `sync` writes them.
pub trait NetworkTables {
    /// Writes a node; [`Node::default`] where there is none any more.
    fn put_node(&mut self, id: NodeId, node: Node) -> Result<(), TableError>;
    /// Adds a network, or says that another way leads there.
    fn put_network(&mut self, network: IpNet, way: Way) -> Result<(), TableError>;
    /// Forgets a network, if it is known.
    fn remove_network(&mut self, network: IpNet) -> Result<(), TableError>;
    /// Writes the addresses of the pod behind an interface, zeros where there is none any more. Its
    /// number is below [`MAX_SOURCES`](maps_schema::maps::MAX_SOURCES).
    fn put_source(&mut self, interface: IfIndex, pod: AddressPair) -> Result<(), TableError>;
    /// Writes the node's addresses on an uplink.
    fn put_uplink(&mut self, interface: IfIndex, node: AddressPair) -> Result<(), TableError>;
    /// Forgets an uplink, if it is known.
    fn remove_uplink(&mut self, interface: IfIndex) -> Result<(), TableError>;
    /// Writes the node's primary addresses.
    fn put_node_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError>;

    /// Every node.
    fn nodes(&self) -> Result<Vec<(NodeId, Node)>, TableError>;
    /// Every network.
    fn networks(&self) -> Result<Vec<(IpNet, Way)>, TableError>;
    /// Every interface with a pod behind it.
    fn sources(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError>;
    /// Every uplink.
    fn uplinks(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError>;
    /// The node's primary addresses.
    fn node_addresses(&self) -> Result<AddressPair, TableError>;
}
