//! The node that the packets of all tables meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use datapath::testing::{
    node::{Endpoint, Node},
    packet::{Packet, Sctp, Tcp, Transport, Udp},
};
use maps_schema::{
    address::{Family, IfIndex, Mac, PodLink, Protocol},
    service::{Audience, ClientAddress, ServiceId, ServiceRecord, Slot, WhenEmpty},
    way::Way,
};

/// The interface that packets of pods come in by. A program refuses a context without a real one.
pub const INGRESS: IfIndex = IfIndex::new(42);

/// The pod that sends requests.
pub const CLIENT: u8 = 2;
/// The pod behind [`SERVICE`] and [`SECOND_SERVICE`].
pub const BACKEND: u8 = 3;
/// The pod behind [`SAME_PORT_SERVICE`].
pub const OTHER_BACKEND: u8 = 4;
/// A pod of another node, behind [`REMOTE_SERVICE`].
pub const REMOTE_POD: u8 = 99;

/// Answers on [`PORT`] by [`BACKEND`]'s [`TARGET_PORT`].
pub const SERVICE: u8 = 1;
/// As [`SERVICE`].
pub const SECOND_SERVICE: u8 = 2;
/// Answers on [`PORT`] by [`OTHER_BACKEND`]'s [`PORT`].
pub const SAME_PORT_SERVICE: u8 = 3;
/// Answers by [`CLIENT`] itself.
pub const OWN_SERVICE: u8 = 4;
/// Has no endpoints.
pub const EMPTY_SERVICE: u8 = 5;
/// Has no endpoints on this node, to which its policy restricts it.
pub const LOCAL_SERVICE: u8 = 6;
/// Has a record that leads beyond the slots.
pub const CORRUPT_SERVICE: u8 = 7;
/// Answers by [`REMOTE_POD`].
pub const REMOTE_SERVICE: u8 = 8;

/// Answers by [`BACKEND`] and [`OTHER_BACKEND`], and its clients stay with the one that they have for
/// [`AFFINITY_SECONDS`]; also from outside, where those who have none get [`OTHER_BACKEND`].
pub const STICKY_SERVICE: u8 = 9;
/// The same service port with another list of endpoints: [`OTHER_BACKEND`] alone.
pub const STICKY_LOCAL_SERVICE: u8 = 10;
/// As [`SERVICE`], but for clients of [`range`] only; also from outside.
pub const RESTRICTED_SERVICE: u8 = 11;
/// As [`RESTRICTED_SERVICE`], without endpoints.
pub const RESTRICTED_EMPTY_SERVICE: u8 = 12;
/// The number of no service.
pub const NO_SERVICE: u8 = 200;

/// For how long clients of [`STICKY_SERVICE`] stay: the default.
pub const AFFINITY_SECONDS: u32 = 10800;

/// The port of all services.
pub const PORT: u16 = 80;
/// The port of most endpoints.
pub const TARGET_PORT: u16 = 8080;
/// The port that clients send from, unless they say otherwise.
pub const CLIENT_PORT: u16 = 40000;

/// A pod's address.
pub fn pod(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 244, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, number.into()).into(),
    }
}

/// A service's address.
pub fn service(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, 96, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd10, 0x96, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// The bridge's address.
pub fn bridge(family: Family) -> IpAddr {
    pod(family, 1)
}

/// An address that nothing is known of.
pub fn elsewhere(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(172, 16, 0, 9).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x172, 0, 0, 0, 0, 0, 9).into(),
    }
}

/// A pod's Ethernet address.
pub fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, number]
}

/// The bridge's Ethernet address.
pub const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// The way to a pod; the client's is that which its packets come by.
pub fn link(number: u8) -> PodLink {
    let interface = match number {
        CLIENT => INGRESS,
        REMOTE_POD => return PodLink::default(),
        number => IfIndex::new(100 + u32::from(number)),
    };
    PodLink { interface, mac: Mac::from_bytes(mac(number)) }
}

/// The interface by which a frame comes that a pod has sent; the client's for all that are nobody's.
pub fn interface(frame: &[u8]) -> IfIndex {
    let sent_by = |number: &u8| frame.get(6..12) == Some(&mac(*number));
    let sender = [CLIENT, BACKEND, OTHER_BACKEND].into_iter().find(|number| sent_by(number));
    link(sender.unwrap_or(CLIENT)).interface
}

/// The way to an endpoint: a pod of this node, or the kernel's.
fn way(number: u8) -> Way {
    match number {
        REMOTE_POD => Way::Stack,
        number => Way::Pod(link(number)),
    }
}

/// The node, with room for this many connection entries per family.
pub fn node(capacity: usize) -> Node {
    let mut node = Node::new(capacity);
    node.bridge = (Ipv4Addr::new(10, 244, 0, 1).into(), {
        let IpAddr::V6(address) = bridge(Family::V6) else { unreachable!("asked for IPv6") };
        address.into()
    });
    let nowhere = ServiceRecord::new(Slot(100_000), 3, WhenEmpty::Refuse);
    let elsewhere = ServiceRecord::new(Slot(0), 0, WhenEmpty::Drop);
    for family in [Family::V4, Family::V6] {
        for number in [CLIENT, BACKEND, OTHER_BACKEND] {
            node.add_pod(pod(family, number), link(number));
        }
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
            for (number, endpoint, port) in [
                (SERVICE, BACKEND, TARGET_PORT),
                (SECOND_SERVICE, BACKEND, TARGET_PORT),
                (SAME_PORT_SERVICE, OTHER_BACKEND, PORT),
                (OWN_SERVICE, CLIENT, TARGET_PORT),
                (REMOTE_SERVICE, REMOTE_POD, TARGET_PORT),
            ] {
                let endpoint =
                    Endpoint { address: pod(family, endpoint), port, way: way(endpoint) };
                node.add_service(service(family, number), PORT, protocol, &[endpoint]);
            }
            node.add_service(service(family, EMPTY_SERVICE), PORT, protocol, &[]);
            add_policies(&mut node, family, protocol);
            node.add_frontend(service(family, LOCAL_SERVICE), PORT, protocol, elsewhere);
            node.add_frontend(service(family, CORRUPT_SERVICE), PORT, protocol, nowhere);
        }
    }
    node.add_network(service(Family::V4, 0), 16, Way::Nowhere);
    node.add_network(service(Family::V6, 0), 32, Way::Nowhere);
    node
}

