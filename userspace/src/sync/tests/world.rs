//! What is wanted, in a form that tests can write down and compare with what packets meet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, Family, IfIndex, Ipv4Wire, Mac, PodLink, Protocol},
    affinity::AffinityRule,
    service::{Audience, ClientAddress, WhenEmpty},
    way::{Node, NodeId, Way},
};

use super::{
    fake::{Fake, tcp},
    fate::{Chosen, Fate, Met, Ranges, Stays},
};
use crate::{
    cluster::model::ObjectName,
    compile::{
        CompiledFrontend, CompiledPort, CompiledService, EndpointList, Owner, ServicePortName,
    },
    sync::{
        Sync, SyncError, maglev,
        pool::GRACE,
        tables::{FrontendAddress, TableError},
    },
};

/// The services and what is around them at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) services: BTreeMap<Owner, CompiledService>,
    pub(super) pods: HashMap<IpAddr, PodLink>,
    pub(super) node_addresses: BTreeSet<IpAddr>,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) networks: BTreeMap<IpNet, Leads>,
    pub(super) has_uplink: bool,
}

/// Where a network leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    To(&'static str),
    Outside,
    ToTheStack,
}

pub(super) const AUDIENCES: [Audience; 3] = [Audience::Inside, Audience::Outside, Audience::Handed];

pub(super) fn name(name: &str) -> Owner {
    Owner::Service(ObjectName { namespace: "default".to_owned(), name: name.to_owned() })
}

pub(super) fn cluster_ip(number: u8) -> IpAddr {
    IpAddr::from([10, 96, 0, number])
}

/// An endpoint's address.
pub(super) fn endpoint(number: u8) -> IpAddr {
    IpAddr::from([192, 168, 0, number])
}

pub(super) fn link(number: u32) -> PodLink {
    PodLink {
        interface: IfIndex::new(number),
        mac: Mac::from_bytes([2, 0, 0, 0, 0, number.to_le_bytes()[0]]),
    }
}

/// The node of this number, at one of its addresses.
pub(super) fn node(number: u8, address: u8) -> Node {
    let endpoint = Ipv4Wire::from_bytes([172, 18, number, address]);
    Node::new(endpoint, Mac::from_bytes([2, 0x73, 0, 0, 0, number]), IfIndex::new(9))
}

fn uplinks(has_uplink: bool) -> BTreeMap<IfIndex, AddressPair> {
    let addresses =
        AddressPair { v4: Ipv4Wire::from_bytes([172, 18, 0, 1]), ..AddressPair::default() };
    has_uplink.then(|| (IfIndex::new(2), addresses)).into_iter().collect()
}

/// A service at some cluster IPs, for who is inside; of each port its number and its endpoints.
pub(super) fn service(service: &str, ips: &[u8], ports: &[(u16, &[u8])]) -> CompiledService {
    let ports = ports.iter().map(|&(number, backends)| {
        let audiences = [(Audience::Inside, ClientAddress::Kept)];
        port(service, ips, EndpointList::Cluster, &audiences, number, backends)
    });
    CompiledService {
        addresses: ips.iter().copied().map(cluster_ip).collect(),
        ports: ports.collect(),
        ..CompiledService::default()
    }
}

/// A list of endpoints of a port of a service.
pub(super) fn port(
    service: &str,
    ips: &[u8],
    list: EndpointList,
    audiences: &[(Audience, ClientAddress)],
    number: u16,
    backends: &[u8],
) -> CompiledPort {
    let frontends = ips.iter().flat_map(|&ip| {
        let address = SocketAddr::new(cluster_ip(ip), number);
        audiences.iter().map(move |&(audience, client)| CompiledFrontend {
            address,
            audience,
            client,
            restricted: false,
        })
    });
    CompiledPort {
        name: ServicePortName {
            owner: name(service),
            port: format!("port{number}"),
            protocol: Protocol::TCP,
            family: Family::V4,
            list,
        },
        frontends: frontends.collect(),
        backends: backends.iter().map(|&it| SocketAddr::new(endpoint(it), 8080)).collect(),
        has_maglev: audiences.iter().any(|(audience, _)| *audience != Audience::Inside),
        when_empty: match list {
            EndpointList::Cluster => WhenEmpty::Refuse,
            EndpointList::Local => WhenEmpty::Drop,
        },
        affinity_seconds: None,
        source_ranges: Vec::new(),
        endpoints: [].into(),
    }
}

