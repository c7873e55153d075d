//! What the datapath asks of its tables: BPF maps in the kernel, `BTreeMap`s in tests.

use maps_schema::{
    clock::CoarseTime,
    connection::{Connection, FlowKey, State},
    service::{AddressEntry, Backend, Frontend, FrontendKey, ServiceId, ServiceRecord, Slot},
};

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is one for this key.
    Exists,
    /// The table is full.
    Full,
}

/// The tables of one address family. Values are copied out: an element may be reused while a
/// program looks at it.
pub trait Tables<A> {
    /// The connection entry for a flow. A packet with `seen` is noted in it: when the state is new
    /// to it, or the moment, so that an entry is written at most once per unit of time.
    fn connection(&self, flow: &FlowKey<A>, seen: State, now: CoarseTime) -> Option<Connection<A>>;

    /// The connection entry for a flow, without noting anything.
    fn peek_connection(&self, flow: &FlowKey<A>) -> Option<Connection<A>>;

    /// Adds a connection entry.
    fn insert_connection(
        &self,
        flow: &FlowKey<A>,
        connection: &Connection<A>,
    ) -> Result<(), InsertError>;

    /// Removes a connection entry, if it exists.
    fn remove_connection(&self, flow: &FlowKey<A>);

    /// The frontend for an address, port and protocol.
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend>;

    /// A service's record. One load: it is never half new.
    fn service(&self, service: ServiceId) -> Option<ServiceRecord>;

    /// The backend in a slot.
    fn backend(&self, slot: Slot) -> Option<Backend>;

    /// What an address is to this node.
    fn address(&self, address: A) -> Option<AddressEntry>;
}

/// What differs from packet to packet beside the packet: the moment, and chance.
pub trait Surroundings {
    /// Now.
    fn now(&self) -> CoarseTime;

    /// 32 random bits, new at each call.
    fn random(&self) -> u32;
}
