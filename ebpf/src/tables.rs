//! `datapath`'s tables, in BPF maps.

use aya_ebpf::{bindings::BPF_NOEXIST, maps::HashMap};
use datapath::tables::{InsertError, Surroundings, Tables};
use maps_schema::{
    address::{Address, Ipv4Wire, Ipv6Wire},
    clock::CoarseTime,
    connection::{Connection, FlowKey, State},
    service::{
        AddressEntry, Backend, BackendId, Frontend, FrontendKey, ServiceId, ServiceRecord, Slot,
    },
};

use crate::{
    helpers,
    maps::{
        ADDRESSES_V4, ADDRESSES_V6, BACKENDS, CONNECTIONS_V4, CONNECTIONS_V6, FRONTENDS_V4,
        FRONTENDS_V6, SERVICES, SLOTS,
    },
};

/// The maps of this node.
pub(crate) struct Maps;

/// A family that has maps of its own.
pub(crate) trait Mapped: Address {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>>;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend>;
    const ADDRESSES: &'static HashMap<Self, AddressEntry>;
}

impl Mapped for Ipv4Wire {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>> = &CONNECTIONS_V4;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend> = &FRONTENDS_V4;
    const ADDRESSES: &'static HashMap<Self, AddressEntry> = &ADDRESSES_V4;
}

impl Mapped for Ipv6Wire {
    const CONNECTIONS: &'static HashMap<FlowKey<Self>, Connection<Self>> = &CONNECTIONS_V6;
    const FRONTENDS: &'static HashMap<FrontendKey<Self>, Frontend> = &FRONTENDS_V6;
    const ADDRESSES: &'static HashMap<Self, AddressEntry> = &ADDRESSES_V6;
}

const EEXIST: i32 = -17;

impl<A: Mapped> Tables<A> for Maps {
    #[inline(always)]
    fn connection(&self, flow: &FlowKey<A>, seen: State, now: CoarseTime) -> Option<Connection<A>> {
        let entry = A::CONNECTIONS.get_ptr_mut(flow)?;
        // SAFETY: the verifier has checked the pointer, and the element stays allocated for this
        // run of the program. It may be written by other processors meanwhile: only the fields that
        // `note` writes, each in one store.
        let connection = unsafe { *entry };
        if connection.is_news(seen, now) {
            // SAFETY: as above.
            unsafe { (*entry).note(seen, now) };
        }
        Some(connection)
    }

    #[inline(always)]
    fn peek_connection(&self, flow: &FlowKey<A>) -> Option<Connection<A>> {
        // SAFETY: the value is copied out at once.
        unsafe { A::CONNECTIONS.get(flow) }.copied()
    }

    #[inline(always)]
    fn insert_connection(
        &self,
        flow: &FlowKey<A>,
        connection: &Connection<A>,
    ) -> Result<(), InsertError> {
        match A::CONNECTIONS.insert(flow, connection, BPF_NOEXIST.into()) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(InsertError::Exists),
            Err(_) => Err(InsertError::Full),
        }
    }

    #[inline(always)]
    fn remove_connection(&self, flow: &FlowKey<A>) {
        let _ = A::CONNECTIONS.remove(flow);
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey<A>) -> Option<Frontend> {
        // SAFETY: the value is copied out at once.
        unsafe { A::FRONTENDS.get(key) }.copied()
    }

    #[inline(always)]
    fn service(&self, service: ServiceId) -> Option<ServiceRecord> {
        let record = SERVICES.get_ptr(service.0)?;
        // SAFETY: the pointer is the verifier's; the agent stores the word whole, and so it is
        // read.
        Some(unsafe { record.read_volatile() })
    }

    #[inline(always)]
    fn backend(&self, slot: Slot) -> Option<Backend> {
        let &BackendId(backend) = SLOTS.get(slot.0)?;
        BACKENDS.get(backend).copied()
    }

    #[inline(always)]
    fn address(&self, address: A) -> Option<AddressEntry> {
        // SAFETY: the value is copied out at once.
        unsafe { A::ADDRESSES.get(address) }.copied()
    }
}

/// The kernel's clock and chance.
pub(crate) struct Kernel;

impl Surroundings for Kernel {
    #[inline(always)]
    fn now(&self) -> CoarseTime {
        CoarseTime::from_nanoseconds(helpers::ktime_get_coarse_ns())
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        helpers::get_prandom_u32()
    }
}
