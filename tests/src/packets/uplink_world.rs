//! A node with an uplink, for packets that come in by it: what it knows, and what its neighbours
//! are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use datapath::testing::{
    node::{Endpoint, Node, NodeFamily},
    packet::{Packet, Sctp, Tcp, Transport, Udp, chunks, flags},
};
use maps_schema::{
    address::{AddressPair, Family, IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Protocol},
    service::{Audience, ClientAddress, ServiceId},
    way::{Node as PeerNode, NodeId, Way},
};

/// The Ethernet address of the uplink.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// The Ethernet address of everybody else on its link.
pub const HOP_MAC: [u8; 6] = [2, 0, 0, 0, 3, 2];
/// The Ethernet address of the second uplink.
pub const SECOND_MAC: [u8; 6] = [2, 0, 0, 0, 4, 1];
/// The Ethernet address of the other nodes' overlay devices.
pub const OVERLAY_MAC: [u8; 6] = [2, 0x73, 172, 18, 0, 3];

/// The other node, reached on IPv4.
pub const PEER: NodeId = NodeId(1);
/// The other node, reached on IPv6.
pub const PEER_V6: NodeId = NodeId(2);

/// A way out that the node ports stand for, one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// By the node's routes, to a pod of the other node.
    Routed,
    /// The same, the client's address kept.
    RoutedKept,
    /// In VXLAN on IPv4.
    Tunnelled,
    /// In VXLAN on IPv6.
    TunnelledV6,
    /// Handed over in VXLAN.
    Handed,
    /// To an endpoint that is no pod.
    Elsewhere,
    /// The same, behind the second uplink.
    ElsewhereBySecond,
    /// The same, by an interface that is no uplink.
    ElsewhereByNone,
    /// The same, whose Ethernet address nobody knows.
    Silent,
    /// To a pod of this node.
    Local,
    /// To a process of this node.
    Own,
    /// There is none.
    Absent,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Routed,
        Self::RoutedKept,
        Self::Tunnelled,
        Self::TunnelledV6,
        Self::Handed,
        Self::Elsewhere,
        Self::ElsewhereBySecond,
        Self::ElsewhereByNone,
        Self::Silent,
        Self::Local,
        Self::Own,
        Self::Absent,
    ];

    /// The node port.
    pub const fn port(self) -> u16 {
        30080 + self as u16
    }

    /// The way to the endpoint.
    fn way(self) -> Way {
        match self {
            Self::Routed | Self::RoutedKept => Way::Route(PEER),
            Self::Tunnelled | Self::Handed => Way::Tunnel(PEER),
            Self::TunnelledV6 => Way::Tunnel(PEER_V6),
            Self::Elsewhere | Self::ElsewhereBySecond | Self::ElsewhereByNone | Self::Silent => {
                Way::Outside
            }
            Self::Local => Way::Pod(PodLink {
                interface: IfIndex::new(42),
                mac: Mac::from_bytes([2, 0, 0, 0, 1, 3]),
            }),
            Self::Own | Self::Absent => Way::Stack,
        }
    }

    const fn client(self) -> ClientAddress {
        match self {
            Self::Handed => ClientAddress::Direct,
            Self::RoutedKept => ClientAddress::Kept,
            _ => ClientAddress::Masqueraded,
        }
    }

    /// The endpoint's address.
    pub fn address(self, family: Family) -> IpAddr {
        match self {
            Self::Local => address(family, [244, 0], 3),
            Self::Own => own(family),
            Self::Elsewhere => on_link(family, 9),
            Self::Silent => on_link(family, 10),
            Self::ElsewhereBySecond => address(family, [19, 0], 9),
            Self::ElsewhereByNone => address(family, [20, 0], 9),
            _ => address(family, [244, 1], 9),
        }
    }
}

