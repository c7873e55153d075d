//! The agent's part of services: compile what is dirty, and put it in force.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    path::Path,
    time::Instant,
};

use maps_schema::address::Protocol;

use super::{
    model::{Model, Served},
    node::NodeAgent,
};
use crate::{
    cluster::model::{Kind, ObjectName},
    compile::{CompiledService, compile},
    source::SourceError,
    sync::tables::FrontendAddress,
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
            let compile = |name| (compile(&model.cluster, node, &name), name);
            names
                .into_iter()
                .map(compile)
                .map(|(compiled, name)| (name, compiled))
                .collect()
        };
        let references = compiled
            .iter()
            .map(|(name, compiled)| (name, compiled.as_ref()));
        let mut failed = datapath.sync.apply(references, Instant::now());
        let mut model = self.views.write();
        for (name, compiled) in compiled {
            match failed.remove(&name) {
                None => {
                    model.service_errors.remove(&name);
                }
                Some(error) => {
                    let mut about = match model.cluster.service_origin(&name) {
                        Some(origin) => SourceError::about_object(origin, Kind::Service, &name),
                        // It is gone, and could not be removed.
                        None => about_removed(&self.config.manifests, &name),
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

fn about_removed(manifests: &Path, name: &ObjectName) -> SourceError {
    SourceError {
        kind: Some(Kind::Service.to_string()),
        namespace: Some(name.namespace.clone()),
        name: Some(name.name.clone()),
        ..SourceError::about_file(manifests, String::new())
    }
}

impl Model {
    /// The endpoints that serve, of every UDP frontend.
    pub(super) fn serving_udp(&self) -> HashMap<FrontendAddress, BTreeSet<SocketAddr>> {
        let ports = self
            .compiled
            .values()
            .flat_map(|served| &served.compiled.ports);
        let udp = ports.filter(|port| port.name.protocol == Protocol::UDP);
        udp.flat_map(|port| {
            let serving: BTreeSet<SocketAddr> = port
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.conditions.serving || endpoint.conditions.ready)
                .map(|endpoint| endpoint.address)
                .collect();
            port.frontends.iter().map(move |&address| {
                (
                    FrontendAddress {
                        address,
                        protocol: Protocol::UDP,
                    },
                    serving.clone(),
                )
            })
        })
        .collect()
    }
}
