//! The cast in network namespaces: the node, its pods, the other node with its own, a client's host
//! and the next hop of all else, on one wire.
//!
//! Clients reach the services' addresses by way of the node. What the node sends on untouched
//! arrives at the gateway, which has every address that is nobody's, and answers by way of the node,
//! too: so its connection tracking sees both directions, as it does where a router stands there.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use super::{
    answering::{Servers, bind_all},
    client::{self, Outcome},
    cluster::Transport,
    places::{Home, Places, outside, transport, written_in},
};
use crate::{
    conformance::{Cast, Packet, Side},
    netns::NetNamespace,
    process,
    traffic::icmp::{self, EchoOutcome},
};

/// The clients' host on the wire that the nodes are on.
const OUTSIDE_ON_THE_WIRE: &str = "192.168.0.254";
/// The bridge of the other node's pods.
const OTHER_BRIDGE: &str = "10.244.1.1";
/// Source ports are taken from here on, each once: nothing that is remembered of a flow can then
/// meddle with another.
const FIRST_PORT: u16 = 33_000;

/// The namespaces, with servers in them.
#[derive(Debug)]
pub struct World {
    cast: Cast,
    node: NetNamespace,
    others: BTreeMap<Home, NetNamespace>,
    port: AtomicU16,
    /// One echo request at a time: all have the same identifier.
    echo: Mutex<()>,
    servers: Vec<Servers>,
}

impl World {
    /// Lays the wires between all but the node's own pods. The node has its two interfaces.
    pub fn lay(cast: &Cast, places: &Places) -> Self {
        let wire = NetNamespace::create("wire");
        batch(&wire, &["link add wire type bridge".into(), "link set wire up".into()]);
        let node = end(&wire, &cast.own_node);
        let gateway = end(&wire, "gateway");
        let other = end(&wire, "node02");
        let clients = end(&wire, "outside");
        let length = cast.node_network.prefix_len();
        let on_wire = written_in(cast.family, OUTSIDE_ON_THE_WIRE);
        let outside = outside(cast.family);
        let (own, far, hop) = (cast.address, cast.other_node, cast.gateway);
        for netns in [&node, &other] {
            forward(netns);
        }
        batch(
            &node,
            &[
                address(&format!("{own}/{length}"), "eth0"),
                "link add eth1 type veth peer name alternate netns wire".into(),
                address(
                    &format!("{}/{}", cast.alternate, cast.alternate_network.prefix_len()),
                    "eth1",
                ),
                "link set eth1 up".into(),
                format!("route add {outside} via {on_wire}"),
                format!("route add default via {hop}"),
            ],
        );
        wire.ip("link set alternate up");
        batch(
            &other,
            &[address(&format!("{far}/{length}"), "eth0"), format!("route add default via {own}")],
        );
        batch(
            &clients,
            &[
                address(&format!("{on_wire}/{length}"), "eth0"),
                format!("route add default via {own}"),
            ],
        );
        batch(
            &gateway,
            &[address(&format!("{hop}/{length}"), "eth0"), format!("route add default via {own}")],
        );
        for (home, netns) in [(Home::Outside, &clients), (Home::Gateway, &gateway)] {
            let addresses = places.addresses.get(&home).into_iter().flatten();
            let lines: Vec<String> = addresses
                .filter(|at| **at != hop)
                .map(|at| address(&at.to_string(), "lo"))
                .collect();
            batch(netns, &lines);
        }
        let bridge = written_in(cast.family, OTHER_BRIDGE);
        let bridge: IpAddr = bridge.parse().expect("an address");
        let mut others =
            pods(&other, bridge, cast.other_pod_cidr.prefix_len(), places.other_pods())
                .into_iter()
                .map(|(address, netns)| (Home::OtherPod(address), netns))
                .collect::<BTreeMap<_, _>>();
        others.insert(Home::OtherNode, other);
        others.insert(Home::Outside, clients);
        others.insert(Home::Gateway, gateway);
        Self {
            cast: cast.clone(),
            node,
            others,
            port: AtomicU16::new(FIRST_PORT),
            echo: Mutex::new(()),
            servers: Vec::new(),
        }
    }

    /// Makes the node's own pods, on a bridge, and the route to the other node's.
    pub fn add_own_pods(&mut self, places: &Places) {
        let cast = &self.cast;
        let made = pods(&self.node, cast.bridge, cast.pod_cidr.prefix_len(), places.pods());
        let route = format!("route add {} via {}", cast.other_pod_cidr, cast.other_node);
        batch(&self.node, &[route]);
        self.others.extend(made.into_iter().map(|(address, netns)| (Home::Pod(address), netns)));
    }

