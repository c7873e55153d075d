//! The endpoints of a service port.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use maps_schema::address::{Family, Protocol};

use crate::cluster::{
    Cluster,
    model::{Conditions, Hints, Pod, Service, ServicePort, TargetPort},
};

/// An endpoint of a Service as its names have it, with all of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEndpoint<'a> {
    /// Its address.
    pub address: IpAddr,
    /// The name of its host, where it has one.
    pub hostname: Option<&'a str>,
    /// Whether it is ready, or shall be told of before it is.
    pub ready: bool,
    /// Name, protocol and number of each port.
    pub ports: Vec<(&'a str, Protocol, u16)>,
}

/// An endpoint of a service port, before any choice is made among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEndpoint<'a> {
    /// Its address and port.
    pub address: SocketAddr,
    /// The node it runs on, where known.
    pub node: Option<&'a str>,
    /// The same, as its slice shares it.
    pub shared_node: Option<&'a Arc<str>>,
    /// Its conditions.
    pub conditions: Conditions,
    /// Which nodes should use it.
    pub hints: Option<&'a Hints>,
}

impl Cluster {
    /// The endpoints of a service port in one family, by address and port, each once: those of the
    /// EndpointSlices that are labelled for the Service; where there is no such slice, those of the
    /// Pods that it selects.
    pub fn endpoints<'a>(
        &'a self,
        service: &'a Service,
        port: &'a ServicePort,
        family: Family,
    ) -> Vec<ServiceEndpoint<'a>> {
        let mut endpoints = BTreeMap::new();
        match self.slices_of(&service.name) {
            Some(slices) => {
                for slice in slices.filter(|slice| !slice.headless && slice.family == Some(family))
                {
                    let numbers = slice
                        .ports
                        .iter()
                        .filter(|other| other.name == port.name && other.protocol == port.protocol);
                    for number in numbers {
                        for endpoint in &slice.endpoints {
                            add(
                                &mut endpoints,
                                ServiceEndpoint {
                                    address: SocketAddr::new(endpoint.address, number.port),
                                    node: endpoint.node.as_deref(),
                                    shared_node: endpoint.node.as_ref(),
                                    conditions: endpoint.conditions,
                                    hints: endpoint.hints.as_deref(),
                                },
                            );
                        }
                    }
                }
            }
            None => {
                for pod in self.pods_of(service) {
                    if let Some(endpoint) = self.pod_endpoint(service, port, family, pod) {
                        add(&mut endpoints, endpoint);
                    }
                }
            }
        }
        endpoints.into_values().collect()
    }

    /// The endpoints of a Service, of both families: those of all EndpointSlices that are labelled
    /// for it, which for a headless Service are marked as none for proxies; where there is no such
    /// slice, those of the Pods that it selects.
    pub fn named_endpoints<'a>(&'a self, service: &'a Service) -> Vec<NamedEndpoint<'a>> {
        let early = service.publish_not_ready_addresses;
        let Some(slices) = self.slices_of(&service.name) else {
            return self.pods_of(service).flat_map(|pod| self.named_pod(service, pod)).collect();
        };
        slices
            .flat_map(|slice| {
                let ports: Vec<_> = slice
                    .ports
                    .iter()
                    .map(|port| (port.name.as_str(), port.protocol, port.port))
                    .collect();
                slice.endpoints.iter().map(move |endpoint| NamedEndpoint {
                    address: endpoint.address,
                    hostname: endpoint.hostname.as_deref(),
                    ready: early || endpoint.conditions.ready,
                    ports: ports.clone(),
                })
            })
            .collect()
    }

    fn named_pod<'a>(&'a self, service: &'a Service, pod: &'a Pod) -> Vec<NamedEndpoint<'a>> {
        if pod.finished {
            return Vec::new();
        }
        let is_in_subdomain = pod.subdomain.as_ref() == Some(&service.name.name);
        let ports: Vec<_> = service
            .ports
            .iter()
            .filter_map(|port| Some((port.name.as_str(), port.protocol, pod_port(port, pod)?)))
            .collect();
        let of_family = |is_ipv4| {
            let mut addresses = self.pod_addresses(pod).iter();
            addresses.find(|address| address.is_ipv4() == is_ipv4)
        };
        let endpoint = |address: &IpAddr| NamedEndpoint {
            address: *address,
            hostname: pod.hostname.as_deref().filter(|_| is_in_subdomain),
            ready: is_ready(service, pod),
            ports: ports.clone(),
        };
        [true, false].into_iter().filter_map(of_family).map(endpoint).collect()
    }

    fn pod_endpoint<'a>(
        &'a self,
        service: &Service,
        port: &ServicePort,
        family: Family,
        pod: &'a Pod,
    ) -> Option<ServiceEndpoint<'a>> {
        if pod.finished {
            return None;
        }
        let address = *self.pod_addresses(pod).iter().find(|address| is_of(family, **address))?;
        let ready = is_ready(service, pod);
        Some(ServiceEndpoint {
            address: SocketAddr::new(address, pod_port(port, pod)?),
            node: pod.node.as_deref(),
            shared_node: None,
            conditions: Conditions { ready, serving: pod.ready, terminating: pod.terminating },
            hints: None,
        })
    }
}

/// An address can be listed twice for a while, when a new pod gets the address of one that is on
/// its way out: the new one counts.
fn add<'a>(
    endpoints: &mut BTreeMap<SocketAddr, ServiceEndpoint<'a>>,
    endpoint: ServiceEndpoint<'a>,
) {
    match endpoints.entry(endpoint.address) {
        Entry::Vacant(entry) => {
            entry.insert(endpoint);
        }
        Entry::Occupied(mut entry) => {
            if entry.get().conditions.terminating && !endpoint.conditions.terminating {
                entry.insert(endpoint);
            }
        }
    }
}

/// The number of a service port's target in a Pod, where the Pod has such a port.
fn pod_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.named_ports.get(&(name.clone(), port.protocol)).copied(),
    }
}

fn is_ready(service: &Service, pod: &Pod) -> bool {
    service.publish_not_ready_addresses || (pod.ready && !pod.terminating)
}

fn is_of(family: Family, address: IpAddr) -> bool {
    match family {
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}
