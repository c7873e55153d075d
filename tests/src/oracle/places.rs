//! Where everybody of the table is: which namespace has an address, and who has to listen where.
//!
//! There is a server at every endpoint, and also at every destination, wherever a packet arrives
//! that nobody touches. So that fate can be seen, too: the destination itself answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use maps_schema::address::Family;
use serde_json::Value;

use super::cluster::{Transport, address, is_of, list, name_of, number};
use crate::conformance::{Cast, Protocol, Scenario, twin};

/// The clients' network, outside.
const OUTSIDE: &str = "172.31.0.0/16";

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The node that rules are tested on.
    Node,
    /// A pod of its own.
    Pod(IpAddr),
    /// The other node.
    OtherNode,
    /// A pod of that.
    OtherPod(IpAddr),
    /// The clients' host.
    Outside,
    /// The next hop of all else, which has every address that is nobody's.
    Gateway,
}

impl Home {
    /// Whose an address is, in a cast.
    pub fn of(cast: &Cast, address: IpAddr) -> Self {
        if cast.is_own(address) {
            Self::Node
        } else if cast.is_own_pod(address) {
            Self::Pod(address)
        } else if address == cast.other_node {
            Self::OtherNode
        } else if cast.other_pod_cidr.contains(&address) {
            Self::OtherPod(address)
        } else if outside(cast.family).contains(&address) {
            Self::Outside
        } else {
            Self::Gateway
        }
    }
}

/// A text of the table in a family.
pub fn written_in(family: Family, text: &str) -> String {
    match family {
        Family::V4 => text.to_owned(),
        Family::V6 => twin::of_text(text),
    }
}

/// The clients' network.
pub fn outside(family: Family) -> IpNet {
    written_in(family, OUTSIDE).parse().expect("a network")
}

/// Everybody of some scenarios.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Who is there, with the addresses to have, as far as a case is about them.
    pub addresses: BTreeMap<Home, BTreeSet<IpAddr>>,
    /// Who listens where.
    pub servers: BTreeMap<Home, BTreeSet<(Transport, SocketAddr)>>,
}

impl Places {
    /// Finds everybody of one family.
    pub fn of<'a>(cast: &Cast, scenarios: impl IntoIterator<Item = &'a Scenario>) -> Self {
        let mut places = Self::default();
        for client in cast.clients.values() {
            places.add(cast, *client);
        }
        for step in scenarios.into_iter().flat_map(|scenario| &scenario.steps) {
            for object in &step.set {
                for (transport, at) in endpoints(cast.family, object) {
                    places.serve(cast, transport, at);
                }
            }
            for case in &step.cases {
                places.add(cast, case.packet.source);
                let to = case.packet.destination;
                match transport(case.packet.protocol) {
                    Some(transport) => places.serve(cast, transport, to),
                    None => places.add(cast, to.ip()),
                }
            }
        }
        places
    }

    /// The pods of the node itself.
    pub fn pods(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().filter_map(|home| match home {
            Home::Pod(address) => Some(*address),
            _ => None,
        })
    }

    /// The pods of the other node.
    pub fn other_pods(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().filter_map(|home| match home {
            Home::OtherPod(address) => Some(*address),
            _ => None,
        })
    }

    fn add(&mut self, cast: &Cast, address: IpAddr) {
        if is_of(cast.family, address) {
            self.addresses.entry(Home::of(cast, address)).or_default().insert(address);
        }
    }

    fn serve(&mut self, cast: &Cast, transport: Transport, at: SocketAddr) {
        if is_of(cast.family, at.ip()) {
            self.add(cast, at.ip());
            self.servers.entry(Home::of(cast, at.ip())).or_default().insert((transport, at));
        }
    }
}

/// The transport protocol of a packet that has one.
pub fn transport(protocol: Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Sctp => Some(Transport::Sctp),
        Protocol::Icmp => None,
    }
}

fn endpoints(family: Family, object: &Value) -> Vec<(Transport, SocketAddr)> {
    if object["kind"] != "EndpointSlice" || object["addressType"] != name_of(family) {
        return Vec::new();
    }
    let addresses: Vec<IpAddr> = list(&object["endpoints"])
        .iter()
        .filter_map(|endpoint| address(endpoint["addresses"].get(0)?))
        .collect();
    let ports = list(&object["ports"])
        .iter()
        .filter_map(|port| Some((Transport::read(&port["protocol"])?, number(&port["port"])?)));
    ports
        .flat_map(|(transport, port)| {
            addresses.iter().map(move |address| (transport, SocketAddr::new(*address, port)))
        })
        .collect()
}
