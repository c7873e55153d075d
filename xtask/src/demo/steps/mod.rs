//! The steps, in the order in which they are played.

mod across;
mod api_server;
mod distribution;
mod inside;
mod inward;
mod layer;
mod names;
mod node;
mod outward;
mod own_process;
mod reach;
mod refusal;
mod restart;
mod scaling;
mod wires;
mod witness;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

pub(super) use self::layer::Layer;
use super::{
    cast::{HTTP, Pod},
    scene::Scene,
};

/// One step of the demo.
pub(super) struct Step {
    /// Where it belongs.
    pub(super) layer: Layer,
    /// What it is about.
    pub(super) headline: &'static str,
    /// Runs commands, and says what they prove.
    pub(super) play: fn(&mut Scene) -> Result<()>,
}

const fn step(layer: Layer, headline: &'static str, play: fn(&mut Scene) -> Result<()>) -> Step {
    Step { layer, headline, play }
}

/// All of them, from the lowest layer upwards.
pub(super) const STEPS: [Step; 24] = [
    step(Layer::HostNetwork, "Two nodes, a router, an outside", wires::nodes_and_outside),
    step(Layer::HostNetwork, "A node's own address, and its loopback", wires::own_addresses),
    step(Layer::Namespaces, "A pod's own interfaces, routes and loopback", inside::own_network),
    step(Layer::Namespaces, "Two machines' localhost on one machine", inside::loopbacks),
    step(Layer::Veth, "The pair of interfaces that joins a pod to its node", inside::pair),
    step(Layer::Bridge, "The bridge of a node", node::bridge),
    step(Layer::Bridge, "Pod to pod on one node", across::on_one_node),
    step(Layer::PodsAcrossNodes, "Pod to pod across nodes, IPv4 and IPv6", across::between_nodes),
    step(Layer::PodsAcrossNodes, "What makes it so: routes and the overlay", across::overlay),
    step(Layer::Services, "A ClusterIP is on no interface", node::cluster_ip_is_nowhere),
    step(Layer::Services, "HTTP from a pod through a ClusterIP, IPv4 and IPv6", reach::http),
    step(
        Layer::Services,
        "300 connections over 3 backends on 2 nodes",
        distribution::three_backends,
    ),
    step(Layer::Services, "UDP request and response, IPv4 and IPv6", reach::udp),
    step(
        Layer::Services,
        "A pod that is its Service's only backend reaches itself",
        reach::hairpin,
    ),
    step(Layer::Services, "The node's own processes reach ClusterIPs", own_process::to_cluster_ips),
    step(Layer::Services, "Outside to NodePort, policies Cluster and Local", inward::node_ports),
    step(Layer::Services, "What cannot be served is refused at once", refusal::all),
    step(Layer::Names, "A Service by its name", names::short_name),
    step(Layer::Names, "Who answers, and what names there are", names::records),
    step(Layer::Names, "The API server by its name, over TLS", api_server::by_name),
    step(Layer::Egress, "Pod to outside: masquerade", outward::masquerade),
    step(Layer::Change, "An agent is killed in the middle of a transfer", restart::killed),
    step(Layer::Change, "A pod is added, and traffic reaches it", scaling::one_more),
    step(Layer::Witnesses, "Who carried all this, and who did not", witness::counters),
];

/// The addresses of Service `web`, as they stand in a URL.
const WEB: [&str; 2] = ["10.96.45.123", "[fd00:10:96::45:123]"];

/// The family of an address of [`WEB`], and its kin.
fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

/// The same of an address that was parsed.
fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Where a pod serves HTTP, under one of its addresses.
fn target(pod: Pod, address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, pod.port.unwrap_or(HTTP))
}

/// How many packets the first node has dropped or refused for these reasons.
fn dropped(scene: &Scene, reasons: &[&str]) -> Result<u64> {
    let drops = scene.json("shunt get drops -o json")?;
    let drops = drops.as_array().into_iter().flatten();
    let named = drops.filter(|drop| drop["reason"].as_str().is_some_and(|r| reasons.contains(&r)));
    Ok(named.filter_map(|drop| drop["count"].as_u64()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_to_the_layers_tells_every_step_in_its_order() {
        let guide = include_str!("../../../../docs/layers.md");
        let told: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let played: Vec<&str> = STEPS.iter().map(|step| step.headline).collect();
        assert_eq!(told, played);
        assert!(guide.contains("proves: ") && !guide.contains("NOT PROVEN"));
    }
}
