//! What packets meet.

use std::net::SocketAddr;

use maps_schema::{
    address::{Mac, PodLink},
    service::{ClientAddress, WhenEmpty},
};

/// What becomes of a packet that opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to one of these, each as likely as often as it is named.
    Backends(Vec<(SocketAddr, Met)>, ClientAddress, Chosen),
    Empty(WhenEmpty),
    /// The address is a service's own, the port is not.
    NoSuchPort,
    Pod(PodLink),
    Node,
    Unknown,
}

impl Fate {
    /// The same, whatever the ways.
    pub(super) fn by_any_way(&self) -> Self {
        match self {
            Self::Backends(backends, client, chosen) => {
                let backends = backends.iter().map(|(address, _)| (*address, Met::Stack)).collect();
                Self::Backends(backends, *client, *chosen)
            }
            other => other.clone(),
        }
    }
}

/// What a packet meets on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Met {
    Stack,
    Pod(PodLink),
    /// The node of this Ethernet address.
    Node(Mac),
    NoNode,
    Elsewhere,
    Outside,
}

/// What decides between backends for who comes from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Hash,
    Maglev,
}
