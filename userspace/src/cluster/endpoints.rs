//! The endpoints of a service port.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use maps_schema::address::Family;

use crate::cluster::{
    Cluster,
    model::{Conditions, Hints, Pod, Service, ServicePort, TargetPort},
};

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
        let number = match &port.target_port {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => *pod.named_ports.get(&(name.clone(), port.protocol))?,
        };
        let ready = service.publish_not_ready_addresses || (pod.ready && !pod.terminating);
        Some(ServiceEndpoint {
            address: SocketAddr::new(address, number),
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

fn is_of(family: Family, address: IpAddr) -> bool {
    match family {
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}
