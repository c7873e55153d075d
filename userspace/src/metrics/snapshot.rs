//! What is so at the moment that somebody asks.

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hash,
    sync::atomic::{AtomicI64, AtomicU64},
};

use jiff::Timestamp;
use maps_schema::counters::ServiceCounters;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

use super::{Format, Metrics, Process, seconds};
use crate::maps::Gauge as MapGauge;

/// What is so at a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The agent's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Whether the node is served.
    pub is_ready: bool,
    /// Whether all objects were read once.
    pub is_synced: bool,
    /// When objects or errors changed last.
    pub last_change: Option<Timestamp>,
    /// How many errors there are about objects of each kind.
    pub errors: BTreeMap<String, u64>,
    /// Of the API server's kinds, whether they can be watched; none where there is no such server.
    pub watches: Vec<(String, bool)>,
    /// Ports of Services whose local traffic is dropped for want of endpoints, by address family and
    /// policy.
    pub without_endpoints: BTreeMap<TrafficWithoutEndpoints, u64>,
    /// Services that are served.
    pub services: u64,
    /// Endpoints of their ports, of both families.
    pub endpoints: u64,
    /// Pods of this node that have a network.
    pub pods: u64,
    /// Nodes, this one among them.
    pub nodes: u64,
    /// Service ports, and what went through them; empty where there are too many.
    pub ports: Vec<ServicePortCounters>,
    /// How many service ports are not among those, because there are too many.
    pub ports_left_out: u64,
    /// Packets that were dropped or refused, by program and reason.
    pub drops: Vec<(&'static str, &'static str, u64)>,
    /// The programs.
    pub programs: Vec<ProgramRuns>,
    /// The maps.
    pub maps: Vec<MapGauge>,
    /// The agent's process.
    pub process: Process,
}

/// What is dropped for want of local endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrafficWithoutEndpoints {
    /// `internal` or `external`.
    pub policy: &'static str,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
}

/// What went through a service port.
#[derive(Clone, Debug)]
pub struct ServicePortCounters {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The port's name; empty where it has none.
    pub port: String,
    /// The protocol.
    pub protocol: String,
    /// The counters, of both families.
    pub counters: ServiceCounters,
}

/// A program and where it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The program.
    pub program: String,
    /// The hook.
    pub hook: String,
    /// By what it is attached.
    pub mode: String,
    /// To how many interfaces, or cgroups.
    pub attached: u64,
    /// How often it ran, on all of them; zero unless the kernel counts that.
    pub runs: u64,
}

