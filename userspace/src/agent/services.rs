//! The agent's part of services: compile what is dirty, and put it in force.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Instant,
};

use maps_schema::address::Protocol;

use super::{
    model::{Model, Served},
    node::NodeAgent,
};
use crate::{
    cluster::model::{Kind, ObjectName},
    compile::compile,
    source::SourceError,
    sync::tables::FrontendAddress,
};

impl NodeAgent {
    /// Compiles these Services, or all of them, and puts them in force.
    pub(super) fn apply_services(
        &mut self,
        dirty: &BTreeSet<ObjectName>,
        which: Which,
    ) {
        let Some(datapath) = &mut self.datapath else { return };
        let mut model = self.views.write();
        let everything: BTreeSet<ObjectName>;
        let names = if which == Which::All {
            everything = model.cluster.services().map(|service| service.name.clone()).collect();
            &everything
        } else {
            dirty
        };
        // Those that go come first: another may have their addresses now.
        let (gone, there): (Vec<_>, Vec<_>) =
            names.iter().partition(|name| model.cluster.service(name).is_none());
        for name in gone.into_iter().chain(there) {
            let compiled = compile(&model.cluster, &self.config.node_name, name);
            let applied = datapath.sync.apply(name, compiled.as_ref(), Instant::now());
            match applied {
                Ok(()) => {
                    model.service_errors.remove(name);
                }
                Err(error) => {
                    let error = service_error(&model, name, &error.to_string());
                    if let Some(error) = error {
                        model.service_errors.insert(name.clone(), error);
                    }
                }
            }
            match compiled {
                Some(compiled) => {
                    let ids = compiled.ports.iter().filter_map(|port| {
                        Some((port.name.clone(), datapath.sync.service_id(&port.name)?))
                    });
                    let ids = ids.collect();
                    model.compiled.insert(name.clone(), Served { compiled, ids });
                }
                None => {
                    model.compiled.remove(name);
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

fn service_error(model: &Model, name: &ObjectName, message: &str) -> Option<SourceError> {
    let origin = model.cluster.service_origin(name)?;
    let mut error = SourceError::about_object(origin, Kind::Service, name);
    message.clone_into(&mut error.message);
    Some(error)
}

impl Model {
    /// The endpoints that serve, of every UDP frontend.
    pub(super) fn serving_udp(&self) -> HashMap<FrontendAddress, BTreeSet<SocketAddr>> {
        let ports = self.compiled.values().flat_map(|served| &served.compiled.ports);
        let udp = ports.filter(|port| port.name.protocol == Protocol::UDP);
        udp.flat_map(|port| {
            let serving: BTreeSet<SocketAddr> = port
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.conditions.serving || endpoint.conditions.ready)
                .map(|endpoint| endpoint.address)
                .collect();
            port.frontends.iter().map(move |&address| {
                (FrontendAddress { address, protocol: Protocol::UDP }, serving.clone())
            })
        })
        .collect()
    }
}
