//! From objects to what the maps should hold: pure, one service at a time.

use std::net::{IpAddr, SocketAddr};

use maps_schema::{
    address::{Family, Protocol},
    service::WhenEmpty,
};

use crate::cluster::model::{Conditions, ObjectName};

/// Names one service port in one address family; the datapath knows it by a `ServiceId`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: ObjectName,
    /// The port's name; empty where it has none.
    pub port: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The address family.
    pub family: Family,
}

/// What the datapath should do for one service port in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPort {
    /// Its name.
    pub name: ServicePortName,
    /// The addresses and ports that it answers on.
    pub frontends: Vec<SocketAddr>,
    /// The addresses and ports that new connections go to, each equally often; sorted, each once.
    pub backends: Vec<SocketAddr>,
    /// What happens where `backends` is empty.
    pub when_empty: WhenEmpty,
    /// Every endpoint, chosen or not, for listings and for judging existing connections.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address and port.
    pub address: SocketAddr,
    /// The node it runs on, where known.
    pub node: Option<String>,
    /// Whether that is this node.
    pub local: bool,
    /// Its conditions.
    pub conditions: Conditions,
}

/// A compiled Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledService {
    /// Addresses that are this service's alone: what is sent to a port of them that is no frontend is refused.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<CompiledPort>,
}
