//! The agent's part of services: compile what is dirty, and put it in force.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Instant,
};

use maps_schema::address::Protocol;

use super::{
    model::{Model, Served},
    node::NodeAgent,
};
use crate::{
    cluster::model::{Kind, ObjectName},
    compile::{self, AnswersOutside, CompileOptions, CompiledService, LocalTraffic, compile},
    config::{self, AgentConfig, DetectLocal, LoadBalancerMode},
    connections::judge::UdpFrontend,
    source::SourceError,
};

impl NodeAgent {
    /// Compiles these Services, and perhaps all others too, and puts them in force together.
    pub(super) fn apply_services(&mut self, dirty: &BTreeSet<ObjectName>, which: Which) {
        let Some(datapath) = &mut self.datapath else {
            return;
        };
        // Who asks what the agent knows is held up for no longer than it takes to note the result.
        let compiled: Vec<(ObjectName, Option<CompiledService>)> = {
            let model = self.views.read();
            let mut names = dirty.clone();
            if which == Which::All {
                names.extend(model.cluster.services().map(|service| service.name.clone()));
            }
            let node = &self.config.node_name;
            let options = options(&self.config, &datapath.network.addresses);
            let compile = |name| (compile(&model.cluster, node, &options, &name), name);
            names.into_iter().map(compile).map(|(compiled, name)| (name, compiled)).collect()
        };
        let references = compiled.iter().map(|(name, compiled)| (name, compiled.as_ref()));
        let mut failed = datapath.sync.apply(references, Instant::now());
        let mut model = self.views.write();
        let mut udp = UdpChanges::default();
        for (name, compiled) in compiled {
            let before = model.compiled.get(&name).map(|served| &served.compiled);
            udp.note(before, compiled.as_ref());
            match failed.remove(&name) {
                None => {
                    model.service_errors.remove(&name);
                }
                Some(error) => {
                    let mut about = match model.cluster.service_origin(&name) {
                        Some(origin) => SourceError::about_object(origin, Kind::Service, &name),
                        // It is gone, and could not be removed.
                        None => about_removed(self.config.source.place(), &name),
                    };
                    about.message = error.to_string();
                    model.service_errors.insert(name.clone(), about);
                }
            }
            match compiled {
                Some(compiled) => {
                    let ids = compiled.ports.iter().filter_map(|port| {
                        Some((port.name.clone(), datapath.sync.service_id(&port.name)?))
                    });
                    let ids = ids.collect();
                    model.compiled.insert(name, Served { compiled, ids });
                }
                None => {
                    model.compiled.remove(&name);
                }
            }
        }
        self.udp_changes.extend(udp.gone);
        self.udp_changes.extend(udp.there);
    }
}

/// Which Services are to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that are dirty.
    Dirty,
    /// All of them: the tables may hold anything.
    All,
}

fn about_removed(place: &Path, name: &ObjectName) -> SourceError {
    SourceError {
        kind: Some(Kind::Service.to_string()),
        namespace: Some(name.namespace.clone()),
        name: Some(name.name.clone()),
        ..SourceError::about_file(place, String::new())
    }
}

impl Model {
    /// The endpoints that serve, of every UDP frontend.
    pub(super) fn serving_udp(&self) -> Vec<UdpFrontend> {
        self.compiled.values().flat_map(|served| serving_udp(&served.compiled)).collect()
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
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use maps_schema::{
        address::Family,
        service::{Audience, ClientAddress, WhenEmpty},
    };

    use super::*;
    use crate::{
        cluster::model::Conditions,
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
                service: name.clone(),
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
        (name, Served { compiled, ids: BTreeMap::new() })
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
