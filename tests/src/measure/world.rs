//! The node that the measured packets meet: that of [`uplink_world`], with pods, and with services
//! that pods ask for.

use std::{fs, net::IpAddr};

use datapath::testing::{
    node::{Endpoint, Node},
    tables::ArraySizes,
};
use maps_schema::{
    address::{Family, IfIndex, Mac, PodLink, Protocol},
    replay::Replay,
    service::{Audience, ClientAddress},
    way::Way,
};

use crate::{
    packets::{
        uplink_world::{self, PEER},
        world::{pod, service},
    },
    process::{mortal_command, must},
};

/// The pod that asks.
pub const CLIENT: u8 = 2;
/// The first of the pods that answer, and the first of their services, one each.
pub const FIRST: u8 = 100;
/// How many there are: flows differ by them where ports are not enough.
pub const SERVICES: u8 = 32;
/// The service that has no endpoint.
pub const EMPTY: u8 = 90;
/// The service whose endpoint is a pod of another node.
pub const REMOTE: u8 = 91;
/// The service whose endpoint is the node.
pub const OWN: u8 = 92;
/// The node port that leads to a pod of this node, and keeps the client's address.
pub const KEPT_PORT: u16 = 30099;
/// The port of all services.
pub const PORT: u16 = 80;
/// The port of all endpoints.
pub const TARGET_PORT: u16 = 8080;

/// The host end of a pod's veth pair: the client's, and that which all pods that answer share.
pub fn link(number: u8) -> PodLink {
    let interface = if number == CLIENT { 301 } else { 302 };
    PodLink { interface: IfIndex::new(interface), mac: mac(number) }
}

fn mac(number: u8) -> Mac {
    Mac::from_bytes(crate::packets::world::mac(number))
}

/// A pod of the other node.
pub fn remote_pod(family: Family) -> IpAddr {
    uplink_world::Backend::Routed.address(family)
}

/// An address off the cluster; the last byte of others like it is higher.
pub fn outside(family: Family) -> IpAddr {
    uplink_world::client(family)
}

/// The node, with room for that many connection entries per family.
pub fn node(capacity: usize) -> Node {
    let mut node = uplink_world::node();
    for tables in [&mut node.v4.connection_capacity, &mut node.v6.connection_capacity] {
        *tables = capacity;
    }
    let sizes = ArraySizes { services: 1024, slots: 1024, backends: 1024 };
    node.v4.arrays.sizes = sizes;
    node.v6.arrays.sizes = sizes;
    for family in [Family::V4, Family::V6] {
        node.add_pod(pod(family, CLIENT), link(CLIENT));
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let mut add = |number, address, way| {
                let endpoint = Endpoint { address, port: TARGET_PORT, way };
                node.add_service(service(family, number), PORT, protocol, &[endpoint]);
            };
            for number in FIRST..FIRST + SERVICES {
                add(number, pod(family, number), Way::Pod(link(number)));
            }
            let endpoint = Endpoint {
                address: pod(family, FIRST),
                port: TARGET_PORT,
                way: Way::Pod(link(FIRST)),
            };
            let kept =
                node.add_service(uplink_world::own(family), KEPT_PORT, protocol, &[endpoint]);
            let outside = (Audience::Outside, ClientAddress::Kept);
            node.lead(uplink_world::own(family), KEPT_PORT, protocol, outside, kept);
            let mut add = |number, address, way| {
                let endpoint = Endpoint { address, port: TARGET_PORT, way };
                node.add_service(service(family, number), PORT, protocol, &[endpoint]);
            };
            add(REMOTE, remote_pod(family), Way::Tunnel(PEER));
            add(OWN, uplink_world::own(family), Way::Stack);
            node.add_service(service(family, EMPTY), PORT, protocol, &[]);
        }
        // The interface of those that answer is the first one's, for the check of sources.
        for number in (FIRST..FIRST + SERVICES).rev() {
            node.add_pod(pod(family, number), link(number));
        }
        node.add_own_address(uplink_world::own(family));
    }
    let (v4, v6) = (Family::V4, Family::V6);
    node.add_network(service(v4, 0), 16, Way::Nowhere);
    node.add_network(service(v6, 0), 32, Way::Nowhere);
    node.add_network(remote_pod(v4), 32, Way::Tunnel(PEER));
    node.add_network(remote_pod(v6), 128, Way::Tunnel(PEER));
    node.add_network("0.0.0.0".parse().expect("an address"), 0, Way::Outside);
    node.add_network("::".parse().expect("an address"), 0, Way::Outside);
    node
}

/// Makes the pods' interfaces in the calling thread's network namespace, which is its own.
pub fn make_interfaces() {
    for number in [CLIENT, FIRST] {
        let (name, peer) = (format!("pod{number}"), format!("peer{number}"));
        let index = link(number).interface.get().to_string();
        let pair = ["type", "veth", "peer", "name", &peer];
        must(mortal_command("ip").args(["link", "add", &name, "index", &index]).args(pair));
        must(mortal_command("ip").args(["link", "set", &name, "up"]));
    }
    // Where masqueraded flows go: as many next hops as there are addresses.
    fs::write("/proc/sys/net/ipv4/neigh/default/gc_thresh1", "1024").ok();
}

/// How many flows there are at most: by port, and by address.
pub const FLOWS: u32 = (SERVICES as u32) << Replay::PORT_BITS;