/// Adds the services that care for who asks.
fn add_policies(node: &mut Node, family: Family, protocol: Protocol) {
    let endpoint =
        |number| Endpoint { address: pod(family, number), port: TARGET_PORT, way: way(number) };
    let (all, local) = ([endpoint(BACKEND), endpoint(OTHER_BACKEND)], [endpoint(OTHER_BACKEND)]);
    let outside = (Audience::Outside, ClientAddress::Kept);
    for (number, endpoints) in [(STICKY_SERVICE, &all[..]), (STICKY_LOCAL_SERVICE, &local)] {
        let address = service(family, number);
        let id = node.add_service(address, PORT, protocol, endpoints);
        node.lead(address, PORT, protocol, outside, id);
        node.keep_clients(id, group(protocol), AFFINITY_SECONDS);
        // By the table, all goes to one, so that it is known where it goes by itself.
        if number == STICKY_SERVICE {
            node.add_maglev(id, &[1, 1]);
        }
    }
    let endpoints = [endpoint(BACKEND)];
    for (number, endpoints) in
        [(RESTRICTED_SERVICE, &endpoints[..]), (RESTRICTED_EMPTY_SERVICE, &[])]
    {
        let address = service(family, number);
        let id = node.add_service(address, PORT, protocol, endpoints);
        node.lead(address, PORT, protocol, outside, id);
        node.restrict(id, &[range(family), (pod(family, OTHER_BACKEND), full_length(family))]);
    }
}

/// Whose clients those of [`STICKY_SERVICE`] and [`STICKY_LOCAL_SERVICE`] are.
pub fn group(protocol: Protocol) -> ServiceId {
    ServiceId(protocol.number().into())
}

/// A range outside of the cluster that [`RESTRICTED_SERVICE`] serves, beside [`OTHER_BACKEND`]: half
/// of the last byte's numbers.
pub fn range(family: Family) -> (IpAddr, u32) {
    (outside(family, 0), full_length(family) - 7)
}

/// A client outside of the cluster.
pub fn outside(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(172, 31, 0, number).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x172, 0x131, 0, 0, 0, 0, number.into()).into(),
    }
}

const fn full_length(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// A packet from one pod to any address, as its stack frames it for the bridge.
pub fn from_pod(source: u8, destination: IpAddr, transport: Transport) -> Packet {
    let family = family_of(destination);
    Packet {
        ether_source: mac(source),
        ether_destination: BRIDGE_MAC,
        ..Packet::new(pod(family, source), destination, transport)
    }
}

/// The family of an address.
pub fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// A request from the client to a service.
pub fn request(family: Family, number: u8, transport: Transport) -> Packet {
    from_pod(CLIENT, service(family, number), transport)
}

/// The packet as it reaches a pod of this node: the frame goes to that, and the packet, too.
#[must_use]
pub fn reaching(packet: &Packet, number: u8, transport: Transport) -> Packet {
    let family = family_of(packet.destination);
    let ether_destination = match number {
        REMOTE_POD => packet.ether_destination,
        number => mac(number),
    };
    Packet {
        destination: pod(family, number),
        ether_destination,
        hop_limit: packet.hop_limit - 1,
        transport,
        ..packet.clone()
    }
}

/// An answer as it reaches the client: from the service.
#[must_use]
pub fn answered(packet: &Packet, number: u8, transport: Transport) -> Packet {
    let family = family_of(packet.destination);
    Packet {
        source: service(family, number),
        destination: pod(family, CLIENT),
        ether_destination: mac(CLIENT),
        hop_limit: packet.hop_limit - 1,
        transport,
        ..packet.clone()
    }
}

/// A TCP segment.
pub fn tcp(source_port: u16, destination_port: u16, flags: u8) -> Transport {
    Transport::Tcp(Tcp::new(source_port, destination_port, flags))
}

/// A TCP segment with a payload of this length.
pub fn tcp_data(source_port: u16, destination_port: u16, length: usize) -> Transport {
    let flags = datapath::testing::packet::flags::ACK | datapath::testing::packet::flags::PSH;
    Transport::Tcp(Tcp {
        payload: payload(length),
        ..Tcp::new(source_port, destination_port, flags)
    })
}

/// A UDP datagram with a payload of this length.
pub fn udp(source_port: u16, destination_port: u16, length: usize) -> Transport {
    Transport::Udp(Udp::new(source_port, destination_port, payload(length)))
}

/// An SCTP packet whose first chunk is of this type.
pub fn sctp(source_port: u16, destination_port: u16, chunk: u8) -> Transport {
    let rest = payload(16);
    Transport::Sctp(Sctp { rest, ..Sctp::new(source_port, destination_port, chunk) })
}

/// An echo request of the family.
pub fn echo(family: Family) -> Transport {
    let kind = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    let mut body = vec![0x12, 0x34, 0, 1];
    body.extend(payload(56));
    Transport::Icmp { kind, code: 0, body }
}

/// Bytes that differ.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 7 % 251).unwrap_or(0)).collect()
}