impl World {
    pub(super) fn with(
        services: impl IntoIterator<Item = (&'static str, CompiledService)>,
    ) -> Self {
        let services = services.into_iter().map(|(it, service)| (name(it), service)).collect();
        Self { services, ..Self::default() }
    }

    /// What packets shall meet, at all the addresses and ports that tests use.
    pub(super) fn fates(&self) -> BTreeMap<FrontendAddress, Fate> {
        let addresses = (1..=5).map(cluster_ip).chain((1..=6).map(endpoint));
        let sockets =
            addresses.flat_map(|address| [80, 81, 82].map(|port| SocketAddr::new(address, port)));
        sockets
            .flat_map(|socket| AUDIENCES.map(|audience| tcp(socket, audience)))
            .map(|frontend| (frontend, self.fate(frontend)))
            .collect()
    }

    fn fate(&self, frontend: FrontendAddress) -> Fate {
        let address = frontend.address.ip();
        for port in self.services.values().flat_map(|service| &service.ports) {
            let is_it = |it: &&CompiledFrontend| {
                it.address == frontend.address && it.audience == frontend.audience
            };
            if let Some(found) = port.frontends.iter().find(is_it) {
                return self.service_fate(port, found);
            }
        }
        if self.node_addresses.contains(&address) {
            return Fate::Node;
        }
        if let Some(&link) = self.pods.get(&address) {
            return Fate::Pod(link);
        }
        if self.services.values().any(|service| service.addresses.contains(&address)) {
            return Fate::NoSuchPort;
        }
        Fate::Unknown
    }

    fn service_fate(&self, port: &CompiledPort, frontend: &CompiledFrontend) -> Fate {
        let mut backends: Vec<_> =
            port.backends.iter().map(|&backend| (backend, self.met(backend.ip()))).collect();
        backends.sort_unstable();
        let has_table = port.has_maglev && backends.len() > 1;
        let chosen = if has_table { Chosen::Maglev } else { Chosen::Hash };
        let ranges = Ranges::new(frontend.restricted, &port.source_ranges);
        if backends.is_empty() {
            Fate::Empty(port.when_empty, ranges)
        } else {
            let stays = Stays::new(port.affinity_seconds.is_some());
            Fate::Backends(backends, frontend.client, chosen, stays, ranges)
        }
    }

    fn met(&self, endpoint: IpAddr) -> Met {
        if let Some(&link) = self.pods.get(&endpoint) {
            return Met::Pod(link);
        }
        if self.node_addresses.contains(&endpoint) {
            return Met::Stack;
        }
        let holding = self.networks.iter().filter(|(network, _)| network.contains(&endpoint));
        match holding.max_by_key(|(network, _)| network.prefix_len()) {
            Some((_, Leads::To(node))) => Met::Node(self.nodes[*node].mac()),
            Some((_, Leads::Outside)) => Met::Outside,
            None | Some((_, Leads::ToTheStack)) if self.has_uplink => Met::Elsewhere,
            None | Some((_, Leads::ToTheStack)) => Met::Stack,
        }
    }

    /// What the tables of networks shall hold.
    fn met_in_networks(&self) -> BTreeMap<IpNet, Met> {
        let met = |leads: &Leads| match leads {
            Leads::To(node) => Met::Node(self.nodes[*node].mac()),
            Leads::Outside => Met::Outside,
            Leads::ToTheStack => Met::Stack,
        };
        self.networks.iter().map(|(&network, leads)| (network, met(leads))).collect()
    }

    fn sources(&self) -> BTreeMap<IfIndex, BTreeSet<IpAddr>> {
        let mut sources: BTreeMap<_, BTreeSet<IpAddr>> = BTreeMap::new();
        for (&address, link) in &self.pods {
            sources.entry(link.interface).or_default().insert(address);
        }
        sources
    }
}

impl Sync<Fake> {
    pub(super) fn pass(&mut self, time: Duration) {
        self.tables.now += time;
    }

