//! Nodes, a router and an outside as network namespaces with wires between them; nothing of shunt.
//!
//! No wire leads to the machine, and no namespace has a route out of the simulation: the router has
//! no default route. So a packet for anywhere else ends at the router with an ICMP error.

use crate::{
    netns::NetNamespace,
    topology::{
        addresses::{self, NAMES, Segment},
        card,
    },
};

/// How the nodes hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All nodes on one link, with the router on it too: direct routes can be installed.
    OneLink,
    /// Each node in its own subnet behind the router.
    Routed,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Layout {
    shape: Shape,
    nodes: usize,
    narrow_outside: Option<u32>,
    narrow_node: Option<(usize, u32)>,
    cards: bool,
}

impl Layout {
    /// So many nodes on one link.
    pub fn one_link(nodes: usize) -> Self {
        Self::new(Shape::OneLink, nodes)
    }

    /// So many nodes, each in its own subnet behind the router.
    pub fn routed(nodes: usize) -> Self {
        Self::new(Shape::Routed, nodes)
    }

    fn new(shape: Shape, nodes: usize) -> Self {
        assert!(nodes <= NAMES.len(), "a topology has {} nodes at most", NAMES.len());
        Self { shape, nodes, narrow_outside: None, narrow_node: None, cards: false }
    }

    /// Puts a hop between the router and the outside, and a link of this MTU, in bytes, before it.
    /// Both ends still think that packets of 1,500 bytes pass.
    #[must_use]
    pub fn narrow_outside(mut self, mtu: u32) -> Self {
        self.narrow_outside = Some(mtu);
        self
    }

    /// The same between the router and a node of the routed shape.
    #[must_use]
    pub fn narrow_node(mut self, node: usize, mtu: u32) -> Self {
        assert!(
            self.shape == Shape::Routed,
            "a link that nodes share has no hop before one of them"
        );
        self.narrow_node = Some((node, mtu));
        self
    }

    /// Has every wire behave as one between network cards, which XDP programs need that send:
    /// finished checksums, and receivers with NAPI.
    #[must_use]
    pub fn cards(mut self) -> Self {
        self.cards = true;
        self
    }
}

/// The namespaces.
#[derive(Debug)]
pub struct Network {
    layout: Layout,
    nodes: Vec<NetNamespace>,
    router: NetNamespace,
    outside: NetNamespace,
    /// The hop before the node that has one, and the hop before the outside.
    hops: (Option<NetNamespace>, Option<NetNamespace>),
}

impl Network {
    /// Builds it out of namespaces that `make` makes, with `lo` up, by the names that it is given:
    /// those of the nodes, `router`, `outside`, `hop-node` and `hop-outside`.
    pub fn lay(layout: Layout, make: impl Fn(&str) -> NetNamespace) -> Self {
        let names = NAMES.iter().take(layout.nodes);
        let network = Self {
            nodes: names.map(|name| make(name)).collect(),
            router: make("router"),
            outside: make("outside"),
            hops: (
                layout.narrow_node.map(|_| make("hop-node")),
                layout.narrow_outside.map(|_| make("hop-outside")),
            ),
            layout,
        };
        be_lenient(&network.outside);
        for netns in [&network.router].into_iter().chain(&network.hops.0).chain(&network.hops.1) {
            be_lenient(netns);
            forward(netns);
        }
        network.connect_nodes();
        network.connect_outside();
        network
    }

