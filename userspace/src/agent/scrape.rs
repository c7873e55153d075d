//! What Prometheus is told of the agent, read when it asks.
//!
//! The agent's loop waits for nobody who reads what it knows for longer than it takes to count; maps
//! are read after that.

use std::collections::BTreeMap;

use maps_schema::{
    address::Family,
    counters::{Program, ServiceCounters},
    drop_reason::DropReason,
    maps,
    service::ServiceId,
};

use super::{
    datapath::Readers,
    model::{Model, Readiness},
    views::Views,
};
use crate::{
    cluster::model::{Service, TrafficPolicy},
    compile::CompiledPort,
    connections::protocol_name,
    metrics::{Process, ProgramRuns, ServicePortCounters, Snapshot, TrafficWithoutEndpoints},
    operations::Scraped,
    source::kubernetes,
    sync::Usage,
};

/// A service port, and by which numbers the datapath counts what goes through it.
struct Port {
    shown: ServicePortCounters,
    ids: Vec<ServiceId>,
}

impl Scraped for Views {
    fn snapshot(&self) -> Snapshot {
        let (mut snapshot, ports, usage) = {
            let model = self.read();
            (self.of_model(&model), self.ports(&model), model.usage)
        };
        snapshot.process = Process::read();
        if let Ok(ports) = &ports {
            snapshot.ports = ports.iter().map(|port| port.shown.clone()).collect();
        }
        let Some(readers) = self.readers() else { return snapshot };
        match ports {
            Ok(ports) => {
                for (shown, port) in snapshot.ports.iter_mut().zip(ports) {
                    for id in port.ids {
                        shown.counters += readers.counters.service(id);
                    }
                }
            }
            Err(too_many) => snapshot.ports_left_out = too_many,
        }
        snapshot.drops = drops(&readers);
        snapshot.programs = programs(&readers);
        snapshot.maps = self.maps(&readers, &usage);
        snapshot
    }
}

impl Views {
    fn of_model(&self, model: &Model) -> Snapshot {
        let mut errors: BTreeMap<String, u64> = BTreeMap::new();
        for error in model.errors() {
            *errors.entry(error.kind.unwrap_or_else(|| "none".to_owned())).or_default() += 1;
        }
        let ports = model.compiled.values().flat_map(|served| served.compiled.service_ports());
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.kernel().to_owned(),
            is_ready: model.readiness == Readiness::Ready,
            is_synced: model.source.synced,
            last_change: model.source.last_change,
            errors,
            watches: self.watches(model),
            without_endpoints: without_endpoints(model),
            services: model.compiled.len() as u64,
            endpoints: ports.map(|port| port.endpoints.len() as u64).sum(),
            pods: model.pods.len() as u64,
            nodes: model.cluster.nodes().count() as u64,
            ..Snapshot::default()
        }
    }

    /// Of each kind that is watched, whether nothing is wrong with the watch itself.
    fn watches(&self, model: &Model) -> Vec<(String, bool)> {
        if !self.has_api_server() {
            return Vec::new();
        }
        let is_up = |kind: &String| {
            let mut errors = model.source.errors.iter();
            !errors.any(|error| error.name.is_none() && error.kind.as_ref() == Some(kind))
        };
        let kinds = kubernetes::KINDS.into_iter().map(|kind| kind.to_string());
        kinds.map(|kind| (kind.clone(), is_up(&kind))).collect()
    }

    /// The service ports that have metrics of their own; how many there are, where that is too many.
    fn ports(&self, model: &Model) -> Result<Vec<Port>, u64> {
        let all = || {
            let services = model.cluster.services();
            services.flat_map(|service| service.ports.iter().map(move |port| (service, port)))
        };
        let count = all().filter(|(service, _)| model.compiled.contains_key(&service.name)).count();
        if count > self.max_service_metrics() {
            return Err(count as u64);
        }
        let ports = all().filter_map(|(service, port)| {
            let served = model.compiled.get(&service.name)?;
            let of_port = |(compiled, _): &(&CompiledPort, Option<ServiceId>)| {
                compiled.name.port == port.name && compiled.name.protocol == port.protocol
            };
            Some(Port {
                shown: ServicePortCounters {
                    namespace: service.name.namespace.clone(),
                    service: service.name.name.clone(),
                    port: port.name.clone(),
                    protocol: protocol_name(port.protocol).to_owned(),
                    counters: ServiceCounters::default(),
                },
                ids: served.ports().filter(of_port).filter_map(|(_, id)| id).collect(),
            })
        });
        Ok(ports.collect())
    }

    fn maps(&self, readers: &Readers, usage: &Usage) -> Vec<crate::maps::Gauge> {
        let counted = |name: &str| match name {
            maps::CONNECTIONS_V4 => self.metrics().connection_entries(Family::V4),
            maps::CONNECTIONS_V6 => self.metrics().connection_entries(Family::V6),
            _ => None,
        };
        readers.gauges.read(usage, counted).unwrap_or_else(|error| {
            log::warn!("maps cannot be read: {error}");
            Vec::new()
        })
    }
}

/// Ports whose traffic is dropped because a policy wants endpoints here and there are none.
fn without_endpoints(model: &Model) -> BTreeMap<TrafficWithoutEndpoints, u64> {
    let mut counts = BTreeMap::new();
    for policy in ["internal", "external"] {
        for family in ["IPv4", "IPv6"] {
            counts.insert(TrafficWithoutEndpoints { policy, family }, 0);
        }
    }
    let lists = model.compiled.iter().flat_map(|(service, served)| {
        served.compiled.ports.iter().map(move |list| (service, list))
    });
    for (service, list) in lists.filter(|(_, list)| list.drops_for_want_of_endpoints()) {
        let Some(service) = model.cluster.service(service) else { continue };
        let family = if list.name.family == Family::V4 { "IPv4" } else { "IPv6" };
        for policy in local_policies(service) {
            *counts.entry(TrafficWithoutEndpoints { policy, family }).or_default() += 1;
        }
    }
    counts
}

/// The policies that want endpoints here. What nobody outside can ask for has no external one.
fn local_policies(service: &Service) -> impl Iterator<Item = &'static str> {
    let has_outside = service.external_addresses().next().is_some()
        || service.ports.iter().any(|port| port.node_port.is_some());
    let internal = service.internal_traffic_policy == TrafficPolicy::Local;
    let external = service.external_traffic_policy == TrafficPolicy::Local && has_outside;
    [(internal, "internal"), (external, "external")]
        .into_iter()
        .filter_map(|(is_local, policy)| is_local.then_some(policy))
}

/// Every reason of every program: a counter that is not there yet has no rate when it comes.
fn drops(readers: &Readers) -> Vec<(&'static str, &'static str, u64)> {
    let pairs = Program::ALL
        .into_iter()
        .flat_map(|program| DropReason::ALL.iter().map(move |&reason| (program, reason)));
    pairs
        .map(|(program, reason)| {
            (program.name(), reason.as_str(), readers.counters.drops(program, reason))
        })
        .collect()
}

fn programs(readers: &Readers) -> Vec<ProgramRuns> {
    let Ok(programs) = readers.programs.lock() else { return Vec::new() };
    let mut by_place: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for at in programs.attachments() {
        *by_place.entry((at.program, at.hook, at.mode)).or_default() += 1;
    }
    by_place
        .into_iter()
        .map(|((program, hook, mode), attached)| ProgramRuns {
            program: program.to_owned(),
            hook: hook.to_owned(),
            mode: mode.to_owned(),
            attached,
            runs: programs.run_count(program),
        })
        .collect()
}
