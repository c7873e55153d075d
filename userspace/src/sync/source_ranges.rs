//! Whom restricted frontends serve.
//!
//! A range is there before the frontends that look for it, and stays for a grace period after the
//! last of them is gone: a packet that has just found one is not to be dropped, which would be
//! neither what was nor what is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use ipnet::IpNet;
use maps_schema::service::ServiceId;

use super::{
    pool::GRACE,
    tables::{ServiceTables, TableError},
};

/// The ranges of services, as the table has them.
#[derive(Debug)]
pub(super) struct SourceRanges {
    written: BTreeMap<ServiceId, BTreeSet<IpNet>>,
    /// The services whose ranges nobody looks for any more, and until when packets might.
    resting: BTreeMap<ServiceId, Option<Instant>>,
    changes: u64,
}

impl SourceRanges {
    /// Takes over what the table has. Nobody looks for those of services that are not `in_use`.
    pub(super) fn read(
        tables: &impl ServiceTables,
        in_use: impl Fn(ServiceId) -> bool,
    ) -> Result<Self, TableError> {
        let mut written: BTreeMap<_, BTreeSet<IpNet>> = BTreeMap::new();
        for (service, range) in tables.source_ranges()? {
            written.entry(service).or_default().insert(range);
        }
        let unused = written.keys().filter(|service| !in_use(**service));
        let resting = unused.map(|&service| (service, None)).collect();
        Ok(Self { written, resting, changes: 0 })
    }

    /// Whether these and no others are a service's.
    pub(super) fn are(&self, service: ServiceId, ranges: &[IpNet]) -> bool {
        match self.written.get(&service) {
            Some(written) => written.iter().eq(ranges),
            None => ranges.is_empty(),
        }
    }

    /// Whether a service has all of these.
    fn has(&self, service: ServiceId, ranges: &[IpNet]) -> bool {
        let has = |range| self.written.get(&service).is_some_and(|written| written.contains(range));
        ranges.iter().all(has)
    }

    /// Allows ranges that are missing.
    pub(super) fn allow(
        &mut self,
        service: ServiceId,
        ranges: &[IpNet],
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        if ranges.is_empty() {
            return Ok(());
        }
        self.resting.remove(&service);
        for &range in ranges {
            let written = self.written.entry(service).or_default();
            if !written.contains(&range) {
                tables.put_source_range(service, range)?;
                written.insert(range);
                self.changes += 1;
            }
        }
        Ok(())
    }

    /// Takes away all ranges but these, which stand for the others once all of them are there. Where
    /// there shall be none, nobody looks for them any more.
    pub(super) fn restrict(
        &mut self,
        service: ServiceId,
        ranges: &[IpNet],
        tables: &mut impl ServiceTables,
        now: Instant,
    ) -> Result<(), TableError> {
        if ranges.is_empty() {
            self.rest(service, now);
            return Ok(());
        }
        if !self.has(service, ranges) {
            return Ok(());
        }
        self.remove(service, |range| ranges.contains(range), tables)
    }

    /// Nobody looks for a service's ranges any more.
    pub(super) fn rest(&mut self, service: ServiceId, now: Instant) {
        if self.written.contains_key(&service) {
            self.resting.entry(service).or_insert(Some(now + GRACE));
        }
    }

    /// Takes away what has rested.
    pub(super) fn wake(
        &mut self,
        tables: &mut impl ServiceTables,
        now: Instant,
    ) -> Result<(), TableError> {
        let is_rested = |until: &Option<Instant>| until.is_none_or(|until| until <= now);
        let rested = self.resting.iter().filter(|(_, until)| is_rested(until));
        let rested: Vec<ServiceId> = rested.map(|(&service, _)| service).collect();
        rested.into_iter().try_for_each(|service| self.clear(service, tables))
    }

    /// Takes away all ranges of a number that is given to another service, nothing in most cases.
    pub(super) fn clear(
        &mut self,
        service: ServiceId,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        self.remove(service, |_| false, tables)?;
        self.resting.remove(&service);
        Ok(())
    }

    fn remove(
        &mut self,
        service: ServiceId,
        stays: impl Fn(&IpNet) -> bool,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        let Some(written) = self.written.get_mut(&service) else { return Ok(()) };
        let gone: Vec<IpNet> = written.iter().filter(|range| !stays(range)).copied().collect();
        for range in gone {
            tables.remove_source_range(service, range)?;
            written.remove(&range);
            self.changes += 1;
        }
        if written.is_empty() {
            self.written.remove(&service);
        }
        Ok(())
    }

    /// How many there are, of IPv4 and of IPv6.
    pub(super) fn counts(&self) -> (u64, u64) {
        let ranges = || self.written.values().flatten();
        let v4 = ranges().filter(|range| range.addr().is_ipv4()).count();
        (v4 as u64, (ranges().count() - v4) as u64)
    }

    /// How many elements were written or deleted so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}