    /// Makes everything as in `world`, `former` services included, under the eyes of packets.
    pub(super) fn become_world(
        &mut self,
        former: &BTreeSet<Owner>,
        world: &World,
    ) -> BTreeMap<Owner, SyncError> {
        // As the agent does: pods that go are there until no service leads to them.
        let mut both = world.clone();
        both.pods = self.tables.pods();
        both.pods.extend(world.pods.clone());
        let failed = self.apply_world(former, &both);
        if failed.is_empty() { self.apply_world(former, world) } else { failed }
    }

    fn apply_world(
        &mut self,
        former: &BTreeSet<Owner>,
        world: &World,
    ) -> BTreeMap<Owner, SyncError> {
        if let Err(error) = self.surround(world) {
            return BTreeMap::from([(name("surroundings"), error.into())]);
        }
        let names: BTreeSet<&Owner> = former.iter().chain(world.services.keys()).collect();
        let batch: Vec<_> =
            names.into_iter().map(|name| (name, world.services.get(name))).collect();
        let now = self.tables.now;
        self.apply(batch.iter().copied(), now)
    }

    /// Says what is around the services, in the agent's order.
    pub(super) fn surround(&mut self, world: &World) -> Result<BTreeSet<IpAddr>, TableError> {
        self.tables.expect(&world.fates(), &world.node_addresses);
        let now = self.tables.now;
        let mut changed = self.set_node_addresses(&world.node_addresses, &[])?;
        changed.extend(self.set_uplinks(&uplinks(world.has_uplink))?);
        let ids = self.set_nodes(&world.nodes, now)?;
        let way = |leads: &Leads| match leads {
            Leads::To(node) => Way::Tunnel(ids[*node]),
            Leads::Outside => Way::Outside,
            Leads::ToTheStack => Way::Stack,
        };
        let networks =
            world.networks.iter().map(|(&network, leads)| (network, way(leads))).collect();
        changed.extend(self.set_networks(&networks)?);
        changed.extend(self.set_pods(&world.pods)?);
        Ok(changed)
    }

    /// The number of a node.
    pub(super) fn number_of(&self, node: &Node) -> Option<NodeId> {
        self.tables.nodes.iter().find(|(_, other)| *other == node).map(|(&id, _)| id)
    }

    /// Starts again on the same tables.
    pub(super) fn restarted(self) -> Self {
        let mut tables = self.tables;
        tables.now += GRACE;
        (tables.crash_before, tables.fail_at) = (None, None);
        tables.has_leftovers = true;
        Self::new(tables).unwrap()
    }

    /// Starts again, takes over, and lets time pass: all that is wanted is there, and nothing else.
    pub(super) fn assert_settles(self, world: &World) -> Self {
        let mut sync = self.restarted();
        assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
        let led_astray = sync.finish_recovery(sync.tables.now).unwrap();
        sync.tables.has_leftovers = false;
        if !led_astray.is_empty() {
            assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
        }
        sync.assert_is(world);
        sync.assert_rests();
        sync
    }

