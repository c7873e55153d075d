//! What is around the services: pods, other nodes, networks, the node's own addresses and uplinks.
//!
//! Whatever of it changes the way to an endpoint in use is returned, so that the services that have
//! the endpoint are applied again: each of them then gets backends with the new way at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex, PodLink},
    maps::MAX_SOURCES,
    way::{Node, NodeId, Way},
};

use super::{
    Sync,
    tables::{NetworkTables, ServiceTables, TableError},
    ways::Ways,
};

impl<T: ServiceTables + NetworkTables> Sync<T> {
    /// Says which pods this node has. Returns the addresses whose pod has come, gone, or changed:
    /// the services that have them as endpoints are to be applied again.
    pub fn set_pods(
        &mut self,
        pods: &HashMap<IpAddr, PodLink>,
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        let sources = sources(pods);
        let tables = &mut self.tables;
        self.sources.put(&sources, |interface, pod| tables.put_source(interface, pod))?;
        let forget = |interface| tables.put_source(interface, AddressPair::default());
        self.sources.remove_others(&sources, forget)?;
        self.addresses.set_pods(pods, &mut self.tables)
    }

    /// Says which other nodes there are, and returns their numbers, for networks to lead to. A node
    /// without a number did not fit. A node that is gone keeps its number until no network and no
    /// service leads to it.
    ///
    /// A node that moves on the node network keeps its number, so that connections to its pods go
    /// on.
    pub fn set_nodes(
        &mut self,
        nodes: &BTreeMap<String, Node>,
        now: Instant,
    ) -> Result<BTreeMap<String, NodeId>, TableError> {
        let ids = self.nodes.set(nodes, &mut self.tables, now);
        Arc::make_mut(&mut self.ways).nodes = self.nodes.ids();
        ids
    }

    /// Says which ways lead to which networks. Returns the addresses of endpoints to which another
    /// way leads now: the services that have them are to be applied again.
    ///
    /// The node's own pod CIDRs belong here too, with [`Way::Stack`], so that an address that is no
    /// pod's is not masqueraded.
    pub fn set_networks(
        &mut self,
        networks: &BTreeMap<IpNet, Way>,
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        let tables = &mut self.tables;
        self.networks.put(networks, |network, way| tables.put_network(network, way))?;
        self.networks.remove_others(networks, |network| tables.remove_network(network))?;
        Arc::make_mut(&mut self.ways).set_networks(self.networks.written());
        Ok(self.led_astray())
    }

    /// Says which addresses are the node's own (on the node network, the bridge, and uplinks), and
    /// which networks its pods are in. Returns what [`Self::set_networks`] returns.
    pub fn set_node_addresses(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        pod_cidrs: &[IpNet],
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        self.addresses.set_node(addresses, &mut self.tables)?;
        let ways = Arc::make_mut(&mut self.ways);
        ways.own_addresses.clone_from(addresses);
        ways.own_pod_cidrs = pod_cidrs.to_vec();
        Ok(self.led_astray())
    }

    /// Says which uplinks the node has, and its addresses that the outside sees there. Returns what
    /// [`Self::set_networks`] returns.
    pub fn set_uplinks(
        &mut self,
        uplinks: &BTreeMap<IfIndex, AddressPair>,
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        let tables = &mut self.tables;
        self.uplinks.put(uplinks, |interface, node| tables.put_uplink(interface, node))?;
        self.uplinks.remove_others(uplinks, |interface| tables.remove_uplink(interface))?;
        Arc::make_mut(&mut self.ways).has_uplink = !uplinks.is_empty();
        Ok(self.led_astray())
    }

    /// Says what the node's primary addresses are, the first of each family.
    pub fn set_primary_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError> {
        if self.node_addresses != addresses {
            self.tables.put_node_addresses(addresses)?;
            self.node_addresses = addresses;
            self.changes += 1;
        }
        Ok(())
    }

    /// The ways that are in force, for judging connections.
    pub fn ways(&self) -> Arc<Ways> {
        Arc::clone(&self.ways)
    }

    /// The addresses of endpoints in use that are sent to by another way than leads there.
    pub(super) fn led_astray(&self) -> BTreeSet<IpAddr> {
        let endpoints = self.backends.keys(&self.tables).map(|(address, way)| (address.ip(), way));
        endpoints
            .filter(|&(address, way)| self.ways.to(address, self.addresses.pod(address)) != way)
            .map(|(address, _)| address)
            .collect()
    }

    /// Removes what a former agent has left and nobody has asked for.
    pub(super) fn remove_leftover_surroundings(&mut self, now: Instant) -> Result<(), TableError> {
        let tables = &mut self.tables;
        self.networks.remove_leftovers(|network| tables.remove_network(network))?;
        let forget = |interface| tables.put_source(interface, AddressPair::default());
        self.sources.remove_leftovers(forget)?;
        self.nodes.give_up_leftovers();
        Arc::make_mut(&mut self.ways).set_networks(self.networks.written());
        self.forget_nodes(now)
    }

    /// Forgets the nodes that are gone, once nothing leads to them any more.
    pub(super) fn forget_nodes(&mut self, now: Instant) -> Result<(), TableError> {
        let used: BTreeSet<NodeId> = self.networks.written().values().filter_map(node).collect();
        let forgotten = self.nodes.forget(|id| used.contains(&id), &mut self.tables, now);
        let ids = self.nodes.ids();
        if self.ways.nodes != ids {
            Arc::make_mut(&mut self.ways).nodes = ids;
        }
        forgotten
    }
}

/// The node that a way leads to.
const fn node(way: &Way) -> Option<NodeId> {
    match *way {
        Way::Tunnel(node) | Way::Route(node) | Way::Hand(node) => Some(node),
        Way::Stack | Way::Pod(_) | Way::Outside | Way::Nowhere => None,
    }
}

/// The addresses of the pods behind interfaces whose numbers the table has.
fn sources(pods: &HashMap<IpAddr, PodLink>) -> BTreeMap<IfIndex, AddressPair> {
    let mut sources: BTreeMap<IfIndex, AddressPair> = BTreeMap::new();
    let in_order: BTreeMap<_, _> = pods.iter().collect();
    for (&address, link) in in_order {
        if link.interface.get() >= MAX_SOURCES {
            continue;
        }
        let pair = sources.entry(link.interface).or_default();
        match address {
            IpAddr::V4(address) => pair.v4 = address.into(),
            IpAddr::V6(address) => pair.v6 = address.into(),
        }
    }
    sources
}
