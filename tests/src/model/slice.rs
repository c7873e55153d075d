//! Section 1.2: the endpoints of a service port, of all its slices together.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
};

use k8s_openapi::api::discovery::v1::{
    Endpoint as SliceEndpoint, EndpointConditions, EndpointPort, EndpointSlice,
};

use super::{
    objects::{Objects, label, name_of},
    pods,
    service::{Port, Proxied, protocol},
    text,
};

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// The node that it is on, in lower case.
    pub(super) node: Option<String>,
    pub(super) is_ready: bool,
    pub(super) is_serving: bool,
    pub(super) is_terminating: bool,
    pub(super) for_zones: Vec<String>,
    pub(super) for_nodes: Vec<String>,
}

/// The endpoints of a service port, each address and port once. A Service with slices has those of
/// its slices; one without, those of the Pods that it selects.
pub(super) fn endpoints(objects: &Objects, service: &Proxied, port: &Port) -> Vec<Endpoint> {
    let mut slices =
        objects.slices.iter().filter(|slice| is_labelled_for(slice, service)).peekable();
    if slices.peek().is_none() {
        return union(pods::endpoints(objects, service, port));
    }
    union(slices.filter(|slice| is_read(slice, port)).flat_map(|slice| of_slice(slice, port)))
}

fn is_labelled_for(slice: &EndpointSlice, service: &Proxied) -> bool {
    let (namespace, _) = name_of(&slice.metadata);
    let (own_namespace, own_name) = &service.name;
    namespace == *own_namespace
        && !own_name.is_empty()
        && label(&slice.metadata, "kubernetes.io/service-name") == Some(own_name)
}

fn is_read(slice: &EndpointSlice, port: &Port) -> bool {
    let family = if port.is_ipv4() { "IPv4" } else { "IPv6" };
    slice.address_type == family
        && label(&slice.metadata, "service.kubernetes.io/headless").is_none()
}

fn of_slice<'a>(slice: &'a EndpointSlice, port: &'a Port) -> impl Iterator<Item = Endpoint> + 'a {
    let ports = slice.ports.iter().flatten();
    let numbers = ports.filter(|other| is_port(other, port)).filter_map(number);
    numbers.flat_map(move |number| {
        slice.endpoints.iter().flatten().filter_map(move |endpoint| read(endpoint, number))
    })
}

/// Slice ports belong to the service port of their name and protocol. A name that is left out is
/// the empty one, as the API server makes it.
fn is_port(slice_port: &EndpointPort, port: &Port) -> bool {
    slice_port.name.as_deref().unwrap_or_default() == port.name
        && protocol(slice_port.protocol.as_deref()) == Some(port.protocol)
}

fn number(slice_port: &EndpointPort) -> Option<u16> {
    u16::try_from(slice_port.port?).ok().filter(|number| *number != 0)
}

fn read(endpoint: &SliceEndpoint, port: u16) -> Option<Endpoint> {
    let first = endpoint.addresses.first()?;
    let none = EndpointConditions::default();
    let conditions = endpoint.conditions.as_ref().unwrap_or(&none);
    let hints = endpoint.hints.as_ref();
    let for_zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
    let for_nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
    Some(Endpoint {
        address: SocketAddr::new(text::address(first)?, port),
        node: endpoint.node_name.as_ref().map(|name| name.to_ascii_lowercase()),
        is_ready: conditions.ready.unwrap_or(true),
        is_serving: conditions.serving.unwrap_or(true),
        is_terminating: conditions.terminating.unwrap_or(false),
        for_zones: for_zones.map(|zone| zone.name.clone()).collect(),
        for_nodes: for_nodes.map(|node| node.name.to_ascii_lowercase()).collect(),
    })
}

/// One endpoint per address and port: of two, one that does not terminate.
fn union(endpoints: impl IntoIterator<Item = Endpoint>) -> Vec<Endpoint> {
    let mut all: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for endpoint in endpoints {
        match all.entry(endpoint.address) {
            Entry::Vacant(entry) => {
                entry.insert(endpoint);
            }
            Entry::Occupied(mut entry) => {
                if entry.get().is_terminating && !endpoint.is_terminating {
                    entry.insert(endpoint);
                }
            }
        }
    }
    all.into_values().collect()
}
