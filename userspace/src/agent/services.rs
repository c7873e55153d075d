//! The agent's part of services and host ports: compile what is dirty, and put it in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Instant,
};

use maps_schema::address::Protocol;

use super::{
    dns::names_of,
    model::{Model, Served},
    node::NodeAgent,
};
use crate::{
    cluster::{
        Cluster,
        model::{Kind, ObjectName},
    },
    compile::{
        self, AnswersOutside, CompileOptions, CompiledService, LocalTraffic, Owner, compile,
        compile_host_ports,
    },
    config::{self, AgentConfig, DetectLocal, LoadBalancerMode},
    connections::judge::UdpFrontend,
    source::SourceError,
};

impl NodeAgent {
    /// Compiles these Services and host ports, and perhaps all others too, and puts them in force
    /// together.
    pub(super) fn apply_services(&mut self, dirty: BTreeSet<Owner>, which: Which) {
        let Some(datapath) = &mut self.datapath else {
            return;
        };
        // Who asks what the agent knows is held up for no longer than it takes to note the result.
        let mut dns_names = BTreeMap::new();
        let compiled: Vec<(Owner, Option<CompiledService>)> = {
            let model = self.views.read();
            let mut owners = dirty;
            if which == Which::All {
                owners.extend(everything(&model.cluster));
            }
            if let Some(dns) = &self.dns {
                let services = || owners.iter().filter_map(service_of);
                dns_names = names_of(&model.cluster, services());
                dns.forget(services().filter(|name| model.cluster.service(name).is_none()));
            }
            let node = &self.config.node_name;
            let options = options(&self.config, &datapath.network.addresses);
            let compiled = |owner: Owner| {
                let compiled = match &owner {
                    Owner::Service(name) => compile(&model.cluster, node, &options, name),
                    Owner::HostPorts(pod) => compile_host_ports(&model.cluster, pod),
                };
                (owner, compiled)
            };
            owners.into_iter().map(compiled).collect()
        };
        let references = compiled.iter().map(|(owner, compiled)| (owner, compiled.as_ref()));
        let mut failed = datapath.sync.apply(references, Instant::now());
        if let Some(dns) = &self.dns {
            // What could not be put in force keeps the names that it had.
            let failed: BTreeSet<&ObjectName> = failed.keys().filter_map(service_of).collect();
            dns.name(dns_names.into_iter().filter(|(name, _)| !failed.contains(name)));
        }
        let mut model = self.views.write();
        let mut udp = UdpChanges::default();
        for (owner, compiled) in compiled {
            let before = model.kept(&owner).map(|served| &served.compiled);
            udp.note(before, compiled.as_ref());
            match failed.remove(&owner) {
                None => {
                    model.service_errors.remove(&owner);
                }
                Some(error) => {
                    let mut about = about(&model.cluster, self.config.source.place(), &owner);
                    about.message = error.to_string();
                    model.service_errors.insert(owner.clone(), about);
                }
            }
            let served = compiled.map(|compiled| {
                let ports = compiled.ports.iter();
                let ids = ports.map(|port| datapath.sync.service_id(&port.name)).collect();
                Served { compiled, ids }
            });
            model.keep(owner, served);
        }
        self.udp_changes.extend(udp.gone);
        self.udp_changes.extend(udp.there);
    }
}

/// Which Services and host ports are to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that are dirty.
    Dirty,
    /// All of them: the tables may hold anything.
    All,
}

/// The Service, where it is one.
fn service_of(owner: &Owner) -> Option<&ObjectName> {
    match owner {
        Owner::Service(name) => Some(name),
        Owner::HostPorts(_) => None,
    }
}

/// All that can be compiled.
fn everything(cluster: &Cluster) -> impl Iterator<Item = Owner> {
    let services = cluster.services().map(|service| Owner::Service(service.name.clone()));
    services.chain(cluster.pods_with_host_ports().cloned().map(Owner::HostPorts))
}

/// An error about a Service, or about a Pod with host ports. What is gone, and could not be removed,
/// was somewhere below `place`.
fn about(cluster: &Cluster, place: &Path, owner: &Owner) -> SourceError {
    let (kind, name, origin) = match owner {
        Owner::Service(name) => (Kind::Service, name, cluster.service_origin(name)),
        Owner::HostPorts(pod) => (Kind::Pod, pod, cluster.local_pod(pod).map(|pod| pod.origin)),
    };
    match origin {
        Some(origin) => SourceError::about_object(origin, kind, name),
        None => SourceError {
            kind: Some(kind.to_string()),
            namespace: Some(name.namespace.clone()),
            name: Some(name.name.clone()),
            ..SourceError::about_file(place, String::new())
        },
    }
}

impl Model {
    /// The endpoints that serve, of every UDP frontend.
    pub(super) fn serving_udp(&self) -> Vec<UdpFrontend> {
        self.served().flat_map(|(_, served)| serving_udp(&served.compiled)).collect()
    }
}

