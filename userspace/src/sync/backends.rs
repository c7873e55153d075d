//! The backends in use: one element of the backend array per endpoint and way to it, shared by all
//! services that have it. An element never changes while it is used: a pod that was made anew has a
//! new way to it, hence a new element, and the services that use it are switched.
//!
//! There may be a million of them: what the table holds is not kept a second time, and is looked up
//! there.

use std::{hash::BuildHasher as _, net::SocketAddr, time::Instant};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
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
    /// The elements that can be shared, by what they hold.
    known: HashTable<BackendId>,
    hasher: RandomState,
    /// How many slots name each element.
    users: Vec<u32>,
    pool: Pool,
    changes: u64,
}

impl Backends {
    /// Takes over what slots name already; each naming counts.
    pub(super) fn new(named: impl Iterator<Item = BackendId>, tables: &impl ServiceTables) -> Self {
        let (_, _, capacity) = tables.capacity();
        let mut backends = Self {
            known: HashTable::new(),
            hasher: RandomState::default(),
            users: Vec::new(),
            pool: Pool::new(capacity, []),
            changes: 0,
        };
        for id in named {
            backends.add_user(id);
        }
        let in_use = (0..).zip(&backends.users).filter(|(_, users)| **users > 0);
        let in_use: Vec<BackendId> = in_use.map(|(number, _)| BackendId(number)).collect();
        backends.pool = Pool::new(capacity, in_use.iter().copied().map(single));
        for id in in_use {
            let element = tables.backend(id);
            // One that was never written is nobody's to share, nor is the second of two that are
            // the same.
            if key_of(&element).is_some() && backends.find(&element, tables).is_none() {
                backends.make_known(id, &element, tables);
            }
        }
        backends
    }

    /// The element of a backend, made where there is none; `None` where the array is full.
    pub(super) fn acquire(
        &mut self,
        key: BackendKey,
        tables: &mut impl ServiceTables,
        now: Instant,
    ) -> Option<BackendId> {
        let element = backend(key);
        if let Some(id) = self.find(&element, tables) {
            self.add_user(id);
            return Some(id);
        }
        let id = BackendId(self.pool.take(1, now)?.first);
        tables.put_backend(id, element);
        self.changes += 1;
        self.make_known(id, &element, tables);
        self.add_user(id);
        Some(id)
    }

    /// Gives up one use of an element.
    pub(super) fn release(&mut self, id: BackendId, tables: &impl ServiceTables, now: Instant) {
        let Some(users) = self.users.get_mut(id.0 as usize).filter(|users| **users > 0) else {
            return;
        };
        *users -= 1;
        if *users > 0 {
            return;
        }
        let hash = self.hasher.hash_one(tables.backend(id));
        if let Ok(known) = self.known.find_entry(hash, |known| *known == id) {
            known.remove();
        }
        self.pool.give_back(single(id), now);
    }

    /// The endpoints in use, with the ways to them.
    pub(super) fn keys(&self, tables: &impl ServiceTables) -> impl Iterator<Item = BackendKey> {
        self.known.iter().filter_map(|&id| key_of(&tables.backend(id)))
    }

    /// How many elements are in use.
    pub(super) const fn in_use(&self) -> u32 {
        self.pool.in_use()
    }

    /// How many elements were written so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    fn find(&self, element: &Backend, tables: &impl ServiceTables) -> Option<BackendId> {
        let hash = self.hasher.hash_one(element);
        self.known.find(hash, |&id| tables.backend(id) == *element).copied()
    }

    fn make_known(&mut self, id: BackendId, element: &Backend, tables: &impl ServiceTables) {
        let hasher = &self.hasher;
        let rehash = |&id: &BackendId| hasher.hash_one(tables.backend(id));
        self.known.insert_unique(hasher.hash_one(element), id, rehash);
    }

    fn add_user(&mut self, id: BackendId) {
        let index = id.0 as usize;
        if self.users.len() <= index {
            self.users.resize(index + 1, 0);
        }
        if let Some(users) = self.users.get_mut(index) {
            *users += 1;
        }
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
