//! The decision at the socket: the node's own processes are connected to a backend before the first
//! packet is made, so they need no route to the service's address.

use maps_schema::{
    address::{Address, Port, Protocol},
    drop_reason::DropReason,
    service::{AddressRole, Audience, FrontendKey, ServiceId, WhenEmpty},
};

use crate::{
    select::{Choice, NoBackend, select},
    tables::Tables,
};

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
}

/// The verdict on a socket that is about to connect or send to `address` and `port`.
#[inline(always)]
pub fn decide_socket<A: Address>(
    address: A,
    port: Port,
    protocol: Protocol,
    tables: &impl Tables<A>,
    random: u32,
) -> SocketVerdict<A> {
    let key = FrontendKey::new(address, port, protocol, Audience::Inside);
    let Some(frontend) = tables.frontend(&key) else {
        return match tables.address(address).map(|entry| entry.role()) {
            Some(AddressRole::Service) => SocketVerdict::Refuse(DropReason::NoSuchServicePort),
            Some(AddressRole::Pod(_) | AddressRole::Node) | None => SocketVerdict::Pass,
        };
    };
    let service = frontend.service();
    match select(service, tables, Choice::Chance(random)) {
        Ok(backend) => {
            SocketVerdict::Translate { address: backend.address(), port: backend.port, service }
        }
        Err(NoBackend::Corrupt) => SocketVerdict::Refuse(DropReason::CorruptService),
        Err(NoBackend::Empty(WhenEmpty::Refuse)) => SocketVerdict::Refuse(DropReason::NoEndpoints),
        Err(NoBackend::Empty(WhenEmpty::Drop)) => {
            SocketVerdict::Refuse(DropReason::NoLocalEndpoints)
        }
    }
}
