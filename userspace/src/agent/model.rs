//! What the agent knows, for whoever asks: the objects, what they were compiled to, the pods that
//! have their network, and what is wrong. Written by the agent's one loop, read by the socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use jiff::Timestamp;
use maps_schema::{address::PodLink, service::ServiceId};

use crate::{
    attachments::AttachmentKey,
    cluster::{
        Cluster,
        model::{Node, ObjectName},
    },
    compile::{CompiledPort, CompiledService, Owner, ServicePortName},
    config::Routing,
    operations::Door,
    podnet::PodNetwork,
    source::SourceError,
    sync::Usage,
};

/// What the agent knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) cluster: Cluster,
    pub(super) compiled: BTreeMap<ObjectName, Served>,
    /// Those of them that load balancers ask about.
    pub(super) health_checked: BTreeSet<ObjectName>,
    /// By pod.
    pub(super) host_ports: BTreeMap<ObjectName, Served>,
    /// The pods that the agent makes of their objects.
    pub(super) pods: BTreeMap<ObjectName, PodNetwork>,
    /// The containers that a runtime had attached.
    pub(super) attached: BTreeMap<AttachmentKey, AttachedNetwork>,
    pub(super) readiness: Readiness,
    pub(super) source: Source,
    pub(super) pod_errors: Vec<SourceError>,
    pub(super) attachment_errors: Vec<SourceError>,
    pub(super) install_error: Option<SourceError>,
    /// Of Services, and of pods' host ports.
    pub(super) service_errors: BTreeMap<Owner, SourceError>,
    pub(super) health_errors: Vec<SourceError>,
    pub(super) dns_errors: Vec<SourceError>,
    /// What is wrong with the addresses that the agent answers on.
    pub(super) door_errors: BTreeMap<Door, SourceError>,
    pub(super) usage: Usage,
    pub(super) last_sync: Option<LastSync>,
    /// How other nodes' pods are reached; none on a node without uplinks.
    pub(super) routing: Option<Routing>,
}

/// The network of a container that a runtime had attached.
#[derive(Debug)]
pub(super) struct AttachedNetwork {
    pub(super) network: PodNetwork,
    pub(super) created: Timestamp,
}

/// A Service, or the host ports of a pod, as compiled.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) compiled: CompiledService,
    /// By which numbers the datapath knows its ports, in their order; none where one could not be put
    /// in force.
    pub(super) ids: Box<[Option<ServiceId>]>,
}

impl Served {
    /// Its ports, each with its number where that is in force.
    pub(super) fn ports(&self) -> impl Iterator<Item = (&CompiledPort, Option<ServiceId>)> {
        self.compiled.ports.iter().zip(self.ids.iter().copied())
    }

    /// The number of one of them.
    pub(super) fn id_of(&self, name: &ServicePortName) -> Option<ServiceId> {
        self.ports().find(|(port, _)| port.name == *name).and_then(|(_, id)| id)
    }
}

/// Whether everything that is desired is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// Why not.
    NotReady(String),
}

/// What is known of the source.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) synced: bool,
    pub(super) last_change: Option<Timestamp>,
    pub(super) errors: Vec<SourceError>,
}

/// The last time that the maps were made equal to the objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSync {
    pub(super) took: Duration,
    pub(super) changes: u64,
    pub(super) at: Timestamp,
}

impl Model {
    pub(super) fn new(own_node: &str, service_cidrs: &[IpNet]) -> Self {
        Self {
            cluster: Cluster::new(own_node).with_service_cidrs(service_cidrs),
            compiled: BTreeMap::new(),
            health_checked: BTreeSet::new(),
            host_ports: BTreeMap::new(),
            pods: BTreeMap::new(),
            attached: BTreeMap::new(),
            readiness: Readiness::NotReady("the objects have not been read yet".to_owned()),
            source: Source::default(),
            pod_errors: Vec::new(),
            attachment_errors: Vec::new(),
            install_error: None,
            service_errors: BTreeMap::new(),
            health_errors: Vec::new(),
            dns_errors: Vec::new(),
            door_errors: BTreeMap::new(),
            usage: Usage::default(),
            last_sync: None,
            routing: None,
        }
    }