type Labels = Vec<(&'static str, String)>;

impl Snapshot {
    /// The text of this and of what has happened.
    pub fn encode(&self, metrics: &Metrics, format: Format) -> Result<String, fmt::Error> {
        format.encode([&metrics.registry, &self.registry()])
    }

    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.register_node(&mut registry);
        self.register_objects(&mut registry);
        self.register_traffic(&mut registry);
        self.register_datapath(&mut registry);
        self.process.register(&mut registry);
        registry
    }

    fn register_node(&self, registry: &mut Registry) {
        let Self { version, kernel, is_ready, is_synced, last_change, errors, watches, .. } = self;
        let build = [("version", version.clone()), ("kernel", kernel.clone())];
        registry.register(
            "shunt_build_info",
            "The agent's version, and the kernel's",
            gauges(std::iter::once((build, 1))),
        );
        registry.register("shunt_ready", "Whether the node is served: 1 or 0", truth(*is_ready));
        registry.register(
            "shunt_source_synced",
            "Whether all objects were read once: 1 or 0",
            truth(*is_synced),
        );
        let last_change = last_change.map_or(0.0, seconds);
        registry.register(
            "shunt_source_last_change_timestamp_seconds",
            "When objects or errors changed last",
            float(last_change),
        );
        registry.register(
            "shunt_errors",
            "What is refused or could not be put in force, by the object's kind",
            gauges(errors.iter().map(|(kind, count)| ([("kind", kind.clone())], *count))),
        );
        let watches = watches.iter();
        registry.register(
            "shunt_api_watch_up",
            "Whether objects of the API server can be watched, by kind: 1 or 0",
            gauges(watches.map(|(kind, is_up)| ([("kind", kind.clone())], u64::from(*is_up)))),
        );
    }

    fn register_objects(&self, registry: &mut Registry) {
        let Self { services, endpoints, pods, nodes, without_endpoints, ports_left_out, .. } = self;
        for (name, help, count) in [
            ("shunt_services", "Services that are served", services),
            ("shunt_endpoints", "Endpoints of service ports, of both families", endpoints),
            ("shunt_pods", "Pods of this node that have a network", pods),
            ("shunt_nodes", "Nodes, this one among them", nodes),
            (
                "shunt_service_metrics_left_out",
                "Service ports without metrics of their own, because there are more than \
                 --max-service-metrics",
                ports_left_out,
            ),
        ] {
            registry.register(name, help, whole(*count));
        }
        let rows = without_endpoints
            .iter()
            .map(|(of, count)| ([("traffic_policy", of.policy), ("ip_family", of.family)], *count));
        registry.register(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Service ports with a policy of Local whose traffic is dropped for want of endpoints here",
            gauges(rows),
        );
    }

    fn register_traffic(&self, registry: &mut Registry) {
        let Self { ports, drops, .. } = self;
        let rows = drops.iter();
        registry.register(
            "shunt_drops",
            "Packets that were dropped or refused, by program and reason",
            counters(rows.map(|(program, reason, count)| {
                ([("program", *program), ("reason", *reason)], *count)
            })),
        );
        let of_ports = |what: fn(&ServiceCounters) -> u64| {
            counters(ports.iter().map(move |port| (labels(port), what(&port.counters))))
        };
        registry.register(
            "shunt_service_connections",
            "Connections made to a service port",
            of_ports(|counters| counters.connections),
        );
        registry.register(
            "shunt_service_packets",
            "Packets of a service port's connections, both directions",
            of_ports(|counters| counters.packets),
        );
        registry.register(
            "shunt_service_bytes",
            "Bytes of those packets, from the Ethernet header on",
            of_ports(|counters| counters.bytes),
        );
    }

    fn register_datapath(&self, registry: &mut Registry) {
        let Self { programs, maps, .. } = self;
        registry.register(
            "shunt_programs_attached",
            "To how many interfaces or cgroups a program is attached",
            gauges(programs.iter().map(|it| {
                let (program, hook, mode) = (&it.program, &it.hook, &it.mode);
                let labels =
                    [("program", program.clone()), ("hook", hook.clone()), ("mode", mode.clone())];
                (labels, it.attached)
            })),
        );
        let runs: BTreeMap<&String, u64> =
            programs.iter().map(|it| (&it.program, it.runs)).collect();
        registry.register(
            "shunt_program_runs",
            "How often a program ran; 0 unless kernel.bpf_stats_enabled is set",
            counters(runs.into_iter().map(|(name, runs)| ([("program", name.clone())], runs))),
        );
        let of_maps = |what: fn(&MapGauge) -> u64| {
            gauges(maps.iter().map(move |map| ([("map", map.name)], what(map))))
        };
        registry.register(
            "shunt_map_entries",
            "Elements of a map in use",
            of_maps(|map| map.entries),
        );
        registry.register(
            "shunt_map_capacity",
            "Elements that a map can have",
            of_maps(|map| map.capacity),
        );
        registry.register(
            "shunt_map_memory_bytes",
            "Kernel memory that a map holds",
            of_maps(|map| map.bytes),
        );
    }
}

impl Process {
    fn register(&self, registry: &mut Registry) {
        let Self {
            cpu_seconds,
            resident_bytes,
            virtual_bytes,
            open_files,
            max_files,
            start_seconds,
        } = self;
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(*cpu_seconds);
        registry.register("process_cpu_seconds", "Time on processors", cpu);
        registry.register("process_start_time_seconds", "When it began", float(*start_seconds));
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory that it holds", resident_bytes),
            ("process_virtual_memory_bytes", "Memory that it has addresses for", virtual_bytes),
            ("process_open_fds", "Open files", open_files),
            ("process_max_fds", "How many open files there may be", max_files),
        ] {
            registry.register(name, help, whole(*value));
        }
    }
}

fn labels(port: &ServicePortCounters) -> Labels {
    let ServicePortCounters { namespace, service, port, protocol, .. } = port;
    vec![
        ("namespace", namespace.clone()),
        ("service", service.clone()),
        ("port", port.clone()),
        ("protocol", protocol.clone()),
    ]
}

fn counters<S>(rows: impl Iterator<Item = (S, u64)>) -> impl Metric
where
    S: EncodeLabelSet + Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<S, Counter>::default();
    for (labels, count) in rows {
        family.get_or_create(&labels).inc_by(count);
    }
    family
}

fn gauges<S>(rows: impl Iterator<Item = (S, u64)>) -> impl Metric
where
    S: EncodeLabelSet + Clone + Hash + Eq + fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<S, Gauge<u64, AtomicU64>>::default();
    for (labels, count) in rows {
        family.get_or_create(&labels).set(count);
    }
    family
}

fn whole(value: u64) -> Gauge<u64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn float(value: f64) -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn truth(value: bool) -> Gauge<i64, AtomicI64> {
    let gauge = Gauge::default();
    gauge.set(value.into());
    gauge
}
