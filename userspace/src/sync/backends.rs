//! The backends in use: one element of the backend array per endpoint and way to it, shared by all
//! services that have it. An element never changes while it is used: a pod that was made anew has a
//! new way to it, hence a new element, and the services that use it are switched.

use std::{collections::HashMap, net::SocketAddr, time::Instant};

use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, PodLink, Port},
    service::{Backend, BackendId},
};

use super::{
    pool::{Pool, Run},
    tables::ServiceTables,
};

/// An endpoint and the way to it.
pub(super) type BackendKey = (SocketAddr, PodLink);

#[derive(Debug)]
pub(super) struct Backends {
    known: HashMap<BackendKey, InUse>,
    keys: HashMap<BackendId, BackendKey>,
    pool: Pool,
}

#[derive(Debug)]
struct InUse {
    id: BackendId,
    /// How many slots name it.
    users: u32,
}

impl Backends {
    /// Takes over what slots name already; each naming counts.
    pub(super) fn new(
        capacity: u32,
        named: impl IntoIterator<Item = (BackendId, BackendKey)>,
    ) -> Self {
        let mut known: HashMap<BackendKey, InUse> = HashMap::new();
        let mut keys = HashMap::new();
        for (id, key) in named {
            // Of two elements that are equal, one is kept; the other is freed with its services.
            known.entry(key).or_insert(InUse { id, users: 0 }).users += 1;
            keys.insert(id, key);
        }
        let pool = Pool::new(capacity, keys.keys().map(|id| Run { first: id.0, length: 1 }));
        Self { known, keys, pool }
    }

    /// The element of a backend, made where there is none; `None` where the array is full.
    pub(super) fn acquire(
        &mut self,
        key: BackendKey,
        tables: &mut impl ServiceTables,
        now: Instant,
    ) -> Option<BackendId> {
        if let Some(known) = self.known.get_mut(&key) {
            known.users += 1;
            return Some(known.id);
        }
        let id = BackendId(self.pool.take(1, now)?.first);
        tables.put_backend(id, backend(key));
        self.known.insert(key, InUse { id, users: 1 });
        self.keys.insert(id, key);
        Some(id)
    }

    /// Gives up one use of an element.
    pub(super) fn release(&mut self, id: BackendId, now: Instant) {
        let Some(&key) = self.keys.get(&id) else { return };
        let unused = self.known.get_mut(&key).is_none_or(|known| {
            known.users = known.users.saturating_sub(1);
            known.users == 0
        });
        if unused {
            self.known.remove(&key);
            self.keys.remove(&id);
            self.pool.give_back(Run { first: id.0, length: 1 }, now);
        }
    }

    /// How many elements are in use.
    pub(super) const fn in_use(&self) -> u32 {
        self.pool.in_use()
    }
}

fn backend((address, link): BackendKey) -> Backend {
    let port = Port::new(address.port());
    match address {
        SocketAddr::V4(address) => Backend::new(Ipv4Wire::from(*address.ip()), port, link),
        SocketAddr::V6(address) => Backend::new(Ipv6Wire::from(*address.ip()), port, link),
    }
}

/// The inverse of [`backend`].
pub(super) fn key_of(backend: &Backend) -> Option<BackendKey> {
    use maps_schema::address::Address as _;
    let ip = match backend.ip_version() {
        4 => backend.address::<Ipv4Wire>().ip(),
        6 => backend.address::<Ipv6Wire>().ip(),
        _ => return None,
    };
    Some((SocketAddr::new(ip, backend.port.number()), backend.link()))
}
