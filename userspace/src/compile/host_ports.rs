//! The host ports of a pod: to the datapath, services with one endpoint.
//!
//! The reference is the `portmap` plugin of CNI. Clients keep their addresses, but for the pod
//! itself, as at a node port whose traffic policy is `Local`; and as there, the pod's node answers
//! to whoever asks it, so that nothing is handed over.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use maps_schema::service::{Audience, ClientAddress, WhenEmpty};

use super::{
    CompiledFrontend, CompiledPort, CompiledService, Endpoint, EndpointList, Owner,
    ServicePortName, family,
};
use crate::cluster::{
    Cluster,
    model::{Conditions, HostPort, ObjectName},
};

/// Compiles the host ports of a pod of this node; nothing where none of them is in force.
pub fn compile_host_ports(cluster: &Cluster, pod: &ObjectName) -> Option<CompiledService> {
    let local = cluster.local_pod(pod)?;
    let in_force = local.host_ports.iter().filter(|port| cluster.is_host_port_in_force(pod, port));
    let mut taken = BTreeSet::new();
    let mut ports = Vec::new();
    for port in in_force {
        // Where one address is meant twice, with its name and among all, the first one has it.
        let mut addresses = cluster.host_port_addresses(port);
        addresses.retain(|&address| taken.insert((address, port.host_port, port.protocol)));
        let of_family = |&pod_ip: &IpAddr| compile_port(cluster, pod, port, &addresses, pod_ip);
        ports.extend(local.addresses.iter().filter_map(of_family));
    }
    (!ports.is_empty()).then(|| CompiledService { ports, ..CompiledService::default() })
}

/// What a host port is called among those of its pod: each is there once by address, port and
/// protocol.
pub fn host_port_name(port: &HostPort) -> String {
    match port.host_ip {
        Some(address) => SocketAddr::new(address, port.host_port).to_string(),
        None => port.host_port.to_string(),
    }
}

/// A host port in the family of one of its pod's addresses; nothing where no address of the node's
/// is of that family.
fn compile_port(
    cluster: &Cluster,
    pod: &ObjectName,
    port: &HostPort,
    addresses: &[IpAddr],
    pod_ip: IpAddr,
) -> Option<CompiledPort> {
    let mut frontends: Vec<CompiledFrontend> = addresses
        .iter()
        .filter(|address| address.is_ipv4() == pod_ip.is_ipv4())
        .flat_map(|&address| frontends(SocketAddr::new(address, port.host_port)))
        .collect();
    frontends.sort_unstable();
    let backend = SocketAddr::new(pod_ip, port.container_port);
    (!frontends.is_empty()).then(|| CompiledPort {
        name: ServicePortName {
            owner: Owner::HostPorts(pod.clone()),
            port: host_port_name(port),
            protocol: port.protocol,
            family: family(pod_ip),
            list: EndpointList::Local,
        },
        frontends,
        backends: vec![backend],
        has_maglev: false,
        when_empty: WhenEmpty::Refuse,
        affinity_seconds: None,
        source_ranges: Vec::new(),
        endpoints: [endpoint(cluster, backend)].into(),
    })
}

/// To whom an address answers: loopback ones are each namespace's own, so that only processes of
/// the node mean the node by them.
fn frontends(address: SocketAddr) -> impl Iterator<Item = CompiledFrontend> {
    let audiences: &[Audience] = if address.ip().is_loopback() {
        &[Audience::Node]
    } else {
        &[Audience::Inside, Audience::Outside]
    };
    audiences.iter().map(move |&audience| CompiledFrontend {
        address,
        audience,
        client: ClientAddress::Kept,
        restricted: false,
    })
}

/// A pod answers at its host ports for as long as it is there, ready or not.
fn endpoint(cluster: &Cluster, address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        node: Some(cluster.own_node().into()),
        local: true,
        conditions: Conditions { ready: true, serving: true, terminating: false },
    }
}

#[cfg(test)]
#[path = "host_ports_tests.rs"]
mod tests;
