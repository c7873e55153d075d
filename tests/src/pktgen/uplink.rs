//! From outside to a node port, whose endpoint is on another node: packets come by the uplink, and
//! leave by it again.

use std::net::{IpAddr, SocketAddr};

use maps_schema::address::Family;
use serde_json::Value;

use super::{
    Contender, Way,
    place::{
        self, NODE, NODE_ADDRESSES, POD_CIDRS, Place, TARGET_PORT, hardware_address, index,
        remember,
    },
};
use crate::{
    agent::Agent,
    manifests::{self, ManifestDir, ip},
    netns::NetNamespace,
    node::Node,
    oracle::world,
    sandbox::Sandbox,
    topology::card,
    traffic::{Protocol, from_port, server::Server},
};

const OTHER: &str = "node2";

const OTHER_POD_CIDRS: [&str; 2] = ["10.244.2.0/24", "fd00:10:244:2::/64"];

/// The other node's, which is behind the sender's machine.
const OTHER_ADDRESSES: [&str; 2] = ["172.30.1.3", "fd00:172:30:1::3"];
const SENDER: [&str; 2] = ["172.30.1.9", "fd00:172:30:1::9"];
/// The lengths of these networks' prefixes.
const PREFIXES: [u8; 2] = [24, 64];

/// The endpoint of all Services.
const ENDPOINT: [&str; 2] = ["10.244.2.11", "fd00:10:244:2::11"];
/// The node port of the first Service.
const FIRST_NODE_PORT: u16 = 30000;

/// A node with an uplink, and one machine behind it: the sender, and the way to the other node.
#[derive(Debug)]
pub(super) struct Uplink {
    agent: Agent,
    node: Node,
    manifests: ManifestDir,
    outside: NetNamespace,
    services: u16,
    objects: Vec<Value>,
}

impl Uplink {
    /// Has an agent make it all, with so many Services and the XDP program, and stops the agent.
    pub(super) fn make(sandbox: &Sandbox, services: u32) -> Self {
        let node = Node::new(sandbox, NODE);
        let outside = NetNamespace::create("outside");
        let other = NetNamespace::create(OTHER);
        join(&node, &outside);
        make_other(&outside, &other);

        let manifests = ManifestDir::create(&sandbox.root().join("manifests"));
        manifests.write(
            "nodes.yaml",
            &[
                manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES),
                manifests::node(OTHER, &OTHER_POD_CIDRS, &OTHER_ADDRESSES),
            ],
        );
        let services = u16::try_from(services).expect("a node port for each Service");
        let endpoints = ENDPOINT.map(|address| vec![ip(address)]);
        let exposed = |number: u16| {
            let [service, slices @ ..] = place::service(number.into(), OTHER, &endpoints);
            let service = manifests::with_node_ports(service, &[FIRST_NODE_PORT + number]);
            [service].into_iter().chain(slices)
        };
        let objects: Vec<Value> = (0..services).flat_map(exposed).collect();
        manifests.write("services.yaml", &objects);
        let agent = node.run_agent(&manifests, &arguments("native"));
        let mut uplink = Self { agent, node, manifests, outside, services, objects };
        uplink.settle();
        uplink
    }

    /// Leaves packets to the TC program.
    pub(super) fn take_xdp_away(&mut self) {
        self.agent = self.node.run_agent(&self.manifests, &arguments("off"));
        self.settle();
    }

    /// Leaves packets to others than shunt.
    pub(super) fn leave_to_others(&self) {
        place::leave_to_others(&self.node);
    }

    /// Waits for the agent, and stops it, so that nothing runs beside the packets.
    fn settle(&mut self) {
        self.agent.wait_ready();
        self.agent.sigterm();
    }
}

impl Place for Uplink {
    fn way(&self) -> Way {
        Way::NodePort
    }

    fn netns(&self) -> &NetNamespace {
        self.node.netns()
    }

    fn arrival(&self) -> String {
        "eth0".to_owned()
    }

    fn objects(&self) -> &[Value] {
        &self.objects
    }

    fn services(&self, family: Family) -> Vec<(SocketAddr, Vec<SocketAddr>)> {
        let endpoint = SocketAddr::new(self.endpoint(family), TARGET_PORT);
        let at = |number| SocketAddr::new(at(NODE_ADDRESSES, family), FIRST_NODE_PORT + number);
        (0..self.services).map(|number| (at(number), vec![endpoint])).collect()
    }

