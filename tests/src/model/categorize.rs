//! Section 1.3: which endpoints serve.

use super::{
    Here,
    objects::Objects,
    service::{Policy, Port, Proxied},
    slice::Endpoint,
};

/// A service port's endpoints, by what they are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Categories<'a> {
    /// Those that the policy `Cluster` uses.
    pub(super) cluster: Vec<&'a Endpoint>,
    /// Those that the policy `Local` uses.
    pub(super) local: Vec<&'a Endpoint>,
    /// Whether any endpoint, anywhere, could serve.
    pub(super) has_any: bool,
}

/// How hints narrow the Cluster list.
enum Topology {
    SameNode,
    SameZone(String),
    Anywhere,
}

pub(super) fn categorize<'a>(
    objects: &Objects,
    here: &Here,
    (service, port): (&Proxied, &Port),
    endpoints: &'a [Endpoint],
) -> Categories<'a> {
    let own_node = here.name.to_ascii_lowercase();
    let is_local = |endpoint: &&Endpoint| endpoint.node.as_ref() == Some(&own_node);
    let is_ready = |endpoint: &&Endpoint| endpoint.is_ready;
    let is_leaving = |endpoint: &&Endpoint| endpoint.is_serving && endpoint.is_terminating;

    let internal_is_local = service.internal == Policy::Local;
    let external_is_local = service.external == Policy::Local;
    let uses_cluster = !internal_is_local || port.is_externally_accessible;
    let uses_local = internal_is_local || (external_is_local && port.is_externally_accessible);

    let mut categories = Categories {
        has_any: endpoints.iter().any(|it| is_ready(&it) || is_leaving(&it)),
        ..Categories::default()
    };
    if uses_cluster {
        let topology = topology(objects, &own_node, endpoints);
        let passes = |endpoint: &&Endpoint| match &topology {
            Topology::SameNode => endpoint.for_nodes.contains(&own_node),
            Topology::SameZone(zone) => endpoint.for_zones.contains(zone),
            Topology::Anywhere => true,
        };
        categories.cluster = endpoints.iter().filter(is_ready).filter(passes).collect();
        if categories.cluster.is_empty() {
            categories.cluster = endpoints.iter().filter(is_leaving).collect();
        }
    }
    if uses_local {
        categories.local = endpoints.iter().filter(is_ready).filter(is_local).collect();
        if categories.local.is_empty() {
            categories.local = endpoints.iter().filter(is_leaving).filter(is_local).collect();
        }
    }
    categories
}

/// Judged over the ready endpoints: all must have a hint, and one must name us.
fn topology(objects: &Objects, own_node: &String, endpoints: &[Endpoint]) -> Topology {
    let ready: Vec<&Endpoint> = endpoints.iter().filter(|endpoint| endpoint.is_ready).collect();
    let all_have_nodes = ready.iter().all(|endpoint| !endpoint.for_nodes.is_empty());
    if all_have_nodes && ready.iter().any(|endpoint| endpoint.for_nodes.contains(own_node)) {
        return Topology::SameNode;
    }
    let own_labels = objects.nodes.get(own_node).and_then(|node| node.metadata.labels.as_ref());
    let zone = own_labels.and_then(|labels| labels.get("topology.kubernetes.io/zone"));
    let all_have_zones = ready.iter().all(|endpoint| !endpoint.for_zones.is_empty());
    match zone {
        Some(zone)
            if all_have_zones && ready.iter().any(|endpoint| endpoint.for_zones.contains(zone)) =>
        {
            Topology::SameZone(zone.clone())
        }
        _ => Topology::Anywhere,
    }
}