    /// Everything that is refused or could not be put in force.
    pub(super) fn errors(&self) -> Vec<SourceError> {
        let mut errors = self.source.errors.clone();
        errors.extend(self.cluster.conflicts());
        errors.extend(self.pod_errors.iter().cloned());
        errors.extend(self.attachment_errors.iter().cloned());
        errors.extend(self.install_error.clone());
        errors.extend(self.service_errors.values().cloned());
        errors.extend(self.health_errors.iter().cloned());
        errors.extend(self.dns_errors.iter().cloned());
        errors.extend(self.door_errors.values().cloned());
        errors
    }

    /// Whether something could not be put in force that may be another time.
    pub(super) fn has_failed(&self) -> bool {
        let Self { pod_errors, attachment_errors, service_errors, health_errors, .. } = self;
        !(pod_errors.is_empty()
            && attachment_errors.is_empty()
            && service_errors.is_empty()
            && health_errors.is_empty())
    }

    /// How the pods of another node are reached.
    pub(super) fn route(&self, node: &Node) -> &'static str {
        match self.routing {
            Some(routing) if !node.pod_cidrs.is_empty() => match routing {
                Routing::Vxlan => "vxlan",
                Routing::Direct => "direct",
            },
            _ => "none",
        }
    }

    /// This node's pods that have their network, whoever asked for it.
    pub(super) fn networks(&self) -> impl Iterator<Item = &PodNetwork> {
        self.pods.values().chain(self.attached.values().map(|attached| &attached.network))
    }

    /// The ways to this node's pods.
    pub(super) fn links(&self) -> impl Iterator<Item = (IpAddr, PodLink)> {
        self.networks().flat_map(|pod| pod.addresses.iter().map(|&address| (address, pod.link)))
    }

    /// All that answers, and whose it is.
    pub(super) fn served(&self) -> impl Iterator<Item = (Owner, &Served)> {
        let services =
            self.compiled.iter().map(|(name, served)| (Owner::Service(name.clone()), served));
        let host_ports =
            self.host_ports.iter().map(|(pod, served)| (Owner::HostPorts(pod.clone()), served));
        services.chain(host_ports)
    }

    /// What has one of these addresses as an endpoint.
    pub(super) fn users_of<'a>(
        &'a self,
        changed: &'a BTreeSet<IpAddr>,
    ) -> impl Iterator<Item = Owner> + 'a {
        let uses = |served: &Served| {
            let ports = served.compiled.ports.iter();
            ports.flat_map(|port| &port.backends).any(|backend| changed.contains(&backend.ip()))
        };
        self.served().filter(move |(_, served)| uses(served)).map(|(owner, _)| owner)
    }

    /// Keeps what something was compiled to; forgets it where that is nothing.
    pub(super) fn keep(&mut self, owner: Owner, served: Option<Served>) {
        let (map, name) = match owner {
            Owner::Service(name) => {
                match &served {
                    Some(served) if !served.compiled.health_checks.is_empty() => {
                        self.health_checked.insert(name.clone());
                    }
                    _ => {
                        self.health_checked.remove(&name);
                    }
                }
                (&mut self.compiled, name)
            }
            Owner::HostPorts(pod) => (&mut self.host_ports, pod),
        };
        match served {
            Some(served) => map.insert(name, served),
            None => map.remove(&name),
        };
    }

    /// What something was compiled to.
    pub(super) fn kept(&self, owner: &Owner) -> Option<&Served> {
        match owner {
            Owner::Service(name) => self.compiled.get(name),
            Owner::HostPorts(pod) => self.host_ports.get(pod),
        }
    }
}