    fn sender(&self) -> NetNamespace {
        self.outside.clone()
    }

    fn source(&self, family: Family) -> IpAddr {
        at(SENDER, family)
    }

    fn service(&self, family: Family) -> SocketAddr {
        SocketAddr::new(at(NODE_ADDRESSES, family), FIRST_NODE_PORT + self.services / 2)
    }

    fn endpoint(&self, family: Family) -> IpAddr {
        at(ENDPOINT, family)
    }

    fn next_hop(&self, _: Contender) -> String {
        hardware_address(self.netns(), "eth0")
    }

    fn establish(&self, to: SocketAddr, port: u16) {
        let other = NetNamespace::open(OTHER).expect("the other node is there");
        let server = Server::udp(&other, OTHER, TARGET_PORT);
        self.outside
            .run(|| from_port::ask(Protocol::Udp, port, to))
            .unwrap_or_else(|error| panic!("{to} does not answer: {error}"));
        drop(server);
    }

    fn ends(&self) -> Vec<(NetNamespace, &'static str)> {
        vec![(self.outside.clone(), "eth0")]
    }

    /// No packet of these passes a bridge.
    fn rules_see_bridged_packets(&self, _: &'static str) {}
}

fn arguments(xdp: &str) -> [&str; 6] {
    ["--uplink", "eth0", "--routing", "direct", "--xdp", xdp]
}

/// The wire between the node and the machine outside, both ends like those of network cards.
fn join(node: &Node, outside: &NetNamespace) {
    outside.ip(&format!("link add eth0 type veth peer name eth0 netns {}", node.name()));
    for (netns, addresses) in [(outside, SENDER), (node.netns(), NODE_ADDRESSES)] {
        for (address, length) in addresses.into_iter().zip(PREFIXES) {
            let no_dad = if address.contains(':') { " nodad" } else { "" };
            netns.ip(&format!("address add {address}/{length} dev eth0{no_dad}"));
        }
        netns.ip("link set eth0 up");
        card::behave(netns, "eth0");
    }
    card::receive_what_is_sent_back(outside, "eth0");
    let (near, far) = (hardware_address(node.netns(), "eth0"), hardware_address(outside, "eth0"));
    for address in [SENDER, OTHER_ADDRESSES].as_flattened() {
        remember(node.netns(), ip(address), &far, "eth0");
    }
    for address in NODE_ADDRESSES {
        remember(outside, ip(address), &near, "eth0");
    }
}

/// The other node: a namespace with the endpoint's addresses, behind the machine outside.
fn make_other(outside: &NetNamespace, other: &NetNamespace) {
    outside.ip(&format!("link add other type veth peer name eth0 netns {}", other.name()));
    outside.ip("link set other up");
    other.ip("link set eth0 up");
    let forwarding = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    world::set(outside, &forwarding.map(|setting| (setting.into(), "1")));
    let (near, far) = (hardware_address(outside, "other"), hardware_address(other, "eth0"));
    for (own, gateway) in ENDPOINT.into_iter().zip(SENDER) {
        let (flag, no_dad) = if own.contains(':') { ("-6", " nodad") } else { ("-4", "") };
        other.ip(&format!("address add {own} dev eth0{no_dad}"));
        outside.ip(&format!("{flag} route add {own} dev other"));
        other.ip(&format!("{flag} route add {gateway} dev eth0"));
        other.ip(&format!("{flag} route add default via {gateway} dev eth0 src {own}"));
        remember(outside, ip(own), &far, "other");
        remember(other, ip(gateway), &near, "eth0");
    }
}

fn at(pair: [&str; 2], family: Family) -> IpAddr {
    ip(pair[index(family)])
}

#[test]
#[ignore = "needs root"]
fn a_node_port_answers_by_xdp_and_by_tc() {
    let Some(sandbox) = Sandbox::enter() else { return };
    let mut uplink = Uplink::make(&sandbox, 3);
    let ask = |uplink: &Uplink, port| {
        for family in [Family::V4, Family::V6] {
            uplink.establish(uplink.service(family), port);
        }
    };
    ask(&uplink, 1000);
    assert!(card::sent_back(uplink.netns(), "eth0") > 0, "XDP sends back what it has translated");
    uplink.take_xdp_away();
    let before = card::sent_back(uplink.netns(), "eth0");
    ask(&uplink, 1001);
    assert_eq!(card::sent_back(uplink.netns(), "eth0"), before, "TC does it now");
}