/// The node port whose clients stay with one of [`STICKY_BACKENDS`].
pub const STICKY_PORT: u16 = 30070;
/// The backends of [`STICKY_PORT`].
pub const STICKY_BACKENDS: [Backend; 3] = [Backend::Routed, Backend::Elsewhere, Backend::Local];
/// The node port that serves no client in sight; it would lead to [`Backend::Elsewhere`].
pub const RESTRICTED_PORT: u16 = 30071;

/// The endpoints' port.
pub const TARGET_PORT: u16 = 8080;

/// An address of the simulated ranges.
fn address(family: Family, [net, subnet]: [u8; 2], host: u8) -> IpAddr {
    match (family, net) {
        (Family::V4, 244) => Ipv4Addr::new(10, net, subnet, host).into(),
        (Family::V4, _) => Ipv4Addr::new(172, net, subnet, host).into(),
        (Family::V6, _) => {
            let (net, subnet) = (0x100 + u16::from(net), u16::from(subnet));
            Ipv6Addr::new(0xfd00, 0x172, net, subnet, 0, 0, 0, host.into()).into()
        }
    }
}

/// An address on the uplink's link.
pub fn on_link(family: Family, host: u8) -> IpAddr {
    address(family, [18, 0], host)
}

/// The node's address.
pub fn own(family: Family) -> IpAddr {
    on_link(family, 2)
}

/// A client, behind a router.
pub fn client(family: Family) -> IpAddr {
    address(family, [30, 0], 7)
}

/// The bridge's address.
pub fn bridge(family: Family) -> IpAddr {
    address(family, [244, 0], 1)
}

/// Every network in the form that `ip` takes, with its next hop, and the device.
pub fn routes(family: Family) -> Vec<(String, Option<IpAddr>, &'static str)> {
    let network = |net, subnet| {
        let length = if family == Family::V4 { 24 } else { 64 };
        format!("{}/{length}", address(family, [net, subnet], 0))
    };
    vec![
        (network(244, 1), Some(on_link(family, 3)), "eth0"),
        (network(30, 0), Some(on_link(family, 1)), "eth0"),
        (network(19, 0), None, "eth1"),
        (network(20, 0), None, "eth2"),
    ]
}

/// The node's own addresses.
pub fn own_pair() -> AddressPair {
    AddressPair { v4: wire(own(Family::V4)), v6: wire(own(Family::V6)) }
}

/// The other node, as an end of VXLAN.
pub fn peers() -> [(NodeId, PeerNode); 2] {
    let (mac, overlay) = (Mac::from_bytes(OVERLAY_MAC), IfIndex::new(77));
    let (v4, v6): (Ipv4Wire, Ipv6Wire) =
        (wire(on_link(Family::V4, 3)), wire(on_link(Family::V6, 3)));
    [(PEER, PeerNode::new(v4, mac, overlay)), (PEER_V6, PeerNode::new(v6, mac, overlay))]
}

fn wire<A: NodeFamily>(address: IpAddr) -> A {
    A::from_ip(address).expect("an address of the family")
}

/// The node.
pub fn node() -> Node {
    let mut node = Node::new(100_000);
    node.bridge = (wire(bridge(Family::V4)), wire(bridge(Family::V6)));
    node.uplink = (wire(own(Family::V4)), wire(own(Family::V6)));
    for family in [Family::V4, Family::V6] {
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            for backend in Backend::ALL {
                let (address, way) = (backend.address(family), backend.way());
                let endpoint = Endpoint { address, port: TARGET_PORT, way };
                let endpoints = if backend == Backend::Absent { vec![] } else { vec![endpoint] };
                let port = backend.port();
                let service = node.add_service(own(family), port, protocol, &endpoints);
                let outside = (Audience::Outside, backend.client());
                node.lead(own(family), port, protocol, outside, service);
            }
            add_sticky(&mut node, family, protocol);
            add_restricted(&mut node, family, protocol);
        }
        // The last word on the node's address: it is no service's.
        node.add_own_address(own(family));
    }
    node
}

