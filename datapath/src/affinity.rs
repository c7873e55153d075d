//! Session affinity: a client's new connections go to the endpoint that its last one went to, as
//! long as the service has that endpoint and not too much time has passed.

use core::cmp::Ordering;

use maps_schema::{
    address::{Address, Port},
    affinity::{Affinity, AffinityKey},
    clock::Moment,
    service::{Backend, ServiceRecord, Slot},
};

use crate::{
    select::Wanted,
    tables::{Progress, Repeated, Surroundings, Tables},
};

/// A client of a service with session affinity.
pub(crate) struct Regular<A> {
    key: AffinityKey<A>,
    seconds: u32,
    now: Moment,
}

impl<A: Address> Regular<A> {
    /// Who asks; none where the service has no rule.
    #[inline(always)]
    pub(crate) fn who(
        wanted: &Wanted<A>,
        tables: &impl Tables<A>,
        surroundings: &impl Surroundings,
    ) -> Option<Self> {
        let rule = tables.affinity_rule(wanted.service)?;
        let key = AffinityKey::new(wanted.client, rule.group());
        Some(Self { key, seconds: rule.seconds(), now: surroundings.moment() })
    }

    /// The backend that the client's last connection went to, if it is still to be had.
    #[inline(always)]
    pub(crate) fn former_backend(
        &self,
        record: ServiceRecord,
        tables: &impl Tables<A>,
        surroundings: &impl Surroundings,
    ) -> Option<Backend> {
        let former = tables.affinity(&self.key)?;
        if !self.now.is_within(self.seconds, former.opened) {
            return None;
        }
        find(&former, record, tables, surroundings)
    }

    /// Remembers where the client's connection goes that is opened now.
    #[inline(always)]
    pub(crate) fn remember(&self, backend: &Backend, tables: &impl Tables<A>) {
        let affinity = Affinity::new(backend.address(), backend.port, self.now);
        tables.remember_affinity(&self.key, &affinity);
    }
}

/// A service's backend of this address and port. Its slots are sorted by both.
#[inline(always)]
fn find<A: Address>(
    former: &Affinity<A>,
    record: ServiceRecord,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Option<Backend> {
    let Slot(first) = record.first();
    let mut search = Search {
        address: former.address,
        port: former.port,
        first,
        low: 0,
        high: record.slots(),
        found: None,
        tables,
    };
    surroundings.repeat(Search::<A, ()>::MAX_STEPS, &mut search);
    search.found
}

/// A search that halves the range of slots from `low` to below `high`, counted from the first.
struct Search<'a, A, T> {
    address: A,
    port: Port,
    first: u32,
    low: u32,
    high: u32,
    found: Option<Backend>,
    tables: &'a T,
}

impl<A, T> Search<'_, A, T> {
    /// After so many, nothing is left of the longest range.
    const MAX_STEPS: u32 = ServiceRecord::MAX_SLOTS.ilog2() + 1;
}

impl<A: Address, T: Tables<A>> Repeated for Search<'_, A, T> {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        let left = self.high.saturating_sub(self.low);
        if left == 0 {
            return Progress::Done;
        }
        let middle = self.low + (left >> 1);
        let Some(backend) = self.tables.backend(Slot(self.first.wrapping_add(middle))) else {
            return Progress::Done;
        };
        match rank::<A>(backend.address(), backend.port).cmp(&rank(self.address, self.port)) {
            Ordering::Less => self.low = middle + 1,
            Ordering::Greater => self.high = middle,
            Ordering::Equal => {
                self.found = Some(backend);
                return Progress::Done;
            }
        }
        Progress::Again
    }
}

/// What slots are sorted by.
#[inline(always)]
fn rank<A: Address>(address: A, port: Port) -> (u64, u64, u16) {
    let [upper, lower] = address.numbers();
    (upper, lower, port.number())
}
