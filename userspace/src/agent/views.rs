//! What the socket tells of the agent.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use maps_schema::{
    counters::{Program, ServiceCounters},
    drop_reason::DropReason,
    service::ServiceId,
};
use tokio::sync::mpsc;

use super::{
    datapath::Readers,
    model::{AttachedNetwork, LastSync, Model, Readiness, Served},
};
use crate::{
    api::{
        Agent, Order,
        view::{
            ConnectionView, DropView, EndpointView, ErrorView, HostPortView, MapView, NodeView,
            PodView, ProgramView, ServiceEndpointView, ServicePortView, ServiceView, SourceView,
            StatusView, SyncView,
        },
    },
    attachments::AttachmentKey,
    cluster::model::{HostPort, ObjectName, Pod, Service, ServicePort, TrafficPolicy},
    cni::error::{CniError, Code},
    compile::{CompiledPort, Endpoint, host_port_name},
    config::AgentConfig,
    connections,
    loader::{Attachment, probe::Capabilities},
    maps::Gauge,
    metrics::Metrics,
    source::SourceError,
};

/// The agent, as the socket sees it.
pub(super) struct Views {
    node: String,
    kernel: String,
    source: &'static str,
    metrics: Arc<Metrics>,
    max_service_metrics: u32,
    model: RwLock<Model>,
    readers: RwLock<Option<Arc<Readers>>>,
    orders: mpsc::Sender<Order>,
}

