//! Service `web` with everything that an outside may ask for.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::{NODE_PORT, Topology};
use crate::{
    manifests::{self, ip},
    one_node::WEB_PORT,
};

/// The addresses that a load balancer has given it.
pub const LOAD_BALANCER: [&str; 2] = ["172.29.0.10", "fd00:172:29::10"];
/// Its external addresses.
pub const EXTERNAL: [&str; 2] = ["172.29.0.20", "fd00:172:29::20"];

/// A Service of two ports with node ports, load balancer's and external addresses.
pub fn exposed(service: Value) -> Value {
    let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
    manifests::with_external_ips(manifests::with_load_balancer(service, &LOAD_BALANCER), &EXTERNAL)
}

/// Addresses with the port of Service `web`, IPv4 first.
pub fn targets(texts: [&str; 2]) -> [SocketAddr; 2] {
    texts.map(|address| SocketAddr::new(ip(address), WEB_PORT))
}

/// These addresses without a port.
pub fn addresses(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(ip)
}

impl Topology {
    /// Has the router send what is for these addresses to nodes.
    pub fn route_to(&self, vips: [&str; 2], nodes: &[usize]) {
        for (vip, length) in vips.into_iter().zip([32, 128]) {
            self.network.route(&format!("{vip}/{length}"), nodes);
        }
    }
}
