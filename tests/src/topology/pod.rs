//! Pods of a topology, by name.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use crate::{
    netns::NetNamespace,
    one_node::{self, TARGET_PORT},
    topology::addresses,
    traffic::{Answer, Protocol, client, server::Server},
};

/// A pod: where it is, and which addresses it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, in namespace `default`.
    pub name: String,
    /// Its node, by number.
    pub node: usize,
    /// Its addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
}

impl Pod {
    /// Its network namespace, as soon as the agent has made it.
    pub fn netns(&self) -> NetNamespace {
        one_node::pod("default", &self.name)
    }

    /// Its addresses with a port.
    pub fn at(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses.map(|address| SocketAddr::new(address, port))
    }

    /// Its address of the family of another.
    pub fn address_like(&self, other: SocketAddr) -> IpAddr {
        addresses::of_family(self.addresses, other.ip())
    }

    /// Starts a TCP and a UDP server on the port of Service `web`'s pods, by the pod's name.
    pub fn serve(&self) -> [Server; 2] {
        let netns = self.netns();
        [Server::tcp(&netns, &self.name, TARGET_PORT), Server::udp(&netns, &self.name, TARGET_PORT)]
    }

    /// Asks once, from inside.
    pub fn ask(&self, protocol: Protocol, target: SocketAddr) -> io::Result<Answer> {
        self.netns().run(|| client::ask(protocol, target))
    }
}
