//! What objects claim for themselves, and how a lost claim is told.

use std::borrow::Cow;

use jiff::Timestamp;
use maps_schema::address::Protocol;

use crate::{
    cluster::{
        Cluster,
        claims::{Claim, Defeat, Field, Key},
        model::{Kind, Node, Pod, Service},
    },
    source::SourceError,
};

impl Cluster {
    /// When an object was created, and what it claims.
    pub(super) fn claims_of(&self, key: &Key) -> (Option<Timestamp>, Vec<(Claim, Field)>) {
        let (kind, name) = match key {
            Key::Object(kind, name) => (kind, name),
            Key::HostPort(pod, port) => return self.host_port_claims(pod, port),
        };
        match kind {
            Kind::Node => self.nodes.get(&name.name).map(|held| {
                let node = &held.object;
                (node.created, node_claims(node))
            }),
            Kind::Pod => self.pods.get(name).map(|held| {
                let pod = &held.object;
                (pod.created, self.pod_claims(pod))
            }),
            Kind::Service => self.services.get(name).map(|held| {
                let service = &held.object;
                (service.created, service_claims(service))
            }),
            Kind::EndpointSlice | Kind::ServiceCidr => None,
        }
        .unwrap_or_default()
    }

    /// A pod that is finished has given its address back, and one in the host's network has none
    /// of its own.
    fn pod_claims(&self, pod: &Pod) -> Vec<(Claim, Field)> {
        if pod.host_network || pod.finished {
            return Vec::new();
        }
        let addresses = self.pod_addresses(pod).iter().zip(["[0].ip", "[1].ip"]);
        addresses
            .map(|(address, index)| {
                (Claim::Address(*address), Cow::Owned(format!("status.podIPs{index}")))
            })
            .collect()
    }

    /// How a lost claim is told.
    pub(super) fn conflict(&self, key: &Key, defeat: &Defeat) -> Option<SourceError> {
        let (kind, name, origin) = match key {
            Key::Object(Kind::Node, name) => {
                (Kind::Node, name, &self.nodes.get(&name.name)?.origin)
            }
            Key::Object(Kind::Pod, name) => (Kind::Pod, name, &self.pods.get(name)?.origin),
            Key::Object(Kind::Service, name) => {
                (Kind::Service, name, &self.services.get(name)?.origin)
            }
            Key::Object(Kind::EndpointSlice | Kind::ServiceCidr, _) => return None,
            Key::HostPort(pod, _) => (Kind::Pod, pod, self.local_pod(pod)?.origin),
        };
        let reason = if defeat.winner_is_older {
            "is older (metadata.creationTimestamp)"
        } else {
            "had it first"
        };
        Some(SourceError {
            field: Some(defeat.field.to_string()),
            message: format!(
                "{} is taken by {}, which {reason} and stays in force: use another, or remove one \
                 of the two",
                defeat.claim, defeat.winner
            ),
            ..SourceError::about_object(origin, kind, name)
        })
    }
}

fn node_claims(node: &Node) -> Vec<(Claim, Field)> {
    let cidrs = node.pod_cidrs.iter().zip(["spec.podCIDRs[0]", "spec.podCIDRs[1]"]);
    cidrs.map(|(cidr, field)| (Claim::Cidr(*cidr), Cow::Borrowed(field))).collect()
}

/// A Service that is not proxied claims nothing, and in a family in which it has no cluster IP it
/// does not exist.
fn service_claims(service: &Service) -> Vec<(Claim, Field)> {
    if !service.proxied {
        return Vec::new();
    }
    let fields = match service.cluster_ips.len() {
        1 => ["spec.clusterIP", ""],
        _ => ["spec.clusterIPs[0]", "spec.clusterIPs[1]"],
    };
    let mut claims: Vec<(Claim, Field)> = service
        .cluster_ips
        .iter()
        .zip(fields)
        .map(|(address, field)| (Claim::Address(*address), Cow::Borrowed(field)))
        .collect();
    for (index, port) in service.ports.iter().enumerate() {
        let of_port = |address| Claim::AddressPort(address, port.port, port.protocol);
        for (number, address) in service.external_ips.iter().enumerate() {
            if service.serves_family_of(*address) {
                let field = Cow::Owned(format!("spec.externalIPs[{number}]"));
                claims.push((of_port(*address), field));
            }
        }
        for address in &service.load_balancer_ips {
            if service.serves_family_of(*address) {
                let field = Cow::Borrowed("status.loadBalancer.ingress[].ip");
                claims.push((of_port(*address), field));
            }
        }
        if let Some(node_port) = port.node_port {
            let field = Cow::Owned(format!("spec.ports[{index}].nodePort"));
            claims.push((Claim::NodePort(node_port, port.protocol), field));
        }
    }
    if let Some(port) = service.health_check_port() {
        let field = Cow::Borrowed("spec.healthCheckNodePort");
        claims.push((Claim::NodePort(port, Protocol::TCP), field));
    }
    claims
}