/// The endpoints that serve, of every UDP frontend of a Service.
fn serving_udp(compiled: &CompiledService) -> impl Iterator<Item = UdpFrontend> {
    let udp = compiled.ports.iter().filter(|port| port.name.protocol == Protocol::UDP);
    udp.flat_map(|port| {
        let serving: BTreeSet<SocketAddr> = port
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.serving || endpoint.conditions.ready)
            .map(|endpoint| endpoint.address)
            .collect();
        let serving = Arc::new(serving);
        port.frontends.iter().map(move |it| (it.address, Some(Arc::clone(&serving))))
    })
}

/// What has changed of UDP frontends: those that are gone come first, as another Service may have
/// them now.
#[derive(Debug, Default)]
struct UdpChanges {
    gone: Vec<UdpFrontend>,
    there: Vec<UdpFrontend>,
}

impl UdpChanges {
    fn note(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        if before != after {
            let gone = before.into_iter().flat_map(serving_udp);
            self.gone.extend(gone.map(|(frontend, _)| (frontend, None)));
            self.there.extend(after.into_iter().flat_map(serving_udp));
        }
    }
}

/// How services are compiled; `own` are the node's addresses.
fn options(config: &AgentConfig, own: &BTreeSet<IpAddr>) -> CompileOptions {
    CompileOptions {
        answers: match config.load_balancer_mode {
            LoadBalancerMode::Snat => AnswersOutside::ByTheFirstNode,
            LoadBalancerMode::Dsr => AnswersOutside::Direct,
        },
        node_ports: match &config.node_port_addresses {
            config::NodePortAddresses::Primary => compile::NodePortAddresses::Primary,
            config::NodePortAddresses::Within(networks) => {
                compile::NodePortAddresses::within(own, networks)
            }
        },
        masquerade_all: config.masquerade_all,
        local_traffic: match config.detect_local {
            DetectLocal::Pods => LocalTraffic::Pods,
            DetectLocal::Off => LocalTraffic::Off,
        },
        loopback_node_ports: loopback_node_ports(config),
    }
}

/// The loopback addresses on which node ports answer: those that are chosen beside all others.
fn loopback_node_ports(config: &AgentConfig) -> Vec<IpAddr> {
    match &config.node_port_addresses {
        _ if !config.localhost_node_ports => Vec::new(),
        config::NodePortAddresses::Primary => compile::loopback_within(&[]),
        config::NodePortAddresses::Within(networks) => compile::loopback_within(networks),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use maps_schema::{
        address::Family,
        service::{Audience, ClientAddress, WhenEmpty},
    };

    use super::*;
    use crate::{
        cluster::model::{Conditions, ObjectName},
        compile::{CompiledFrontend, CompiledPort, Endpoint, EndpointList, ServicePortName},
        connections::judge::{Endpoints, EndpointsUpdate},
    };

    fn served(number: u32) -> (ObjectName, Served) {
        let name = ObjectName { namespace: "default".to_owned(), name: format!("s-{number}") };
        let backend = |it| SocketAddr::from((Ipv4Addr::from(0x0a80_0000 + it), 8080));
        let backends: Vec<_> = (number * 10..number * 10 + 10).map(backend).collect();
        let conditions = Conditions { ready: true, serving: true, terminating: false };
        let endpoint =
            |&address| Endpoint { address, node: Some("node-1".into()), local: false, conditions };
        let port = CompiledPort {
            name: ServicePortName {
                owner: Owner::Service(name.clone()),
                port: "dns".to_owned(),
                protocol: Protocol::UDP,
                family: Family::V4,
                list: EndpointList::Cluster,
            },
            has_maglev: false,
            frontends: vec![CompiledFrontend {
                address: SocketAddr::from((Ipv4Addr::from(0x0a60_0000 + number), 53)),
                audience: Audience::Inside,
                client: ClientAddress::Kept,
                restricted: false,
            }],
            affinity_seconds: None,
            source_ranges: Vec::new(),
            endpoints: backends.iter().map(endpoint).collect(),
            backends,
            when_empty: WhenEmpty::Refuse,
        };
        let compiled = CompiledService {
            addresses: Vec::new(),
            ports: vec![port],
            ..CompiledService::default()
        };
        (name, Served { compiled, ids: Box::default() })
    }

    #[test]
    fn a_frontend_that_passes_between_services_is_the_new_ones() {
        let (_, old) = served(1);
        let (_, mut new) = served(2);
        new.compiled.ports[0].frontends = old.compiled.ports[0].frontends.clone();
        for news_first in [true, false] {
            let mut changes = UdpChanges::default();
            if news_first {
                changes.note(None, Some(&new.compiled));
            }
            changes.note(Some(&old.compiled), None);
            if !news_first {
                changes.note(None, Some(&new.compiled));
            }
            let mut endpoints = Endpoints::default();
            let udp = changes.gone.into_iter().chain(changes.there).collect();
            endpoints.update(EndpointsUpdate { udp, ..EndpointsUpdate::default() });
            let serving = endpoints.udp.into_values().next().unwrap();
            assert!(serving.iter().eq(&new.compiled.ports[0].backends));
        }
    }
}