fn add_sticky(node: &mut Node, family: Family, protocol: Protocol) {
    let mut endpoints = STICKY_BACKENDS.map(|backend| {
        let (address, way) = (backend.address(family), backend.way());
        Endpoint { address, port: TARGET_PORT, way }
    });
    endpoints.sort_by_key(|endpoint| endpoint.address);
    let service = node.add_service(own(family), STICKY_PORT, protocol, &endpoints);
    let outside = (Audience::Outside, ClientAddress::Masqueraded);
    node.lead(own(family), STICKY_PORT, protocol, outside, service);
    node.keep_clients(service, group(protocol), 60);
}

/// Whose clients those of [`STICKY_PORT`] are.
pub fn group(protocol: Protocol) -> ServiceId {
    ServiceId(protocol.number().into())
}

fn add_restricted(node: &mut Node, family: Family, protocol: Protocol) {
    let (address, way) = (Backend::Elsewhere.address(family), Backend::Elsewhere.way());
    let endpoint = Endpoint { address, port: TARGET_PORT, way };
    let service = node.add_service(own(family), RESTRICTED_PORT, protocol, &[endpoint]);
    let outside = (Audience::Outside, ClientAddress::Masqueraded);
    node.lead(own(family), RESTRICTED_PORT, protocol, outside, service);
    node.restrict(service, &[(on_link(family, 0), if family == Family::V4 { 24 } else { 64 })]);
}

/// A packet of the client's to a node port.
pub fn request(family: Family, to: Backend, transport: Transport) -> Packet {
    request_to(family, to.port(), transport)
}

/// A packet of the client's to a node port of this number.
pub fn request_to(family: Family, port: u16, transport: Transport) -> Packet {
    let mut packet = from_outside(client(family), own(family), transport);
    match &mut packet.transport {
        Transport::Tcp(tcp) => tcp.destination_port = port,
        Transport::Udp(udp) => udp.destination_port = port,
        Transport::Sctp(sctp) => sctp.destination_port = port,
        Transport::Icmp { .. } | Transport::Raw { .. } => {}
    }
    packet
}

/// A packet that a neighbour sends to the node.
pub fn from_outside(source: IpAddr, destination: IpAddr, transport: Transport) -> Packet {
    Packet {
        ether_source: HOP_MAC,
        ether_destination: OWN_MAC,
        ..Packet::new(source, destination, transport)
    }
}

/// The beginning of a connection.
pub fn syn(port: u16) -> Transport {
    Transport::Tcp(Tcp::new(port, 0, flags::SYN))
}

/// The beginning of an association.
pub fn init(port: u16) -> Transport {
    Transport::Sctp(Sctp { rest: vec![0x5a; 16], ..Sctp::new(port, 0, chunks::INIT) })
}

/// A datagram.
pub fn datagram(port: u16, length: usize) -> Transport {
    Transport::Udp(Udp::new(port, 0, vec![0x5a; length]))
}

/// The answer to a packet, whatever its headers.
#[must_use]
pub fn answer(packet: &Packet) -> Packet {
    let mut answer = packet.clone();
    (answer.source, answer.destination) = (packet.destination, packet.source);
    (answer.ether_source, answer.ether_destination) = (HOP_MAC, OWN_MAC);
    match &mut answer.transport {
        Transport::Tcp(tcp) => {
            (tcp.source_port, tcp.destination_port) = (tcp.destination_port, tcp.source_port);
            tcp.flags = flags::SYN | flags::ACK;
        }
        Transport::Udp(udp) => {
            (udp.source_port, udp.destination_port) = (udp.destination_port, udp.source_port);
        }
        Transport::Sctp(sctp) => {
            (sctp.source_port, sctp.destination_port) = (sctp.destination_port, sctp.source_port);
            sctp.chunk = chunks::INIT_ACK;
        }
        Transport::Icmp { .. } | Transport::Raw { .. } => {}
    }
    answer
}