    /// Takes the node's own pods as somebody else has made them.
    pub fn adopt_own_pods(&mut self, pods: impl IntoIterator<Item = (IpAddr, NetNamespace)>) {
        self.others.extend(pods.into_iter().map(|(address, netns)| (Home::Pod(address), netns)));
    }

    /// Starts all servers. Those that the kernel has no protocol for, and those whose place is taken
    /// on the node, are left out.
    pub fn serve(&mut self, places: &Places) {
        for (home, wanted) in &places.servers {
            let netns = self.netns(*home).expect("everybody has a namespace").clone();
            let wanted: Vec<(Transport, SocketAddr)> =
                wanted.iter().filter(|(it, _)| *it != Transport::Sctp).copied().collect();
            let (bound, failed) = bind_all(&netns, &wanted);
            for (at, error) in failed {
                assert!(*home == Home::Node, "{home:?}: binding {at}: {error}");
                eprintln!("no server of ours at {at}: {error}");
            }
            self.servers.push(Servers::start(bound));
        }
    }

    /// The node.
    pub fn node(&self) -> &NetNamespace {
        &self.node
    }

    /// The namespace of somebody who is there.
    pub fn netns(&self, home: Home) -> Option<&NetNamespace> {
        match home {
            Home::Node => Some(&self.node),
            other => self.others.get(&other),
        }
    }

    /// Who sends a packet; the reason where nobody of this world can.
    pub fn sender(&self, packet: &Packet) -> Result<Home, &'static str> {
        let home = Home::of(&self.cast, packet.source);
        match (packet.side, home) {
            // A service's address: the node can have it, for as long as it sends.
            (Side::Node, Home::Gateway) => Ok(Home::Node),
            (Side::Node, Home::Node)
            | (Side::Pod, Home::Pod(_))
            | (Side::Outside, Home::OtherNode | Home::OtherPod(_) | Home::Outside) => Ok(home),
            _ => Err("its sender has an address that no client of this world can have"),
        }
    }

    /// Does something while the node has an address that is not its own.
    pub fn with_borrowed<T>(&self, packet: &Packet, work: impl FnOnce() -> T) -> T {
        let length = if packet.source.is_ipv4() { 32 } else { 128 };
        let borrowed = format!("{}/{length}", packet.source);
        batch(&self.node, &[address(&borrowed, "lo")]);
        let result = work();
        batch(&self.node, &[format!("address delete {borrowed} dev lo")]);
        result
    }

    /// Whether the node has to borrow the address that a packet comes from.
    pub fn is_borrowed(&self, packet: &Packet) -> bool {
        packet.side == Side::Node && Home::of(&self.cast, packet.source) == Home::Gateway
    }

    /// Sends a packet as the first of a real connection, so many times, and tells what came of
    /// each; ends early where `enough` says so.
    pub fn send(
        &self,
        from: Home,
        packet: &Packet,
        patience: Duration,
        times: usize,
        enough: impl Fn(&[Outcome]) -> bool + Sync,
    ) -> Vec<Outcome> {
        let netns = self.netns(from).expect("everybody has a namespace");
        netns.run(|| {
            let mut outcomes = Vec::new();
            while outcomes.len() < times && !enough(&outcomes) {
                outcomes.push(match transport(packet.protocol) {
                    Some(transport) => self.connect(transport, packet, patience),
                    None => self.ping(packet),
                });
            }
            outcomes
        })
    }

    fn connect(&self, transport: Transport, packet: &Packet, patience: Duration) -> Outcome {
        let port = self.port.fetch_add(1, Ordering::Relaxed);
        assert!(port >= FIRST_PORT, "all source ports have been used");
        // The node's first address, or a loopback one, is what its kernel chooses by itself.
        let source = match packet.source {
            address if address != self.cast.address && !address.is_loopback() => address,
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        client::ask(transport, SocketAddr::new(source, port), packet.destination, patience)
    }

    fn ping(&self, packet: &Packet) -> Outcome {
        let _alone = self.echo.lock().unwrap_or_else(PoisonError::into_inner);
        let own = SocketAddr::new(packet.source, 0);
        match icmp::echo(packet.destination.ip()) {
            EchoOutcome::Reply => Outcome::Answered { by: packet.destination, seen: own, own },
            EchoOutcome::Unreachable { .. } => Outcome::Refused,
            EchoOutcome::Expired { from } => Outcome::Failed(format!("a loop, says {from}")),
            EchoOutcome::Silence => Outcome::Silence,
        }
    }
}

