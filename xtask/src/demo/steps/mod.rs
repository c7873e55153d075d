//! The steps, in the order in which they are played.

mod distribution;
mod node;
mod own_process;
mod reach;
mod refusal;
mod restart;
mod scaling;
mod witness;

use anyhow::Result;

use super::scene::Scene;

/// One step of the demo.
pub(super) struct Step {
    /// What it is about.
    pub(super) headline: &'static str,
    /// Runs commands, and says what they prove.
    pub(super) play: fn(&mut Scene) -> Result<()>,
}

/// All of them.
pub(super) const STEPS: [Step; 11] = [
    Step { headline: "The node and its pods, as the kernel has them", play: node::pods_and_bridge },
    Step { headline: "A ClusterIP is on no interface", play: node::cluster_ip_is_nowhere },
    Step { headline: "HTTP from a pod through a ClusterIP, IPv4 and IPv6", play: reach::http },
    Step { headline: "300 connections over 3 backends", play: distribution::three_backends },
    Step { headline: "UDP request and response, IPv4 and IPv6", play: reach::udp },
    Step {
        headline: "A pod that is its Service's only backend reaches itself",
        play: reach::hairpin,
    },
    Step {
        headline: "The node's own processes reach ClusterIPs, and pods reach the node",
        play: own_process::both_ways,
    },
    Step { headline: "What cannot be served is refused at once", play: refusal::all },
    Step { headline: "The agent is killed in the middle of a transfer", play: restart::killed },
    Step { headline: "A pod is added, and traffic reaches it", play: scaling::one_more },
    Step { headline: "Who carried all this, and who did not", play: witness::counters },
];

/// The addresses of Service `web`, as they stand in a URL.
const WEB: [&str; 2] = ["10.96.45.123", "[fd00:10:96::45:123]"];

/// The family of an address of [`WEB`], and its kin.
fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}
