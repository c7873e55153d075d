//! Which of the objects that claim one address are in force.
//!
//! The oldest object comes first (metadata.creationTimestamp; objects without one are youngest),
//! then the one that is in force already, then the one that came first. An object is in force if
//! none that comes before it and is in force claims the same. A change can only concern objects
//! that are linked to the changed one by claims in common, so only those are judged again.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use jiff::Timestamp;
use maps_schema::address::Protocol;

use crate::cluster::model::{HostPort, Kind, ObjectName};

/// Names what claims something, and is in force or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// An object.
    Object(Kind, ObjectName),
    /// One of a pod's host ports: without it the pod is what it is.
    HostPort(ObjectName, HostPort),
}

impl Key {
    /// Whether one may not have what the other has. A pod may say one port twice.
    fn is_rival_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::HostPort(pod, _), Self::HostPort(other, _)) => pod != other,
            (one, other) => one != other,
        }
    }
}

/// The path of a field.
pub(super) type Field = Cow<'static, str>;

/// Something that one object has for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Claim {
    /// All of an address: a cluster IP, a pod's address.
    Address(IpAddr),
    /// A port of an address: external addresses, load balancers' addresses.
    AddressPort(IpAddr, u16, Protocol),
    /// A port of all nodes: a node port, or that of a health check.
    NodePort(u16, Protocol),
    /// A port of an address of this node, for a pod.
    HostPort(u16, Protocol, IpAddr),
    /// A node's pod CIDR.
    Cidr(IpNet),
}

/// Why an object is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defeat {
    /// The path of the field that makes the claim.
    pub(super) field: Field,
    /// What is claimed.
    pub(super) claim: Claim,
    /// Who has it.
    pub(super) winner: Key,
    /// Whether the winner is older, or was only there first.
    pub(super) winner_is_older: bool,
}

#[derive(Debug)]
struct Claimant {
    /// Each claim with the path of the field that makes it.
    claims: Box<[(Claim, Field)]>,
    created: Option<Timestamp>,
    arrival: u64,
    in_force: bool,
}

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claimants: HashMap<Arc<Key>, Claimant>,
    by_claim: BTreeMap<Claim, Vec<Arc<Key>>>,
    defeats: BTreeMap<Key, Defeat>,
    arrivals: u64,
}

/// The entries whose claims are in conflict with this one.
fn conflicting<'a, V>(
    map: &'a BTreeMap<Claim, V>,
    claim: &Claim,
) -> Box<dyn Iterator<Item = &'a V> + 'a> {
    let same = map.get(claim).into_iter();
    match claim {
        Claim::Address(address) => {
            let first = Claim::AddressPort(*address, 0, Protocol::NONE);
            let last = Claim::AddressPort(*address, u16::MAX, Protocol::new(u8::MAX));
            Box::new(same.chain(map.range(first..=last).map(|(_, value)| value)))
        }
        Claim::AddressPort(address, port, protocol) => {
            let host_port = map.get(&Claim::HostPort(*port, *protocol, *address));
            Box::new(same.chain(map.get(&Claim::Address(*address))).chain(host_port))
        }
        // Which addresses answer on node ports is a setting: none of them is another's.
        Claim::NodePort(port, protocol) => {
            let first = Claim::HostPort(*port, *protocol, Ipv4Addr::UNSPECIFIED.into());
            let last = Claim::HostPort(*port, *protocol, IpAddr::V6(Ipv6Addr::from(u128::MAX)));
            Box::new(same.chain(map.range(first..=last).map(|(_, value)| value)))
        }
        Claim::HostPort(port, protocol, address) => {
            let external = map.get(&Claim::AddressPort(*address, *port, *protocol));
            Box::new(same.chain(external).chain(map.get(&Claim::NodePort(*port, *protocol))))
        }
        Claim::Cidr(cidr) => {
            let cidr = *cidr;
            let around = (0..cidr.prefix_len()).filter_map(move |length| {
                let wider = IpNet::new(cidr.addr(), length).ok()?;
                map.get(&Claim::Cidr(wider.trunc()))
            });
            let last = IpNet::new(cidr.broadcast(), cidr.max_prefix_len()).unwrap_or(cidr);
            let within = map.range(Claim::Cidr(cidr)..=Claim::Cidr(last));
            Box::new(around.chain(within.map(|(_, value)| value)))
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(kind, name) => write!(formatter, "{kind} {name}"),
            Self::HostPort(pod, _) => write!(formatter, "{} {pod}", Kind::Pod),
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(formatter, "{address}"),
            Self::AddressPort(address, port, protocol)
            | Self::HostPort(port, protocol, address) => {
                write!(formatter, "{address} port {port}/{}", protocol_name(*protocol))
            }
            Self::NodePort(port, protocol) => {
                write!(formatter, "{port}/{}", protocol_name(*protocol))
            }
            Self::Cidr(cidr) => write!(formatter, "{cidr}"),
        }
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::UDP => "UDP",
        Protocol::SCTP => "SCTP",
        _ => "TCP",
    }
}

