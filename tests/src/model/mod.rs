//! The reference model: what becomes of a packet, written from the text of the semantics, rule by
//! rule, with no thought for speed.
//!
//! It reads plain Kubernetes objects itself, and shares no code with the agent, the datapath or
//! their maps: where it agrees with them, two people have understood the same text. Its files
//! follow the text's sections: [`service`] 1.1, [`slice`] 1.2, [`categorize`] 1.3, [`matrix`] 1.4,
//! [`refusal`] 1.5, [`node_port`] 1.6, [`host_port`] 7.5; [`source_range`] and [`affinity`] are fields of 1.1 with
//! rules of their own.
//!
//! ```text
//! World::new(node, config, objects)      what is there
//! World::allowed(packet)                 everything that may become of a packet
//! Connections::open(world, packet, …)    one of it, with what affinity remembers
//! ```

pub mod affinity;
mod categorize;
mod host_port;
mod matrix;
mod node_port;
mod objects;
mod pods;
mod refusal;
mod service;
mod slice;
mod source_range;
mod text;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;

pub use self::{affinity::Connections, objects::Unreadable};
use self::{
    matrix::{Backends, Matrix},
    objects::Objects,
    service::{PortId, Proxied, Target},
};
use crate::conformance::{Config, Fate, Packet, scenario::Expected};

/// The node that the model stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its name.
    pub name: String,
    /// All addresses of its interfaces, but for loopback ones.
    pub addresses: Vec<IpAddr>,
}

/// A node, and the objects that it sees.
#[derive(Clone, Debug)]
pub struct World {
    here: Here,
    config: Config,
    objects: Objects,
    services: Vec<Proxied>,
}

/// Why a packet fares as it does: for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Judged {
    /// The service port that it is for, where it is for one.
    port: Option<PortId>,
    fate: Fate,
    masquerade: bool,
}

impl World {
    /// What is there, as a node sees it.
    ///
    /// # Errors
    ///
    /// An object is none of Kubernetes'.
    pub fn new<'a>(
        here: Here,
        config: Config,
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<Self, Unreadable> {
        let objects = Objects::read(objects)?;
        let services = objects.services.iter().flat_map(service::proxied).collect();
        Ok(Self { here, config, objects, services })
    }

    /// Everything that may become of the first packet of a flow, all of which does happen.
    ///
    /// `masquerade` says whether the backend sees an address of the node's in place of the
    /// sender's, but for two backends: the sender itself always does, and the node itself never
    /// ([`Self::sees_the_node`]).
    pub fn allowed(&self, packet: &Packet) -> Expected {
        let Judged { fate, masquerade, .. } = self.judge(packet);
        Expected { fate, masquerade }
    }

    /// Whether a backend that a packet reaches sees an address of the node's in place of the
    /// sender's. What answers a process of the node's own passes by the node anyway, so that the
    /// sender may stay who it is.
    pub fn sees_the_node(&self, packet: &Packet, backend: IpAddr) -> bool {
        let is_the_node = self.here.addresses.contains(&backend);
        backend == packet.source || (self.judge(packet).masquerade && !is_the_node)
    }

    fn judge(&self, packet: &Packet) -> Judged {
        let not_forwarded = |fate| Judged { port: None, fate, masquerade: false };
        if let Some(pod) = host_port::target(self, packet) {
            return not_forwarded(Fate::Backends(BTreeSet::from([pod])));
        }
        let Some((service, port, target)) = self.target(packet) else {
            return not_forwarded(refusal::without_port(self, packet));
        };
        if target == Target::LoadBalancer
            && !source_range::admits(&self.objects, &self.here, service, packet)
        {
            return not_forwarded(Fate::Drop);
        }
        let endpoints = slice::endpoints(&self.objects, service, port);
        let categories =
            categorize::categorize(&self.objects, &self.here, (service, port), &endpoints);
        let matrix = Matrix { config: &self.config, service, target, side: packet.side };
        let backends = match matrix.backends() {
            Backends::Cluster => &categories.cluster,
            Backends::Local => &categories.local,
        };
        if backends.is_empty() {
            return not_forwarded(refusal::without_backends(&categories, matrix.backends()));
        }
        Judged {
            port: Some(port.id()),
            fate: Fate::Backends(addresses(backends)),
            masquerade: matrix.masquerades(),
        }
    }

    /// The service port that a packet is for, and which of its addresses it was sent to.
    fn target(&self, packet: &Packet) -> Option<(&Proxied, &service::Port, Target)> {
        self.services.iter().find_map(|service| {
            service.ports.iter().find_map(|port| {
                let target = self.target_of(service, port, packet)?;
                Some((service, port, target))
            })
        })
    }

    fn target_of(
        &self,
        service: &Proxied,
        port: &service::Port,
        packet: &Packet,
    ) -> Option<Target> {
        if port.protocol != packet.protocol {
            return None;
        }
        if let Some(target) = service.target(port, packet.destination) {
            return Some(target);
        }
        let is_node_port = port.node_port == Some(packet.destination.port())
            && service.cluster_ip.is_ipv4() == packet.destination.is_ipv4()
            && node_port::answers(self, packet);
        is_node_port.then_some(Target::NodePort)
    }
}

fn addresses(endpoints: &[&slice::Endpoint]) -> BTreeSet<SocketAddr> {
    endpoints.iter().map(|endpoint| endpoint.address).collect()
}