impl Views {
    pub(super) fn new(
        config: &AgentConfig,
        capabilities: &Capabilities,
        metrics: Arc<Metrics>,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let AgentConfig { node_name, service_cidrs, source, operations, .. } = config;
        Self {
            node: node_name.clone(),
            source: source.kind(),
            kernel: capabilities.kernel.clone(),
            metrics,
            max_service_metrics: operations.max_service_metrics,
            model: RwLock::new(Model::new(node_name, service_cidrs)),
            readers: RwLock::new(None),
            orders,
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Model> {
        self.model.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Model> {
        self.model.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where connections and counters are read.
    pub(super) fn set_readers(&self, readers: Readers) {
        *self.readers.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(readers));
    }

    pub(super) fn kernel(&self) -> &str {
        &self.kernel
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many service ports may have metrics of their own.
    pub(super) fn max_service_metrics(&self) -> usize {
        self.max_service_metrics as usize
    }

    pub(super) fn has_api_server(&self) -> bool {
        self.source == "kubernetes"
    }

    pub(super) fn readers(&self) -> Option<Arc<Readers>> {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn counters(&self, id: Option<ServiceId>) -> ServiceCounters {
        match (self.readers(), id) {
            (Some(readers), Some(id)) => readers.counters.service(id),
            _ => ServiceCounters::default(),
        }
    }

    fn port_view(&self, port: &ServicePort, served: Option<&Served>) -> ServicePortView {
        let mut counters = ServiceCounters::default();
        let mut endpoints = Vec::new();
        if let Some(served) = served {
            for (_, id) in served.ports().filter(|(compiled, _)| is_of(compiled, port)) {
                counters += self.counters(id);
            }
            for compiled in served.compiled.service_ports().filter(|it| is_of(it, port)) {
                endpoints.extend(compiled.endpoints.iter().map(endpoint_view));
            }
        }
        let ServiceCounters { connections, packets, bytes } = counters;
        ServicePortView {
            name: port.name.clone(),
            protocol: connections::protocol_name(port.protocol).to_owned(),
            port: port.port,
            node_port: port.node_port,
            endpoints,
            connections,
            packets,
            bytes,
        }
    }
}

impl Views {
    /// The host ports of a pod of this node.
    pub(super) fn host_port_views(&self, model: &Model, pod: &ObjectName) -> Vec<HostPortView> {
        let served = model.host_ports.get(pod);
        let view = |port: &HostPort| {
            let name = host_port_name(port);
            let ports = served.into_iter().flat_map(|served| {
                served.compiled.ports.iter().map(move |compiled| (served, compiled))
            });
            let own = ports.filter(|(_, compiled)| {
                compiled.name.port == name && compiled.name.protocol == port.protocol
            });
            let mut is_served = false;
            let mut counters = ServiceCounters::default();
            for (served, compiled) in own {
                is_served = true;
                counters += self.counters(served.id_of(&compiled.name));
            }
            let ServiceCounters { connections, packets, bytes } = counters;
            HostPortView {
                host_ip: port.host_ip,
                host_port: port.host_port,
                container_port: port.container_port,
                protocol: connections::protocol_name(port.protocol).to_owned(),
                served: is_served,
                connections,
                packets,
                bytes,
            }
        };
        let local = model.cluster.local_pod(pod);
        local.into_iter().flat_map(|local| local.host_ports.iter().map(view)).collect()
    }
}

/// Whether a list of endpoints is one of a Service's port.
fn is_of(compiled: &CompiledPort, port: &ServicePort) -> bool {
    compiled.name.port == port.name && compiled.name.protocol == port.protocol
}

fn endpoint_view(endpoint: &Endpoint) -> EndpointView {
    EndpointView {
        address: endpoint.address.ip(),
        port: endpoint.address.port(),
        node: endpoint.node.as_deref().map(str::to_owned),
        local: endpoint.local,
        ready: endpoint.conditions.ready,
        serving: endpoint.conditions.serving,
        terminating: endpoint.conditions.terminating,
    }
}

fn error_view(error: SourceError) -> ErrorView {
    let SourceError { file, document, kind, namespace, name, field, message } = error;
    ErrorView { file: Some(file), document, kind, namespace, name, field, message }
}

fn policy(policy: TrafficPolicy) -> String {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
    .to_owned()
}

impl Agent for Views {
    fn status(&self) -> StatusView {
        let model = self.read();
        let reason = match &model.readiness {
            Readiness::Ready => None,
            Readiness::NotReady(why) => Some(why.clone()),
        };
        StatusView {
            ready: reason.is_none(),
            reason,
            node: self.node.clone(),
            version: crate::VERSION.to_owned(),
            kernel: self.kernel.clone(),
            source: SourceView {
                kind: self.source.to_owned(),
                synced: model.source.synced,
                last_change: model.source.last_change.map(|at| at.to_string()),
                errors: model.errors().into_iter().map(error_view).collect(),
            },
            service_cidrs: model.cluster.service_ranges().iter().map(ToString::to_string).collect(),
            programs: self.program_views(),
            maps: self.map_views(&model),
            last_sync: model.last_sync.map(|LastSync { took, changes, at }| SyncView {
                duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                changes,
                at: at.to_string(),
            }),
        }
    }

    fn services(&self) -> Vec<ServiceView> {
        let model = self.read();
        let view = |service: &Service| ServiceView {
            namespace: service.name.namespace.clone(),
            name: service.name.name.clone(),
            r#type: service.service_type.clone(),
            cluster_ips: service.cluster_ips.clone(),
            external_ips: service.external_ips.clone(),
            load_balancer_ips: service.load_balancer_ips.clone(),
            load_balancer_ingress: service.load_balancer_ingress.clone(),
            external_name: service.external_name.clone(),
            creation_timestamp: service.created.map(|at| at.to_string()),
            selector: service.selector.clone().into_iter().collect(),
            served: service.proxied,
            session_affinity: match service.session_affinity_seconds {
                Some(_) => "ClientIP".to_owned(),
                None => "None".to_owned(),
            },
            session_affinity_timeout_seconds: service.session_affinity_seconds,
            load_balancer_source_ranges: service
                .source_ranges
                .iter()
                .map(ToString::to_string)
                .collect(),
            internal_traffic_policy: policy(service.internal_traffic_policy),
            external_traffic_policy: policy(service.external_traffic_policy),
            health_check_node_port: service.health_check_node_port,
            ports: service
                .ports
                .iter()
                .map(|port| self.port_view(port, model.compiled.get(&service.name)))
                .collect(),
        };
        model.cluster.services().map(|service| view(service.as_ref())).collect()
    }

    fn endpoints(&self) -> Vec<ServiceEndpointView> {
        let model = self.read();
        let ports = model.compiled.iter().flat_map(|(service, served)| {
            served.compiled.service_ports().map(move |port| (service, port))
        });
        ports
            .flat_map(|(service, port)| {
                port.endpoints.iter().map(|endpoint| ServiceEndpointView {
                    namespace: service.namespace.clone(),
                    service: service.name.clone(),
                    port_name: port.name.port.clone(),
                    protocol: connections::protocol_name(port.name.protocol).to_owned(),
                    endpoint: endpoint_view(endpoint),
                })
            })
            .collect()
    }

    fn pods(&self) -> Vec<PodView> {
        let model = self.read();
        let view = |pod: &Pod| {
            let network = model.pods.get(&pod.name);
            PodView {
                namespace: pod.name.namespace.clone(),
                name: pod.name.name.clone(),
                creation_timestamp: pod.created.map(|at| at.to_string()),
                node: pod.node.clone(),
                pod_ips: model.cluster.pod_addresses(pod).to_vec(),
                container_id: None,
                netns: network.map(|network| network.netns.clone()),
                host_interface: network.map(|network| network.host_interface.clone()),
                mac: network.map(|network| mac(network.link.mac.bytes())),
                host_ports: self.host_port_views(&model, &pod.name),
            }
        };
        let attached = |(key, attached): (&AttachmentKey, &AttachedNetwork)| {
            let AttachedNetwork { network, created } = attached;
            PodView {
                namespace: network.pod.namespace.clone(),
                name: network.pod.name.clone(),
                creation_timestamp: Some(created.to_string()),
                node: Some(self.node.clone()),
                pod_ips: network.addresses.clone(),
                container_id: Some(key.container_id.clone()),
                netns: Some(network.netns.clone()),
                host_interface: Some(network.host_interface.clone()),
                mac: Some(mac(network.link.mac.bytes())),
                host_ports: self.host_port_views(&model, &network.pod),
            }
        };
        let pods = model.cluster.pods().map(|pod| view(pod));
        pods.chain(model.attached.iter().map(attached)).collect()
    }

    fn nodes(&self) -> Vec<NodeView> {
        let model = self.read();
        let own = model.cluster.own_node();
        model
            .cluster
            .nodes()
            .map(|node| NodeView {
                name: node.name.clone(),
                creation_timestamp: node.created.map(|at| at.to_string()),
                addresses: node.addresses.clone(),
                pod_cidrs: node.pod_cidrs.iter().map(ToString::to_string).collect(),
                route: if node.name == own { "local" } else { model.route(node) }.to_owned(),
            })
            .collect()
    }

    fn connections(&self) -> Vec<ConnectionView> {
        let Some(readers) = self.readers() else { return Vec::new() };
        connections::list(&readers.connections).unwrap_or_else(|error| {
            log::warn!("connections cannot be listed: {error}");
            Vec::new()
        })
    }

    fn drops(&self) -> Vec<DropView> {
        let Some(readers) = self.readers() else { return Vec::new() };
        let mut views = Vec::new();
        for program in Program::ALL {
            for &reason in DropReason::ALL {
                let count = readers.counters.drops(program, reason);
                if count > 0 {
                    views.push(DropView {
                        reason: reason.as_str().to_owned(),
                        program: program.name().to_owned(),
                        interface: None,
                        count,
                    });
                }
            }
        }
        views
    }

    fn can_attach(&self) -> Result<(), CniError> {
        let model = self.read();
        let Readiness::NotReady(why) = &model.readiness else { return Ok(()) };
        let code = if model.attachment_errors.is_empty() {
            Code::NotAvailable
        } else {
            Code::LimitedConnectivity
        };
        let msg = format!("node {} is not ready: {why}", self.node);
        Err(CniError::new(code, msg).details("`shunt status` tells more"))
    }

    fn orders(&self) -> &mpsc::Sender<Order> {
        &self.orders
    }
}

/// An Ethernet address as people write it.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

impl Views {
    fn program_views(&self) -> Vec<ProgramView> {
        let Some(readers) = self.readers() else { return Vec::new() };
        let Ok(programs) = readers.programs.lock() else { return Vec::new() };
        let view = |attachment: &Attachment| ProgramView {
            name: attachment.program.to_owned(),
            interface: attachment.place.clone(),
            hook: attachment.hook.to_owned(),
            mode: attachment.mode.to_owned(),
            run_count: programs.run_count(attachment.program),
        };
        programs.attachments().iter().map(view).collect()
    }

    fn map_views(&self, model: &Model) -> Vec<MapView> {
        let Some(readers) = self.readers() else { return Vec::new() };
        match readers.gauges.read(&model.usage, |_| None) {
            Ok(gauges) => gauges.into_iter().map(map_view).collect(),
            Err(error) => {
                log::warn!("maps cannot be read: {error}");
                Vec::new()
            }
        }
    }
}

fn map_view(Gauge { name, entries, capacity, bytes }: Gauge) -> MapView {
    MapView { name: name.to_owned(), entries, capacity, bytes }
}
