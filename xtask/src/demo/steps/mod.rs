//! The steps, in the order in which they are played.

mod across;
mod distribution;
mod inward;
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

use super::{
    cast::{HTTP, Pod},
    scene::Scene,
};

/// One step of the demo.
pub(super) struct Step {
    /// What it is about.
    pub(super) headline: &'static str,
    /// Runs commands, and says what they prove.
    pub(super) play: fn(&mut Scene) -> Result<()>,
}

/// All of them.
pub(super) const STEPS: [Step; 16] = [
    Step { headline: "Two nodes, a router, an outside", play: wires::nodes_and_outside },
    Step { headline: "The nodes' pods, as the kernel has them", play: node::pods_and_bridge },
    Step { headline: "Pod to pod across nodes, IPv4 and IPv6", play: across::pod_to_pod },
    Step { headline: "What makes it so: routes and the overlay", play: across::overlay },
    Step { headline: "Pod to outside: masquerade", play: outward::masquerade },
    Step { headline: "A ClusterIP is on no interface", play: node::cluster_ip_is_nowhere },
    Step { headline: "HTTP from a pod through a ClusterIP, IPv4 and IPv6", play: reach::http },
    Step {
        headline: "300 connections over 3 backends on 2 nodes",
        play: distribution::three_backends,
    },
    Step { headline: "UDP request and response, IPv4 and IPv6", play: reach::udp },
    Step {
        headline: "A pod that is its Service's only backend reaches itself",
        play: reach::hairpin,
    },
    Step {
        headline: "The node's own processes reach ClusterIPs, and pods reach the node",
        play: own_process::both_ways,
    },
    Step { headline: "Outside to NodePort, policies Cluster and Local", play: inward::node_ports },
    Step { headline: "What cannot be served is refused at once", play: refusal::all },
    Step { headline: "An agent is killed in the middle of a transfer", play: restart::killed },
    Step { headline: "A pod is added, and traffic reaches it", play: scaling::one_more },
    Step { headline: "Who carried all this, and who did not", play: witness::counters },
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
