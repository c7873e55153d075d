//! Which endpoints of a service port count, and for whom, on one node.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
};

use maps_schema::address::Family;
use serde_json::Value;

use super::cluster::{Endpoint, NodeView, ServicePort, Transport, address, list, name_of, number};

/// The endpoints of a service port, chosen for one node.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// For clients whom any endpoint may serve.
    pub cluster: Vec<Endpoint>,
    /// For clients whom only this node's endpoints may serve.
    pub local: Vec<Endpoint>,
    /// Whether any endpoint anywhere could serve.
    pub any: bool,
}

impl Lists {
    /// The endpoints of either list, each once.
    pub fn all(&self) -> Vec<&Endpoint> {
        let beside = self.local.iter().filter(|endpoint| !self.cluster.contains(endpoint));
        let mut all: Vec<&Endpoint> = self.cluster.iter().chain(beside).collect();
        all.sort_by_key(|endpoint| endpoint.at.to_string());
        all
    }
}

/// An endpoint with what decides about it.
struct Candidate {
    endpoint: Endpoint,
    ready: bool,
    serving: bool,
    terminating: bool,
    zones: Vec<String>,
    nodes: Vec<String>,
}

impl Candidate {
    fn is_last_resort(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Chooses the endpoints of a service port among all slices.
pub fn choose(family: Family, node: &NodeView, port: &ServicePort, objects: &[Value]) -> Lists {
    let all = candidates(family, node, port, objects);
    let take = |wanted: &dyn Fn(&Candidate) -> bool| -> Vec<Endpoint> {
        all.iter().filter(|one| wanted(one)).map(|one| one.endpoint.clone()).collect()
    };
    let mut lists =
        Lists { any: all.iter().any(|one| one.ready || one.is_last_resort()), ..Lists::default() };
    if port.uses_cluster_list() {
        let topology = topology(node, &all);
        lists.cluster = take(&|one| one.ready && topology(one));
        if lists.cluster.is_empty() {
            lists.cluster = take(&Candidate::is_last_resort);
        }
    }
    if port.uses_local_list() {
        lists.local = take(&|one| one.endpoint.local && one.ready);
        if lists.local.is_empty() {
            lists.local = take(&|one| one.endpoint.local && one.is_last_resort());
        }
    }
    lists
}

/// Whom hints let serve this node, over the ready endpoints.
fn topology<'a>(node: &'a NodeView, all: &[Candidate]) -> Box<dyn Fn(&Candidate) -> bool + 'a> {
    let decides = |hints: &dyn Fn(&Candidate) -> &[String], own: &str| {
        let ready = || all.iter().filter(|one| one.ready);
        ready().all(|one| !hints(one).is_empty())
            && ready().any(|one| hints(one).iter().any(|hint| hint == own))
    };
    if decides(&|one| &one.nodes, &node.name) {
        return Box::new(|one| one.nodes.contains(&node.name));
    }
    match &node.zone {
        Some(zone) if decides(&|one| &one.zones, zone) => {
            Box::new(move |one| one.zones.contains(zone))
        }
        _ => Box::new(|_| true),
    }
}

/// The union of the port's slices, by address and port, in the order of their texts.
fn candidates(
    family: Family,
    node: &NodeView,
    port: &ServicePort,
    objects: &[Value],
) -> Vec<Candidate> {
    let mut found: BTreeMap<String, Candidate> = BTreeMap::new();
    for slice in objects.iter().filter(|object| belongs(family, port, object)) {
        let numbers = list(&slice["ports"]).iter().filter_map(|slice_port| {
            let same = slice_port["name"].as_str() == Some(port.name.as_str())
                && Transport::read(&slice_port["protocol"]) == Some(port.protocol);
            same.then(|| number(&slice_port["port"]))?
        });
        for number in numbers {
            for object in list(&slice["endpoints"]) {
                let Some(candidate) = candidate(node, number, object) else { continue };
                match found.entry(candidate.endpoint.at.to_string()) {
                    Entry::Vacant(place) => {
                        place.insert(candidate);
                    }
                    // An address is in use again before its last user is gone.
                    Entry::Occupied(mut place) if place.get().terminating => {
                        place.insert(candidate);
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
    }
    found.into_values().collect()
}

fn belongs(family: Family, port: &ServicePort, object: &Value) -> bool {
    let metadata = &object["metadata"];
    object["kind"] == "EndpointSlice"
        && object["addressType"] == name_of(family)
        && metadata["namespace"].as_str().unwrap_or("default") == port.namespace
        && metadata["labels"]["kubernetes.io/service-name"] == port.service.as_str()
        && metadata["labels"].get("service.kubernetes.io/headless").is_none()
}

fn candidate(node: &NodeView, port: u16, object: &Value) -> Option<Candidate> {
    let at = SocketAddr::new(address(object["addresses"].get(0)?)?, port);
    let condition = |name: &str, absent| object["conditions"][name].as_bool().unwrap_or(absent);
    let hints = |kind: &str| {
        let hints = list(&object["hints"][kind]).iter();
        hints.filter_map(|hint| hint["name"].as_str().map(str::to_owned)).collect()
    };
    Some(Candidate {
        endpoint: Endpoint { at, local: object["nodeName"] == node.name.as_str() },
        ready: condition("ready", true),
        serving: condition("serving", true),
        terminating: condition("terminating", false),
        zones: hints("forZones"),
        nodes: hints("forNodes"),
    })
}