    /// Nothing else is there than what is wanted.
    pub(super) fn assert_is(&self, world: &World) {
        for (frontend, fate) in world.fates() {
            assert_eq!(self.tables.fate(frontend), fate, "{frontend:?}");
        }
        let ports = || world.services.values().flat_map(|service| &service.ports);
        let frontends: usize = ports().map(|port| port.frontends.len()).sum();
        assert_eq!(self.tables.frontends.len(), frontends);
        let own = world.services.values().flat_map(|service| &service.addresses);
        let addresses: BTreeSet<&IpAddr> =
            own.chain(world.pods.keys()).chain(&world.node_addresses).collect();
        assert_eq!(self.tables.addresses.len(), addresses.len());
        self.assert_surrounded(world);
        self.assert_is_restricted(world);
        let slots = |port: &CompiledPort| {
            let count = port.backends.len();
            let bits = if port.has_maglev { maglev::bits(count) } else { 0 };
            count + maglev::size(bits) as usize
        };
        let backends: BTreeSet<SocketAddr> =
            ports().flat_map(|port| port.backends.iter().copied()).collect();
        let usage = self.usage();
        assert_eq!(usage.services, ports().count() as u64);
        assert_eq!(usage.slots, ports().map(slots).sum::<usize>() as u64);
        assert_eq!(usage.backends, backends.len() as u64);
    }

    /// Ranges are those of each port, and its lists remember clients under one number.
    fn assert_is_restricted(&self, world: &World) {
        let ports = || world.services.values().flat_map(|service| &service.ports);
        let ranges: BTreeSet<_> = ports()
            .filter_map(|port| Some((self.service_id(&port.name)?, &port.source_ranges)))
            .flat_map(|(id, ranges)| ranges.iter().map(move |&range| (id, range)))
            .collect();
        assert_eq!(self.tables.ranges_in_use(), ranges);
        for port in ports().filter(|port| port.affinity_seconds.is_some()) {
            let id = self.service_id(&port.name).unwrap();
            let first = ServicePortName { list: EndpointList::Cluster, ..port.name.clone() };
            let group = self.service_id(&first).unwrap_or(id);
            let rule = AffinityRule::new(group, port.affinity_seconds.unwrap());
            assert_eq!(self.tables.affinity_rules[&id], rule);
        }
        let usage = self.usage();
        let with_affinity = ports().filter(|port| port.affinity_seconds.is_some()).count();
        assert_eq!(usage.affinity_rules, with_affinity as u64);
        let ranges = usage.source_ranges_v4 + usage.source_ranges_v6;
        assert_eq!(ranges, self.tables.source_ranges.len() as u64);
    }

    /// After a grace period, nothing is left of what nobody looks for.
    pub(super) fn assert_rests(&mut self) {
        self.pass(GRACE);
        self.apply([], self.tables.now);
        assert_eq!(self.tables.source_ranges, self.tables.ranges_in_use());
    }

    fn assert_surrounded(&self, world: &World) {
        let tables = &self.tables;
        let networks: BTreeMap<IpNet, Met> =
            tables.networks.iter().map(|(&network, &way)| (network, tables.met(way))).collect();
        assert_eq!(networks, world.met_in_networks());
        assert!(tables.nodes.values().all(|node| world.nodes.values().any(|it| it == node)));
        assert_eq!(tables.nodes.len(), world.nodes.len());
        assert_eq!(tables.uplinks, uplinks(world.has_uplink));
        let sources: BTreeMap<IfIndex, BTreeSet<IpAddr>> = tables
            .sources
            .iter()
            .map(|(&interface, pair)| (interface, BTreeSet::from([IpAddr::from(pair.v4.bytes())])))
            .collect();
        assert!(sources.iter().all(|(interface, pair)| {
            world.sources().get(interface).is_some_and(|pods| pods.is_superset(pair))
        }));
        assert_eq!(sources.len(), world.sources().len());
    }
}

impl super::fake::Fake {
    pub(super) fn roomy() -> Self {
        Self::new(256, 1 << 15, 1024)
    }
}

pub(super) fn names(world: &World) -> BTreeSet<Owner> {
    world.services.keys().cloned().collect()
}
