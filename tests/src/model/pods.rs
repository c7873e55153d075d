//! Endpoints of Services without slices: the Pods that they select, as the EndpointSlice controller
//! would list them.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::{
    api::core::v1::{Container, Node, Pod, PodStatus},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    objects::{Objects, name_of},
    service::{Port, Proxied, protocol},
    slice::Endpoint,
    text,
};

pub(super) fn endpoints(objects: &Objects, service: &Proxied, port: &Port) -> Vec<Endpoint> {
    if service.selector.is_empty() {
        return Vec::new();
    }
    let selected = objects.pods.iter().filter(|pod| is_selected(pod, service));
    selected.filter_map(|pod| endpoint(objects, service, port, pod)).collect()
}

fn is_selected(pod: &Pod, service: &Proxied) -> bool {
    let labels = pod.metadata.labels.as_ref();
    name_of(&pod.metadata).0 == service.name.0
        && service
            .selector
            .iter()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn endpoint(objects: &Objects, service: &Proxied, port: &Port, pod: &Pod) -> Option<Endpoint> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    let node = node.map(|name| name.to_ascii_lowercase());
    let of_node = node.as_ref().and_then(|name| objects.nodes.get(name));
    let address =
        addresses(pod, of_node).into_iter().find(|address| address.is_ipv4() == port.is_ipv4())?;
    let is_terminating = pod.metadata.deletion_timestamp.is_some();
    let is_serving = pod.status.as_ref().is_none_or(is_ready);
    Some(Endpoint {
        address: SocketAddr::new(address, target(port, pod)?),
        node,
        is_ready: service.publishes_not_ready || (is_serving && !is_terminating),
        is_serving,
        is_terminating,
        for_zones: Vec::new(),
        for_nodes: Vec::new(),
    })
}

fn is_ready(status: &PodStatus) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions.filter(|it| it.type_ == "Ready").all(|it| it.status == "True")
}

pub(super) fn addresses(pod: &Pod, node: Option<&Node>) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let listed = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let mut addresses: Vec<IpAddr> = listed.filter_map(|entry| text::address(&entry.ip)).collect();
    let single = status.and_then(|status| status.pod_ip.as_deref()).and_then(text::address);
    addresses.extend(single.filter(|it| !addresses.contains(it)));
    let is_in_host_network = pod.spec.as_ref().is_some_and(|it| it.host_network == Some(true));
    if addresses.is_empty() && is_in_host_network {
        let status = node.and_then(|node| node.status.as_ref());
        let listed = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
        let internal = listed.filter(|entry| entry.type_ == "InternalIP");
        addresses.extend(internal.filter_map(|entry| text::address(&entry.address)));
    }
    addresses
}

fn target(port: &Port, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let containers: &[Container] = &pod.spec.as_ref()?.containers;
            let ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
            let mut named = ports.filter(|it| {
                it.name.as_ref() == Some(name)
                    && protocol(it.protocol.as_deref()) == Some(port.protocol)
            });
            u16::try_from(named.next()?.container_port).ok()
        }
    }
}
