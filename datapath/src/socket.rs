//! The decision at the socket: the node's own processes are connected to a backend before the first
//! packet is made, so they need no route to the service's address.

use maps_schema::{
    address::{Address, Port, Protocol},
    drop_reason::DropReason,
    service::{AddressRole, Audience, Frontend, FrontendKey, ServiceId, WhenEmpty},
    way::Way,
};

use crate::{
    select::{Choice, NoBackend, Occasion, Wanted, select},
    tables::{Surroundings, Tables},
};

/// A socket that is about to connect or send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket<A> {
    /// The address that it is bound to, or its packets would have.
    pub address: A,
    /// The transport protocol.
    pub protocol: Protocol,
    /// Whether it is in the node's own network namespace, and not in a pod's.
    pub is_nodes: bool,
}

/// What is to be done with a socket's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketVerdict<A> {
    /// It is no service's.
    Pass,
    /// It becomes a backend's.
    Translate {
        /// The backend's address.
        address: A,
        /// The backend's port.
        port: Port,
        /// The service port that the connection is counted for.
        service: ServiceId,
    },
    /// The call fails with `ECONNREFUSED`.
    Refuse(DropReason),
    /// Packets would be dropped: the call fails at once, with `EHOSTUNREACH`.
    Drop(DropReason),
}

/// The verdict on a socket that asks for `address` and `port`.
#[inline(always)]
pub fn decide_socket<A: Address>(
    socket: &Socket<A>,
    address: A,
    port: Port,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> SocketVerdict<A> {
    let Some(frontend) = frontend(socket, address, port, tables) else {
        return without_frontend(address, tables);
    };
    let service = frontend.service();
    if frontend.is_restricted() && !tables.admits(service, socket.address) {
        return SocketVerdict::Drop(DropReason::SourceNotAllowed);
    }
    let wanted = Wanted {
        service,
        client: socket.address,
        choice: Choice::Chance(surroundings.random()),
        occasion: Occasion::Opening,
    };
    match select(&wanted, tables, surroundings) {
        Ok(backend) => {
            SocketVerdict::Translate { address: backend.address(), port: backend.port, service }
        }
        Err(NoBackend::Corrupt) => SocketVerdict::Drop(DropReason::CorruptService),
        Err(NoBackend::Empty(WhenEmpty::Refuse)) => SocketVerdict::Refuse(DropReason::NoEndpoints),
        Err(NoBackend::Empty(WhenEmpty::Drop)) => SocketVerdict::Drop(DropReason::NoLocalEndpoints),
    }
}

/// The frontend that a socket asks for. Loopback addresses are a namespace's own: those that lead
/// to services are the node's.
#[inline(always)]
fn frontend<A: Address>(
    socket: &Socket<A>,
    address: A,
    port: Port,
    tables: &impl Tables<A>,
) -> Option<Frontend> {
    let of =
        |audience| tables.frontend(&FrontendKey::new(address, port, socket.protocol, audience));
    if socket.is_nodes
        && let Some(frontend) = of(Audience::Node)
    {
        return Some(frontend);
    }
    if address.is_loopback() { None } else { of(Audience::Inside) }
}

#[inline(always)]
fn without_frontend<A: Address>(address: A, tables: &impl Tables<A>) -> SocketVerdict<A> {
    match tables.address(address).map(|entry| entry.role()) {
        Some(AddressRole::Service) => SocketVerdict::Refuse(DropReason::NoSuchServicePort),
        None if tables.network(address) == Way::Nowhere => {
            SocketVerdict::Drop(DropReason::UnallocatedServiceAddress)
        }
        Some(AddressRole::Pod(_) | AddressRole::Node) | None => SocketVerdict::Pass,
    }
}
