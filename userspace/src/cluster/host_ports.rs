//! The host ports of this node's pods: which there are, at which addresses, and which are in force.
//!
//! A pod of this node is spoken of by its object, or was attached by a container runtime, which
//! tells its addresses and host ports itself. From here on it makes no difference.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use jiff::Timestamp;

use crate::{
    cluster::{
        Cluster,
        claims::{Claim, Field, Key},
        model::{HostPort, Kind, ObjectName},
    },
    source::{Origin, SourceError},
};

/// What a host port is called where it is wrong: of which container it is, the pod does not know.
const FIELD: &str = "spec.containers[].ports[].hostPort";

/// A pod of this node that no object speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedPod {
    /// Its addresses; at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Its host ports.
    pub host_ports: Vec<HostPort>,
    /// When it was attached: of two that want one port, the older has it.
    pub created: Option<Timestamp>,
    /// Who has attached it, for messages.
    pub origin: Origin,
}

/// A pod of this node, as far as its host ports go.
#[derive(Clone, Copy, Debug)]
pub struct LocalPod<'a> {
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Its host ports, in force or not.
    pub host_ports: &'a [HostPort],
    pub(super) created: Option<Timestamp>,
    /// Where it was read, or who has attached it.
    pub origin: &'a Origin,
}

impl Cluster {
    /// Notes a pod of this node that no object speaks of, or what has changed of it.
    pub fn attach_pod(&mut self, name: &ObjectName, pod: AttachedPod) {
        if self.attached.get(name) != Some(&pod) {
            self.attached.insert(name.clone(), pod);
            self.claim_host_ports(name);
        }
    }

    /// Forgets what [`Self::attach_pod`] has noted, unless the pod has other addresses by now.
    pub fn detach_pod(&mut self, name: &ObjectName, addresses: &[IpAddr]) {
        if self.attached.get(name).is_some_and(|pod| pod.addresses == addresses) {
            self.attached.remove(name);
            self.claim_host_ports(name);
        }
    }

    /// Says which addresses are this node's own, loopback ones aside: host ports are at these.
    pub fn set_own_addresses(&mut self, addresses: &BTreeSet<IpAddr>) {
        if self.own_addresses == *addresses {
            return;
        }
        self.own_addresses.clone_from(addresses);
        let pods: Vec<ObjectName> = self.host_ports.keys().cloned().collect();
        for pod in pods {
            self.claim_host_ports(&pod);
        }
    }

    /// A pod of this node that has a network of its own.
    pub fn local_pod<'a>(&'a self, name: &ObjectName) -> Option<LocalPod<'a>> {
        if let Some(AttachedPod { addresses, host_ports, created, origin }) =
            self.attached.get(name)
        {
            return Some(LocalPod { addresses, host_ports, created: *created, origin });
        }
        let held = self.pods.get(name)?;
        let pod = &held.object;
        let is_here = pod.node.as_deref() == Some(self.own_node.as_str());
        (is_here && !pod.host_network && !pod.finished).then(|| LocalPod {
            // One that is not in force has nothing at its addresses.
            addresses: if held.in_force { self.pod_addresses(pod) } else { &[] },
            host_ports: &pod.host_ports,
            created: pod.created,
            origin: &held.origin,
        })
    }

    /// The pods of this node that have host ports, in force or not.
    pub fn pods_with_host_ports(&self) -> impl Iterator<Item = &ObjectName> {
        self.host_ports.keys()
    }

    /// Whether one of a pod's host ports is in force: no other pod and no Service has it.
    pub fn is_host_port_in_force(&self, pod: &ObjectName, port: &HostPort) -> bool {
        self.claims.is_in_force(&Key::HostPort(pod.clone(), *port))
    }

    /// Why host ports of a pod are not in force: one error for each of them.
    pub fn lost_host_ports(&self, pod: &ObjectName) -> Vec<SourceError> {
        let defeats = self.claims.defeats();
        let of_pod = defeats.filter(|(key, _)| matches!(key, Key::HostPort(of, _) if of == pod));
        of_pod.filter_map(|(key, defeat)| self.conflict(key, defeat)).collect()
    }

    /// The addresses of this node that a host port is at.
    pub fn host_port_addresses(&self, port: &HostPort) -> Vec<IpAddr> {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let all = self.own_addresses.iter().copied().chain(loopback);
        match port.host_ip {
            None => all.collect(),
            Some(any) if any.is_unspecified() => {
                all.filter(|address| address.is_ipv4() == any.is_ipv4()).collect()
            }
            Some(one) if one.is_loopback() || self.own_addresses.contains(&one) => vec![one],
            Some(_) => Vec::new(),
        }
    }

    pub(super) fn mark_host_ports(&mut self, pod: &ObjectName) {
        self.dirty.host_ports.insert(pod.clone());
    }

    /// Judges the claims of a pod's host ports anew, after the pod or the node has changed.
    pub(super) fn claim_host_ports(&mut self, pod: &ObjectName) {
        let wanted = self.local_pod(pod).map(|pod| pod.host_ports.to_vec()).unwrap_or_default();
        let former = if wanted.is_empty() {
            self.host_ports.remove(pod)
        } else {
            self.host_ports.insert(pod.clone(), wanted.clone())
        };
        let former = former.unwrap_or_default();
        if wanted.is_empty() && former.is_empty() {
            return;
        }
        self.mark_host_ports(pod);
        for port in former.into_iter().filter(|port| !wanted.contains(port)) {
            self.unclaim(&Key::HostPort(pod.clone(), port));
        }
        for port in wanted {
            self.claim_and_enter(&Key::HostPort(pod.clone(), port));
        }
    }

    /// When the pod of a host port was created, and what the port claims.
    pub(super) fn host_port_claims(
        &self,
        pod: &ObjectName,
        port: &HostPort,
    ) -> (Option<Timestamp>, Vec<(Claim, Field)>) {
        let created = self.local_pod(pod).and_then(|pod| pod.created);
        let claim = |address| Claim::HostPort(port.host_port, port.protocol, address);
        let addresses = self.host_port_addresses(port).into_iter();
        (created, addresses.map(|address| (claim(address), Field::Borrowed(FIELD))).collect())
    }

    /// Errors about host ports at addresses that are not this node's.
    pub(super) fn host_ports_elsewhere(&self) -> impl Iterator<Item = SourceError> {
        // Before anything is known of the node's addresses, nothing is wrong with these.
        let known = self.host_ports.iter().filter(|_| !self.own_addresses.is_empty());
        let ports = known.flat_map(|(pod, ports)| ports.iter().map(move |port| (pod, port)));
        ports.filter_map(|(pod, port)| {
            let address = port.host_ip.filter(|_| self.host_port_addresses(port).is_empty())?;
            let origin = self.local_pod(pod)?.origin;
            Some(SourceError {
                field: Some("spec.containers[].ports[].hostIP".to_owned()),
                message: format!(
                    "{address} is no address of this node, so that nothing answers there on port \
                     {}: write one of the node's, or leave hostIP out for all of them",
                    port.host_port
                ),
                ..SourceError::about_object(origin, Kind::Pod, pod)
            })
        })
    }
}

#[cfg(test)]
#[path = "host_ports_tests.rs"]
mod tests;
