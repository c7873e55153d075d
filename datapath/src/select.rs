//! Choosing a backend: each of a service's as likely as any other.

use maps_schema::service::{Backend, ServiceId, Slot, WhenEmpty};

use crate::tables::Tables;

/// Why there is none to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBackend {
    /// The service has none here.
    Empty(WhenEmpty),
    /// The service's record leads nowhere.
    Corrupt,
}

#[inline(always)]
pub(crate) fn select<A>(
    service: ServiceId,
    tables: &impl Tables<A>,
    random: u32,
) -> Result<Backend, NoBackend> {
    let record = tables.service(service).ok_or(NoBackend::Corrupt)?;
    if record.slots() == 0 {
        return Err(NoBackend::Empty(record.when_empty()));
    }
    let Slot(first) = record.first();
    let slot = Slot(first.wrapping_add(pick(random, record.slots())));
    tables.backend(slot).ok_or(NoBackend::Corrupt)
}

/// A number below `count`, each as likely as any other but for one part in 2^32 / `count`.
#[inline(always)]
pub(crate) fn pick(random: u32, count: u32) -> u32 {
    ((u64::from(random) * u64::from(count)) >> 32) as u32
}
