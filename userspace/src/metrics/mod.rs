//! What Prometheus is told: kube-proxy's metrics where shunt has the thing, by kube-proxy's names,
//! and shunt's own with the prefix `shunt_`.
//!
//! What happens is counted here when it happens. What is so, and what the kernel counts, is read
//! when somebody asks, into a [`Snapshot`]. All names are in `docs/metrics.md`.

mod process;
mod register;
mod snapshot;
mod text;

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use maps_schema::address::Family as AddressFamily;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets, linear_buckets},
    },
    registry::Registry,
};

pub use self::{
    process::Process,
    snapshot::{ProgramRuns, ServicePortCounters, Snapshot, TrafficWithoutEndpoints},
    text::Format,
};

/// One label.
type Label = [(&'static str, &'static str); 1];
type Histograms = Family<Label, Histogram, fn() -> Histogram>;
type FloatGauge = Gauge<f64, AtomicU64>;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

/// How much of what is known was looked at in a synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// All of it.
    Full,
    /// What has changed.
    Partial,
}

/// A page that is asked whether the agent is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthPage {
    /// `/healthz`.
    Healthz,
    /// `/livez`.
    Livez,
}

/// What became of an event for the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// The server has it.
    Posted,
    /// It could not be posted.
    Failed,
    /// There were too many.
    Suppressed,
}

impl EventOutcome {
    const fn label(self) -> Label {
        let outcome = match self {
            Self::Posted => "posted",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
        };
        [("outcome", outcome)]
    }
}

/// What has happened since the agent began.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sync: Histograms,
    full_sync: Histograms,
    partial_sync: Histograms,
    last_sync: Family<Label, FloatGauge>,
    last_queued: Family<Label, FloatGauge>,
    network_programming: Histograms,
    endpoint_changes: Counter,
    endpoint_changes_pending: Gauge,
    service_changes: Counter,
    service_changes_pending: Gauge,
    healthz: Family<Label, Counter>,
    livez: Family<Label, Counter>,
    reaping: Histograms,
    reaped: Family<Label, Counter>,
    sync_failures: Counter,
    map_changes: Counter,
    events: Family<Label, Counter>,
    /// Entries of the connection table of each family when it was last gone through, and one more;
    /// nothing where it never was.
    connection_entries: [AtomicU64; 2],
}

impl Default for Metrics {
    fn default() -> Self {
        let new = Self {
            registry: Registry::default(),
            sync: Family::new_with_constructor(durations),
            full_sync: Family::new_with_constructor(durations),
            partial_sync: Family::new_with_constructor(durations),
            last_sync: Family::default(),
            last_queued: Family::default(),
            network_programming: Family::new_with_constructor(programming_durations),
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            healthz: Family::default(),
            livez: Family::default(),
            reaping: Family::new_with_constructor(durations),
            reaped: Family::default(),
            sync_failures: Counter::default(),
            map_changes: Counter::default(),
            events: Family::default(),
            connection_entries: array::from_fn(|_| AtomicU64::new(0)),
        };
        new.begin_at_zero();
        new.registered()
    }
}

impl Metrics {
    /// A counter that is not there yet has no rate when it comes.
    fn begin_at_zero(&self) {
        for family in FAMILIES {
            let label = ip_family(family);
            for histograms in [
                &self.sync,
                &self.full_sync,
                &self.partial_sync,
                &self.network_programming,
                &self.reaping,
            ] {
                drop(histograms.get_or_create(&label));
            }
            drop(self.reaped.get_or_create(&label));
        }
        for code in ["200", "503"] {
            drop(self.healthz.get_or_create(&[("code", code)]));
            drop(self.livez.get_or_create(&[("code", code)]));
        }
        for outcome in [EventOutcome::Posted, EventOutcome::Failed, EventOutcome::Suppressed] {
            drop(self.events.get_or_create(&outcome.label()));
        }
    }

    /// Notes changes of objects, which are not in force yet.
    pub fn changes_wait(&self, services: u64, endpoint_slices: u64) {
        self.service_changes.inc_by(services);
        self.service_changes_pending.inc_by(signed(services));
        self.endpoint_changes.inc_by(endpoint_slices);
        self.endpoint_changes_pending.inc_by(signed(endpoint_slices));
        set_for_both(&self.last_queued, Timestamp::now());
    }

    /// Notes that everything is in force.
    pub fn synced(&self, took: Duration, kind: SyncKind, map_changes: u64) {
        let of_its_kind = match kind {
            SyncKind::Full => &self.full_sync,
            SyncKind::Partial => &self.partial_sync,
        };
        for label in FAMILIES.map(ip_family) {
            self.sync.get_or_create(&label).observe(took.as_secs_f64());
            of_its_kind.get_or_create(&label).observe(took.as_secs_f64());
        }
        self.map_changes.inc_by(map_changes);
        self.nothing_waits();
        set_for_both(&self.last_sync, Timestamp::now());
    }

    /// Notes that no change waits.
    pub fn nothing_waits(&self) {
        self.service_changes_pending.set(0);
        self.endpoint_changes_pending.set(0);
    }

    /// Notes that something could not be put in force.
    pub fn sync_failed(&self) {
        self.sync_failures.inc();
    }

    /// Notes that an EndpointSlice is in force that was written for a change of then.
    pub fn endpoints_programmed(&self, family: AddressFamily, changed: Timestamp) {
        let took = Timestamp::now().duration_since(changed).as_secs_f64();
        self.network_programming.get_or_create(&ip_family(family)).observe(took.max(0.0));
    }

    /// Notes an answer.
    pub fn answered(&self, page: HealthPage, is_healthy: bool) {
        let pages = match page {
            HealthPage::Healthz => &self.healthz,
            HealthPage::Livez => &self.livez,
        };
        pages.get_or_create(&[("code", if is_healthy { "200" } else { "503" })]).inc();
    }

    /// Notes that a connection table was gone through: how many entries it had, and how many flows
    /// were removed.
    pub fn reaped(&self, family: AddressFamily, took: Duration, entries: u64, flows: u64) {
        let label = ip_family(family);
        self.reaping.get_or_create(&label).observe(took.as_secs_f64());
        self.reaped.get_or_create(&label).inc_by(flows);
        self.entries_of(family).store(entries + 1, Ordering::Relaxed);
    }

    /// How many entries a connection table had when it was last gone through, if it ever was.
    pub fn connection_entries(&self, family: AddressFamily) -> Option<u64> {
        self.entries_of(family).load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes what became of an event.
    pub fn event(&self, outcome: EventOutcome) {
        self.events.get_or_create(&outcome.label()).inc();
    }

    fn entries_of(&self, family: AddressFamily) -> &AtomicU64 {
        let [v4, v6] = &self.connection_entries;
        if family == AddressFamily::V4 { v4 } else { v6 }
    }
}

fn set_for_both(gauges: &Family<Label, FloatGauge>, time: Timestamp) {
    for label in FAMILIES.map(ip_family) {
        gauges.get_or_create(&label).set(seconds(time));
    }
}

const fn ip_family(family: AddressFamily) -> Label {
    [("ip_family", family_name(family))]
}

const fn family_name(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::V4 => "IPv4",
        AddressFamily::V6 => "IPv6",
    }
}

/// A millisecond and its doubles, as kube-proxy has them.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// A quarter of a second to five minutes, as kube-proxy has them.
fn programming_durations() -> Histogram {
    let buckets = linear_buckets(0.25, 0.25, 2)
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7));
    Histogram::new(buckets)
}

/// Seconds since 1970.
fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