/// Makes a namespace with an `eth0` on the wire. Whatever is true of its family's packets only is
/// not asked for: they may come another way than answers go, and nobody is told of shorter ways.
fn end(wire: &NetNamespace, name: &str) -> NetNamespace {
    let netns = NetNamespace::create(name);
    be_plain(&netns);
    wire.ip(&format!("link add to-{name} type veth peer name eth0 netns {name}"));
    batch(wire, &[format!("link set to-{name} master wire up")]);
    netns.ip("link set eth0 up");
    netns
}

/// Makes pods on a bridge of a node. Each has its address alone, so that even what is for a
/// neighbour passes the node, whose connection tracking must see it.
fn pods(
    node: &NetNamespace,
    bridge: IpAddr,
    length: u8,
    addresses: impl Iterator<Item = IpAddr>,
) -> Vec<(IpAddr, NetNamespace)> {
    batch(
        node,
        &[
            // Rules see packets where they are routed, not where the bridge takes them up.
            "link add cni0 type bridge nf_call_iptables 0 nf_call_ip6tables 0".into(),
            address(&format!("{bridge}/{length}"), "cni0"),
            "link set cni0 up".into(),
        ],
    );
    for family in ["", "6"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-ip{family}tables");
        // Where the kernel has it: it is the default of all bridges.
        let _ = node.run(|| fs::write(&path, "0"));
    }
    addresses
        .enumerate()
        .map(|(number, at)| {
            let name = format!("pod{number}-{}", node.name());
            let netns = NetNamespace::create(&name);
            be_plain(&netns);
            batch(
                node,
                &[
                    format!("link add veth{number} type veth peer name eth0 netns {name}"),
                    format!("link set veth{number} master cni0 up"),
                ],
            );
            batch(
                &netns,
                &[
                    address(&at.to_string(), "eth0"),
                    "link set eth0 up".into(),
                    format!("route add {bridge} dev eth0"),
                    format!("route add default via {bridge}"),
                ],
            );
            (at, netns)
        })
        .collect()
}

/// `address add` of an address with or without its prefix length, usable at once.
fn address(address: &str, interface: &str) -> String {
    let no_dad = if address.contains(':') { " nodad" } else { "" };
    format!("address add {address} dev {interface}{no_dad}")
}

/// Runs lines of `ip`, all in one go.
fn batch(netns: &NetNamespace, lines: &[String]) {
    let path = format!("/run/test/{}.batch", netns.name());
    fs::write(&path, lines.join("\n") + "\n").expect("writing commands for ip");
    process::must(netns.command("ip").args(["-batch", &path]));
}

fn be_plain(netns: &NetNamespace) {
    let settings = ["all", "default"].map(|scope| {
        [
            (format!("ipv4/conf/{scope}/rp_filter"), "0"),
            (format!("ipv4/conf/{scope}/send_redirects"), "0"),
            (format!("ipv4/conf/{scope}/accept_redirects"), "0"),
            (format!("ipv6/conf/{scope}/accept_redirects"), "0"),
            (format!("ipv6/conf/{scope}/accept_dad"), "0"),
        ]
    });
    set(netns, &settings.concat());
}

fn forward(netns: &NetNamespace) {
    set(
        netns,
        &[
            ("ipv4/ip_forward".into(), "1"),
            ("ipv6/conf/all/forwarding".into(), "1"),
            // An echo request that comes again shall be a new flow.
            ("netfilter/nf_conntrack_icmp_timeout".into(), "1"),
            ("netfilter/nf_conntrack_icmpv6_timeout".into(), "1"),
            // Many clients are refused in a short time.
            ("ipv4/icmp_ratelimit".into(), "0"),
            ("ipv6/icmp/ratelimit".into(), "0"),
            ("ipv4/icmp_msgs_per_sec".into(), "1000000"),
            ("ipv4/icmp_msgs_burst".into(), "1000000"),
        ],
    );
}

/// Sets kernel parameters of a namespace, below `/proc/sys/net`.
pub fn set(netns: &NetNamespace, settings: &[(String, &str)]) {
    netns.run(|| {
        for (name, value) in settings {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .unwrap_or_else(|error| panic!("setting {name} to {value}: {error}"));
        }
    });
}