impl Claims {
    /// Takes an object's claims as they now are (none where it is gone), and says which other
    /// objects come into force by that, or no longer are.
    pub(super) fn set(
        &mut self,
        key: &Key,
        created: Option<Timestamp>,
        claims: Vec<(Claim, Field)>,
    ) -> Vec<(Key, bool)> {
        let old = self.claimants.get(key);
        let was_in_force = old.is_none_or(|old| old.in_force);
        if old.is_some_and(|old| old.created == created && *old.claims == *claims) {
            return Vec::new();
        }
        let arrival = old.map(|old| old.arrival);
        let mut concerned = self.linked_with(key, &claims);
        self.forget(key);
        concerned.remove(key);
        if !claims.is_empty() {
            // One that reaches for what another has steps back behind it.
            let reaches = claims
                .iter()
                .flat_map(|(claim, _)| conflicting(&self.by_claim, claim).flatten())
                .filter(|other| key.is_rival_of(other))
                .any(|other| self.claimants.get(other).is_some_and(|other| other.in_force));
            let shared = Arc::new(key.clone());
            for (claim, _) in &claims {
                self.by_claim.entry(claim.clone()).or_default().push(Arc::clone(&shared));
            }
            let arrival = arrival.filter(|_| !reaches).unwrap_or_else(|| {
                self.arrivals += 1;
                self.arrivals
            });
            let claimant = Claimant {
                claims: claims.into(),
                created,
                arrival,
                in_force: was_in_force && !reaches,
            };
            self.claimants.insert(shared, claimant);
            concerned.insert(key.clone());
        }
        let mut changed = self.judge(&concerned);
        changed.retain(|(other, _)| other != key);
        changed
    }

    /// Whether an object is in force. One without claims always is.
    pub(super) fn is_in_force(&self, key: &Key) -> bool {
        self.claimants.get(key).is_none_or(|claimant| claimant.in_force)
    }

    /// Who is not in force, and why.
    pub(super) fn defeats(&self) -> impl Iterator<Item = (&Key, &Defeat)> {
        self.defeats.iter()
    }

    /// Every object that is linked, over any number of others, with one that makes these claims or
    /// with the one that `key` names, itself included where it is known.
    fn linked_with(&self, key: &Key, claims: &[(Claim, Field)]) -> BTreeSet<Key> {
        let mut linked = BTreeSet::new();
        let mut seen: HashSet<&Claim> = HashSet::new();
        let mut frontier: Vec<&Claim> = claims.iter().map(|(claim, _)| claim).collect();
        if let Some(claimant) = self.claimants.get(key) {
            linked.insert(key.clone());
            frontier.extend(claimant.claims.iter().map(|(claim, _)| claim));
        }
        while let Some(claim) = frontier.pop() {
            if !seen.insert(claim) {
                continue;
            }
            for rival in conflicting(&self.by_claim, claim).flatten() {
                if linked.insert((**rival).clone())
                    && let Some(claimant) = self.claimants.get(rival)
                {
                    frontier.extend(claimant.claims.iter().map(|(claim, _)| claim));
                }
            }
        }
        linked
    }

    fn forget(&mut self, key: &Key) {
        self.defeats.remove(key);
        let Some(claimant) = self.claimants.remove(key) else {
            return;
        };
        for (claim, _) in &claimant.claims {
            if let Some(holders) = self.by_claim.get_mut(claim) {
                holders.retain(|other| **other != *key);
                if holders.is_empty() {
                    self.by_claim.remove(claim);
                }
            }
        }
    }

    /// Decides anew between these objects, and says whose being in force changed.
    fn judge(&mut self, concerned: &BTreeSet<Key>) -> Vec<(Key, bool)> {
        let mut order: Vec<&Key> = concerned.iter().collect();
        order.sort_by_key(|key| {
            self.claimants.get(*key).map(|claimant| {
                let created = claimant.created.unwrap_or(Timestamp::MAX);
                (created, !claimant.in_force, claimant.arrival)
            })
        });
        let mut changed = Vec::new();
        let mut taken: BTreeMap<Claim, &Key> = BTreeMap::new();
        for key in order {
            let Some(claimant) = self.claimants.get(key) else {
                continue;
            };
            let defeat = claimant.claims.iter().find_map(|(claim, field)| {
                let winner = conflicting(&taken, claim).find(|winner| key.is_rival_of(winner))?;
                let created = self.claimants.get(*winner).and_then(|winner| winner.created);
                Some(Defeat {
                    field: field.clone(),
                    claim: claim.clone(),
                    winner: (*winner).clone(),
                    winner_is_older: created != claimant.created,
                })
            });
            if defeat.is_none() {
                let claims = claimant.claims.iter();
                taken.extend(claims.map(|(claim, _)| (claim.clone(), key)));
            }
            let wins = defeat.is_none();
            match defeat {
                None => {
                    self.defeats.remove(key);
                }
                Some(defeat) => {
                    self.defeats.insert(key.clone(), defeat);
                }
            }
            if let Some(claimant) = self.claimants.get_mut(key)
                && claimant.in_force != wins
            {
                claimant.in_force = wins;
                changed.push((key.clone(), wins));
            }
        }
        changed
    }
}
