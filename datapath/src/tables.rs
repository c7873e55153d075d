//! What the datapath asks of its tables: BPF maps in the kernel, `BTreeMap`s in tests.

use maps_schema::{
    address::IfIndex,
    affinity::{Affinity, AffinityKey, AffinityRule},
    clock::{CoarseTime, Moment},
    connection::{Connection, FlowKey, State},
    service::{AddressEntry, Backend, Frontend, FrontendKey, ServiceId, ServiceRecord, Slot},
    way::Way,
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

    /// For how long the clients of a service with session affinity stay with an endpoint.
    fn affinity_rule(&self, service: ServiceId) -> Option<AffinityRule>;

    /// The endpoint that a client's last connection went to, however long ago that was.
    fn affinity(&self, key: &AffinityKey<A>) -> Option<Affinity<A>>;

    /// Remembers a client's endpoint, in the place of the former one; the table has always room.
    fn remember_affinity(&self, key: &AffinityKey<A>, value: &Affinity<A>);

    /// Whether a source address is in one of a service's source ranges.
    fn admits(&self, service: ServiceId, source: A) -> bool;

    /// What an address is to this node.
    fn address(&self, address: A) -> Option<AddressEntry>;

    /// The way to the longest prefix that holds an address; the kernel's stack where none does.
    fn network(&self, address: A) -> Way;

    /// Whether the pod behind an interface has this address.
    fn is_source(&self, interface: IfIndex, address: A) -> bool;
}

/// What differs from packet to packet beside the packet: the moment, and chance.
pub trait Surroundings {
    /// Now.
    fn now(&self) -> CoarseTime;

    /// Now, for what is set in seconds.
    fn moment(&self) -> Moment;

    /// 32 random bits, new at each call.
    fn random(&self) -> u32;

    /// Does something until it is done, at most so many times.
    fn repeat<T: Repeated>(&self, times: u32, repeated: &mut T);
}

/// Something that may have to be done many times. A loop of its own would be unrolled by the
/// verifier.
pub trait Repeated {
    /// Does it once more.
    fn step(&mut self) -> Progress;
}

/// Whether something is to be done once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is.
    Again,
    /// It is done.
    Done,
}

/// What the node's own network stack knows, for flows that get an address of the node.
pub trait Stack<A> {
    /// The bridge's address: other nodes' pods reach it as they reach this node's pods.
    fn bridge_address(&self) -> A;

    /// The node's primary address, which endpoints on its network have; zero where it has none of
    /// the family.
    fn node_address(&self) -> A;

    /// The node's address on the uplink that its routes take to `destination`; none where they take
    /// another interface, or none.
    fn uplink_address(&self, destination: A) -> Option<A>;

    /// Whether a socket of the node's own would receive the packets of a flow.
    fn has_socket(&self, flow: &FlowKey<A>) -> bool;

    /// The first and the last of the source ports that flows with an address of the node may have.
    fn masquerade_ports(&self) -> (u16, u16);
}