    /// The namespace of a node.
    pub fn node(&self, node: usize) -> &NetNamespace {
        &self.nodes[node]
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The router.
    pub fn router(&self) -> &NetNamespace {
        &self.router
    }

    /// A host behind the router that is no node.
    pub fn outside(&self) -> &NetNamespace {
        &self.outside
    }

    /// Has the router send what is for `prefix` to a node; to several: spread by addresses and
    /// ports.
    pub fn route(&self, prefix: &str, nodes: &[usize]) {
        let family = usize::from(prefix.contains(':'));
        let hops: Vec<String> = nodes
            .iter()
            .map(|node| {
                let next = match self.hop_before(*node) {
                    Some(hop) => {
                        let end = addresses::node(*node)[family];
                        hop.ip(&format!("{} route replace {prefix} via {end}", flag(prefix)));
                        addresses::transit_to_node(*node).host(2)[family]
                    }
                    None => addresses::node(*node)[family],
                };
                format!("nexthop via {next}")
            })
            .collect();
        self.router.ip(&format!("{} route replace {prefix} {}", flag(prefix), hops.join(" ")));
    }

    /// Undoes [`Self::route`].
    pub fn unroute(&self, prefix: &str) {
        self.router.ip(&format!("{} route delete {prefix}", flag(prefix)));
    }

    /// Has the router know where each node's pods are, as a routing daemon would tell it.
    pub fn announce_pods(&self) {
        for node in 0..self.nodes() {
            for prefix in addresses::pod_segment(node).prefixes() {
                self.route(&prefix, &[node]);
            }
        }
    }

    fn connect_nodes(&self) {
        match self.layout.shape {
            Shape::Routed => {
                for (number, node) in self.nodes.iter().enumerate() {
                    let segment = addresses::node_segment(number);
                    let transit = addresses::transit_to_node(number);
                    self.connect(node, &segment, self.hop_before(number), &transit);
                }
            }
            Shape::OneLink => {
                self.router.ip("link add wire type bridge");
                add_addresses(&self.router, "wire", &["172.30.0.1/16", "fd00:172:30::1/48"]);
                bring_up(&self.router, "wire");
                for (number, node) in self.nodes.iter().enumerate() {
                    let port = self.wire(&self.router, node);
                    self.router.ip(&format!("link set {port} master wire"));
                    let [v4, v6] = addresses::node(number);
                    add_addresses(node, "eth0", &[&format!("{v4}/16"), &format!("{v6}/48")]);
                    default_route(node, "172.30.0.1", "fd00:172:30::1");
                }
            }
        }
    }

    fn connect_outside(&self) {
        let segment = addresses::outside_segment();
        let transit = addresses::transit_to_outside();
        self.connect(&self.outside, &segment, self.hops.1.as_ref(), &transit);
        if let Some(mtu) = self.layout.narrow_outside {
            self.narrow(self.hops.1.as_ref(), mtu);
        }
        if let Some((_, mtu)) = self.layout.narrow_node {
            self.narrow(self.hops.0.as_ref(), mtu);
        }
    }

    /// A wire from the router to an end, or over a hop, and the routes that it takes.
    fn connect(
        &self,
        end: &NetNamespace,
        segment: &Segment,
        hop: Option<&NetNamespace>,
        transit: &Segment,
    ) {
        let gateway = hop.unwrap_or(&self.router);
        let port = self.wire(gateway, end);
        add_addresses(gateway, &port, &segment.host_with_length(1));
        add_addresses(end, "eth0", &segment.host_with_length(2));
        let [v4, v6] = segment.host(1).map(|address| address.to_string());
        default_route(end, &v4, &v6);
        if let Some(hop) = hop {
            let port = self.wire(&self.router, hop);
            add_addresses(&self.router, &port, &transit.host_with_length(1));
            add_addresses(hop, "eth0", &transit.host_with_length(2));
            let [v4, v6] = transit.host(1).map(|address| address.to_string());
            default_route(hop, &v4, &v6);
            for (prefix, next) in segment.prefixes().iter().zip(transit.host(2)) {
                self.router.ip(&format!("{} route add {prefix} via {next}", flag(prefix)));
            }
        }
    }

    /// A wire that ends in `eth0` of `end`; returns the name of its other end.
    fn wire(&self, from: &NetNamespace, end: &NetNamespace) -> String {
        let port = format!("to-{}", end.name());
        assert!(port.len() < 16, "{port} is too long for an interface");
        from.ip(&format!("link add {port} type veth peer name eth0 netns {}", end.name()));
        for (netns, interface) in [(from, port.as_str()), (end, "eth0")] {
            if self.layout.cards {
                card::behave(netns, interface);
            }
            bring_up(netns, interface);
        }
        if self.layout.cards {
            card::receive_what_is_sent_back(from, &port);
        }
        port
    }

    fn narrow(&self, hop: Option<&NetNamespace>, mtu: u32) {
        let hop = hop.expect("a narrow link has a hop behind it");
        hop.ip(&format!("link set eth0 mtu {mtu}"));
        self.router.ip(&format!("link set to-{} mtu {mtu}", hop.name()));
    }

    fn hop_before(&self, node: usize) -> Option<&NetNamespace> {
        let (number, _) = self.layout.narrow_node?;
        self.hops.0.as_ref().filter(|_| number == node)
    }
}

/// Reads `-4` or `-6` off a prefix.
fn flag(prefix: &str) -> &'static str {
    if prefix.contains(':') { "-6" } else { "-4" }
}

fn add_addresses(netns: &NetNamespace, interface: &str, addresses: &[impl AsRef<str>]) {
    for address in addresses {
        let address = address.as_ref();
        let no_dad = if address.contains(':') { " nodad" } else { "" };
        netns.ip(&format!("address add {address} dev {interface}{no_dad}"));
    }
}

fn default_route(netns: &NetNamespace, v4: &str, v6: &str) {
    netns.ip(&format!("-4 route add default via {v4}"));
    netns.ip(&format!("-6 route add default via {v6}"));
}

/// Brings a link up, with its link-local address usable at once: until the kernel has made sure that
/// nobody else has it (DAD), a router asks for no neighbour's hardware address.
fn bring_up(netns: &NetNamespace, interface: &str) {
    set(netns, &format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad"), "0");
    netns.ip(&format!("link set {interface} up"));
}

/// Packets may come another way than answers go, as they do with direct server return.
fn be_lenient(netns: &NetNamespace) {
    for scope in ["all", "default"] {
        set(netns, &format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter"), "0");
    }
}

/// Makes a router, which spreads flows over several next hops by their ports too.
fn forward(netns: &NetNamespace) {
    for (setting, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/fib_multipath_hash_policy", "1"),
        ("ipv6/fib_multipath_hash_policy", "1"),
    ] {
        set(netns, &format!("/proc/sys/net/{setting}"), value);
    }
}

fn set(netns: &NetNamespace, path: &str, value: &str) {
    netns
        .run(|| std::fs::write(path, value))
        .unwrap_or_else(|error| panic!("writing {value} to {path}: {error}"));
}
