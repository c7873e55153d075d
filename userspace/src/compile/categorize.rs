//! Which endpoints serve: `CategorizeEndpoints` of Kubernetes' `pkg/proxy/topology.go`.

use crate::{
    cluster::{
        ServiceEndpoint,
        model::{Hints, TrafficPolicy},
    },
    compile::{AnswersOutside, Here},
};

/// What decides about a service port's endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policies {
    pub(super) internal: TrafficPolicy,
    pub(super) external: TrafficPolicy,
    /// Whether it has a node port, an external address or a load balancer's address.
    pub(super) externally_accessible: bool,
    /// Which way answers take: other nodes hand over to this node's endpoints where it is direct.
    pub(super) answers: AnswersOutside,
}

/// A service port's endpoints by what they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Categories<'a> {
    /// Those that a `Cluster` policy uses; empty where nothing does.
    pub(super) cluster: Vec<&'a ServiceEndpoint<'a>>,
    /// Those that a `Local` policy uses; empty where nothing does.
    pub(super) local: Vec<&'a ServiceEndpoint<'a>>,
    /// Whether any endpoint anywhere could serve.
    pub(super) has_any: bool,
}

/// How hints narrow the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topology<'a> {
    Anywhere,
    SameNode,
    SameZone(&'a str),
}

/// Sorts out the endpoints. Each list falls back on its own from those that are ready to those that
/// still serve while they terminate; hints concern the ready ones of the cluster list only.
pub(super) fn categorize<'a>(
    endpoints: &'a [ServiceEndpoint<'a>],
    policies: Policies,
    here: Here<'_>,
) -> Categories<'a> {
    let uses_cluster = policies.internal != TrafficPolicy::Local || policies.externally_accessible;
    let uses_local = policies.internal == TrafficPolicy::Local
        || (policies.externally_accessible
            && (policies.external == TrafficPolicy::Local
                || policies.answers == AnswersOutside::Direct));
    let mut categories = Categories {
        has_any: endpoints.iter().any(|endpoint| is_ready(endpoint) || is_leaving(endpoint)),
        ..Categories::default()
    };
    if uses_cluster {
        let topology = topology(endpoints, here);
        categories.cluster = choose(endpoints, |endpoint| is_near(endpoint, topology, here))
            .unwrap_or_else(|| endpoints.iter().filter(|endpoint| is_leaving(endpoint)).collect());
    }
    if uses_local {
        let is_local = |endpoint: &ServiceEndpoint<'_>| endpoint.node == Some(here.node);
        categories.local = choose(endpoints, is_local).unwrap_or_else(|| {
            let leaving = endpoints.iter().filter(|endpoint| is_leaving(endpoint));
            leaving.filter(|endpoint| is_local(endpoint)).collect()
        });
    }
    categories
}

/// The ready endpoints that pass, or nothing where none does.
fn choose<'a>(
    endpoints: &'a [ServiceEndpoint<'a>],
    passes: impl Fn(&ServiceEndpoint<'_>) -> bool,
) -> Option<Vec<&'a ServiceEndpoint<'a>>> {
    let chosen: Vec<_> =
        endpoints.iter().filter(|endpoint| is_ready(endpoint) && passes(endpoint)).collect();
    (!chosen.is_empty()).then_some(chosen)
}

/// Hints count only where every ready endpoint has them and one of them names us.
fn topology<'a>(endpoints: &[ServiceEndpoint<'_>], here: Here<'a>) -> Topology<'a> {
    let ready = || endpoints.iter().filter(|endpoint| is_ready(endpoint));
    let all_say = |list: fn(&Hints) -> &[String]| {
        ready().all(|endpoint| endpoint.hints.is_some_and(|hints| !list(hints).is_empty()))
    };
    let one_names = |list: fn(&Hints) -> &[String], name: &str| {
        ready().any(|endpoint| names(endpoint.hints.map(list), name))
    };
    if all_say(for_nodes) && one_names(for_nodes, here.node) {
        return Topology::SameNode;
    }
    match here.zone {
        Some(zone) if all_say(for_zones) && one_names(for_zones, zone) => Topology::SameZone(zone),
        _ => Topology::Anywhere,
    }
}

fn is_near(endpoint: &ServiceEndpoint<'_>, topology: Topology<'_>, here: Here<'_>) -> bool {
    match topology {
        Topology::Anywhere => true,
        Topology::SameNode => names(endpoint.hints.map(for_nodes), here.node),
        Topology::SameZone(zone) => names(endpoint.hints.map(for_zones), zone),
    }
}

fn names(list: Option<&[String]>, name: &str) -> bool {
    list.is_some_and(|list| list.iter().any(|other| other == name))
}

fn for_nodes(hints: &Hints) -> &[String] {
    &hints.for_nodes
}

fn for_zones(hints: &Hints) -> &[String] {
    &hints.for_zones
}

fn is_ready(endpoint: &ServiceEndpoint<'_>) -> bool {
    endpoint.conditions.ready
}

fn is_leaving(endpoint: &ServiceEndpoint<'_>) -> bool {
    endpoint.conditions.serving && endpoint.conditions.terminating
}
