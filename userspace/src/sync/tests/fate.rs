//! What packets meet.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use maps_schema::{
    address::{Mac, PodLink},
    service::{ClientAddress, WhenEmpty},
};

/// What becomes of a packet that opens a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes to one of these, each as likely as often as it is named; only clients in the ranges
    /// do.
    Backends(Vec<(SocketAddr, Met)>, ClientAddress, Chosen, Stays, Ranges),
    Empty(WhenEmpty, Ranges),
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
            Self::Backends(backends, client, chosen, stays, ranges) => {
                let backends = backends.iter().map(|(address, _)| (*address, Met::Stack)).collect();
                Self::Backends(backends, *client, *chosen, *stays, ranges.clone())
            }
            other => other.clone(),
        }
    }
}

/// Whether a client stays with its endpoint. For how long it does is a matter of its own, and may
/// change before or after what else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    No,
    ForAWhile,
}

impl Stays {
    pub(super) const fn new(has_affinity: bool) -> Self {
        if has_affinity { Self::ForAWhile } else { Self::No }
    }
}

/// Which clients a frontend serves, of those that tests have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    All,
    Only(BTreeSet<IpAddr>),
}

/// The clients that tests have.
pub(super) fn clients() -> BTreeSet<IpAddr> {
    (0..8).map(|number| IpAddr::from([203, 0, 113, number << 5])).collect()
}

impl Ranges {
    pub(super) fn new<'a>(
        is_restricted: bool,
        ranges: impl IntoIterator<Item = &'a IpNet>,
    ) -> Self {
        if !is_restricted {
            return Self::All;
        }
        let ranges: Vec<_> = ranges.into_iter().collect();
        let mut clients = clients();
        clients.retain(|client| ranges.iter().any(|range| range.contains(client)));
        Self::Only(clients)
    }

    fn serves(&self, client: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Only(clients) => clients.contains(&client),
        }
    }
}

impl Fate {
    /// What becomes of a packet of this client.
    pub(super) fn of(&self, client: IpAddr) -> Option<Self> {
        match self {
            Self::Backends(backends, address, chosen, stays, ranges) => {
                let (backends, address) = (backends.clone(), *address);
                let fate = Self::Backends(backends, address, *chosen, *stays, Ranges::All);
                ranges.serves(client).then_some(fate)
            }
            Self::Empty(when_empty, ranges) => {
                ranges.serves(client).then_some(Self::Empty(*when_empty, Ranges::All))
            }
            other => Some(other.clone()),
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
