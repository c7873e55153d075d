//! The backends in use: one element of the backend array per endpoint and way to it, shared by all
//! services that have it. An element never changes while it is used: a pod that was made anew has a
//! new way to it, hence a new element, and the services that use it are switched.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    time::Instant,
};

use maps_schema::{
    address::{Address as _, Ipv4Wire, Ipv6Wire, Port},
    service::{Backend, BackendId},
    way::Way,
};

use super::{
    pool::{Pool, Run},
    tables::ServiceTables,
};

/// An endpoint and the way to it.
pub(super) type BackendKey = (SocketAddr, Way);

#[derive(Debug)]
pub(super) struct Backends {
    known: HashMap<BackendKey, BackendId>,
    in_use: HashMap<BackendId, InUse>,
    pool: Pool,
    changes: u64,
}

#[derive(Debug)]
struct InUse {
    /// None where the element was never written: nobody else shall share it.
    key: Option<BackendKey>,
    /// How many slots name it.
    users: u32,
}

impl Backends {
    /// Takes over what slots name already; each naming counts.
    pub(super) fn new(named: impl Iterator<Item = BackendId>, tables: &impl ServiceTables) -> Self {
        let (_, _, capacity) = tables.capacity();
        let mut known = HashMap::new();
        let mut in_use = HashMap::new();
        for id in named {
            let element = in_use.entry(id).or_insert_with(|| {
                let key = key_of(&tables.backend(id));
                if let Some(key) = key {
                    known.entry(key).or_insert(id);
                }
                InUse { key, users: 0 }
            });
            element.users += 1;
        }
        let mut ids: Vec<BackendId> = in_use.keys().copied().collect();
        ids.sort_unstable();
        let pool = Pool::new(capacity, ids.into_iter().map(single));
        Self { known, in_use, pool, changes: 0 }
    }

    /// The element of a backend, made where there is none; `None` where the array is full.
    pub(super) fn acquire(
        &mut self,
        key: BackendKey,
        tables: &mut impl ServiceTables,
        now: Instant,
    ) -> Option<BackendId> {
        if let Some(&id) = self.known.get(&key)
            && let Some(element) = self.in_use.get_mut(&id)
        {
            element.users += 1;
            return Some(id);
        }
        let id = BackendId(self.pool.take(1, now)?.first);
        tables.put_backend(id, backend(key));
        self.changes += 1;
        self.known.insert(key, id);
        self.in_use.insert(id, InUse { key: Some(key), users: 1 });
        Some(id)
    }

    /// Gives up one use of an element.
    pub(super) fn release(&mut self, id: BackendId, now: Instant) {
        let Entry::Occupied(mut element) = self.in_use.entry(id) else {
            return;
        };
        element.get_mut().users -= 1;
        if element.get().users > 0 {
            return;
        }
        let InUse { key, users: _ } = element.remove();
        if let Some(key) = key
            && self.known.get(&key) == Some(&id)
        {
            self.known.remove(&key);
        }
        self.pool.give_back(single(id), now);
    }

    /// The endpoints in use, with the ways to them.
    pub(super) fn keys(&self) -> impl Iterator<Item = BackendKey> {
        self.known.keys().copied()
    }

    /// How many elements are in use.
    pub(super) const fn in_use(&self) -> u32 {
        self.pool.in_use()
    }

    /// How many elements were written so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}

const fn single(id: BackendId) -> Run {
    Run { first: id.0, length: 1 }
}

fn backend((address, way): BackendKey) -> Backend {
    let port = Port::new(address.port());
    match address {
        SocketAddr::V4(address) => Backend::new(Ipv4Wire::from(*address.ip()), port, way),
        SocketAddr::V6(address) => Backend::new(Ipv6Wire::from(*address.ip()), port, way),
    }
}

/// The inverse of [`backend`].
pub(super) fn key_of(backend: &Backend) -> Option<BackendKey> {
    let ip = match backend.ip_version() {
        4 => backend.address::<Ipv4Wire>().ip(),
        6 => backend.address::<Ipv6Wire>().ip(),
        _ => return None,
    };
    Some((SocketAddr::new(ip, backend.port.number()), backend.way()))
}
