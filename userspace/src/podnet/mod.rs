//! The node's pod network: namespaces, veth pairs, the bridge, addresses and routes, all through rtnetlink.

use std::net::IpAddr;

use maps_schema::address::PodLink;

use crate::cluster::model::ObjectName;

/// A pod that has its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// The pod.
    pub pod: ObjectName,
    /// The name of its network namespace: `<namespace>.<name>`.
    pub netns: String,
    /// The cookie of its network namespace (`SO_NETNS_COOKIE`).
    pub netns_cookie: u64,
    /// The name of the host end of its veth pair.
    pub host_interface: String,
    /// The index of the host end, and the Ethernet address of the pod's `eth0`.
    pub link: PodLink,
    /// The addresses of its `eth0`, at most one per family.
    pub addresses: Vec<IpAddr>,
}
