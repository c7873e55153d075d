//! What `sync` asks of its tables: BPF maps in the agent, plain collections in tests.

use std::net::{IpAddr, SocketAddr};

use aya::maps::MapError;
use maps_schema::{
    address::Protocol,
    service::{AddressRole, Backend, BackendId, ServiceId, ServiceRecord, Slot},
};

/// An address, port and protocol that a service answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// The transport protocol.
    pub protocol: Protocol,
}

/// Why a table was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It holds as much as it can.
    #[error(
        "the table of {table} is full: raise --max-services or --max-endpoints, and run \
         `shunt cleanup` before the next start, as the sizes of live maps do not change"
    )]
    Full {
        /// The table.
        table: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    Map(#[from] MapError),
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
    /// Adds a frontend, or lets it lead to another service.
    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        service: ServiceId,
    ) -> Result<(), TableError>;
    /// Removes a frontend, if it is there.
    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError>;
    /// Says what an address is.
    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError>;
    /// Forgets an address, if it is known.
    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError>;
    /// Adds a network namespace whose sockets are translated.
    fn put_namespace(&mut self, cookie: u64) -> Result<(), TableError>;
    /// Removes one, if it is there.
    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError>;
    /// Sets a service's counters to zero.
    fn reset_counters(&mut self, service: ServiceId) -> Result<(), TableError>;

    /// Every frontend.
    fn frontends(&self) -> Result<Vec<(FrontendAddress, ServiceId)>, TableError>;
    /// Every address.
    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError>;
    /// Every namespace.
    fn namespaces(&self) -> Result<Vec<u64>, TableError>;
    /// A service's record.
    fn record(&self, service: ServiceId) -> ServiceRecord;
    /// A slot.
    fn slot(&self, slot: Slot) -> BackendId;
    /// A backend.
    fn backend(&self, id: BackendId) -> Backend;
}
