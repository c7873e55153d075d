//! What is around the services, as `sync` keeps it: other nodes, networks, interfaces.

use std::{net::IpAddr, path::Path};

use aya::{
    Pod,
    maps::{
        Array, HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use ipnet::IpNet;
use maps_schema::{
    address::{Address, AddressPair, IfIndex, Ipv4Wire, Ipv6Wire},
    maps,
    way::{Network, Node, NodeId, Way},
};

use super::{
    MapsError, ServiceMaps, batch,
    failures::{too_many, unless_absent},
    open, open_as,
};
use crate::sync::tables::{NetworkTables, TableError};

/// Other nodes, networks, and interfaces.
pub(super) struct NetworkMaps {
    nodes: ReadableArray<Node>,
    sources: ReadableArray<AddressPair>,
    uplinks: HashMap<MapData, u32, AddressPair>,
    networks_v4: LpmTrie<MapData, Ipv4Wire, Network>,
    networks_v6: LpmTrie<MapData, Ipv6Wire, Network>,
    node_addresses: Array<MapData, AddressPair>,
}

impl NetworkMaps {
    pub(super) fn open(pins: &Path) -> Result<Self, MapsError> {
        Ok(Self {
            nodes: ReadableArray::open(pins, maps::NODES)?,
            sources: ReadableArray::open(pins, maps::SOURCES)?,
            uplinks: open_as(pins, maps::UPLINKS)?,
            networks_v4: open_as(pins, maps::NETWORKS_V4)?,
            networks_v6: open_as(pins, maps::NETWORKS_V6)?,
            node_addresses: open_as(pins, maps::NODE_ADDRESSES)?,
        })
    }
}

/// An array that is written element by element, and read all at once when the agent starts.
struct ReadableArray<T: Pod> {
    name: &'static str,
    map: MapData,
    elements: Array<MapData, T>,
}

impl<T: Pod> ReadableArray<T> {
    fn open(pins: &Path, name: &'static str) -> Result<Self, MapsError> {
        Ok(Self { name, map: open(pins, name)?, elements: open_as(pins, name)? })
    }

    fn set(&mut self, index: u32, value: T) -> Result<(), TableError> {
        Ok(self.elements.set(index, value, 0)?)
    }

    /// The elements that are in use.
    fn read(&self, is_used: impl Fn(&T) -> bool) -> Result<Vec<(u32, T)>, TableError> {
        let mut used = Vec::new();
        batch::for_each(self.name, &self.map, |&(index, value): &(u32, T)| {
            if is_used(&value) {
                used.push((index, value));
            }
        })
        .map_err(|error| match error {
            MapsError::Map(error) => TableError::Map(error),
            MapsError::Memory { map, error } | MapsError::Batch { map, error } => {
                TableError::Read { table: map, error }
            }
        })?;
        Ok(used)
    }
}

impl NetworkTables for ServiceMaps {
    fn put_node(&mut self, id: NodeId, node: Node) -> Result<(), TableError> {
        self.networks.nodes.set(id.0.into(), node)
    }

    fn put_network(&mut self, network: IpNet, way: Way) -> Result<(), TableError> {
        let value = Network::new(way);
        let length = u32::from(network.prefix_len());
        let inserted = match network.network() {
            IpAddr::V4(address) => {
                let key = Key::new(length, Ipv4Wire::from(address));
                self.networks.networks_v4.insert(&key, value, 0)
            }
            IpAddr::V6(address) => {
                let key = Key::new(length, Ipv6Wire::from(address));
                self.networks.networks_v6.insert(&key, value, 0)
            }
        };
        inserted.map_err(|error| too_many("networks", error))
    }

    fn remove_network(&mut self, network: IpNet) -> Result<(), TableError> {
        let length = u32::from(network.prefix_len());
        unless_absent(match network.network() {
            IpAddr::V4(address) => {
                self.networks.networks_v4.remove(&Key::new(length, Ipv4Wire::from(address)))
            }
            IpAddr::V6(address) => {
                self.networks.networks_v6.remove(&Key::new(length, Ipv6Wire::from(address)))
            }
        })
    }

    fn put_source(&mut self, interface: IfIndex, pod: AddressPair) -> Result<(), TableError> {
        self.networks.sources.set(interface.get(), pod)
    }

    fn put_uplink(&mut self, interface: IfIndex, node: AddressPair) -> Result<(), TableError> {
        self.networks
            .uplinks
            .insert(interface.get(), node, 0)
            .map_err(|error| too_many("uplinks", error))
    }

    fn remove_uplink(&mut self, interface: IfIndex) -> Result<(), TableError> {
        unless_absent(self.networks.uplinks.remove(&interface.get()))
    }

    fn put_node_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError> {
        Ok(self.networks.node_addresses.set(0, addresses, 0)?)
    }

    fn nodes(&self) -> Result<Vec<(NodeId, Node)>, TableError> {
        let used = self.networks.nodes.read(|node| node.ip_version() != 0)?.into_iter();
        Ok(used.filter_map(|(index, node)| Some((NodeId(index.try_into().ok()?), node))).collect())
    }

    fn networks(&self) -> Result<Vec<(IpNet, Way)>, TableError> {
        let mut networks = read_networks(&self.networks.networks_v4)?;
        networks.extend(read_networks(&self.networks.networks_v6)?);
        Ok(networks)
    }

    fn sources(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        let used = self.networks.sources.read(|pair| *pair != AddressPair::default())?;
        Ok(used.into_iter().map(|(index, pair)| (IfIndex::new(index), pair)).collect())
    }

    fn node_addresses(&self) -> Result<AddressPair, TableError> {
        Ok(self.networks.node_addresses.get(&0, 0)?)
    }

    fn uplinks(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        self.networks
            .uplinks
            .iter()
            .map(|entry| {
                let (index, pair) = entry?;
                Ok((IfIndex::new(index), pair))
            })
            .collect()
    }
}

fn read_networks<A: Address + Pod>(
    trie: &LpmTrie<MapData, A, Network>,
) -> Result<Vec<(IpNet, Way)>, TableError> {
    let mut networks = Vec::new();
    for entry in trie {
        let (key, network) = entry?;
        let length = key.prefix_len().try_into().unwrap_or(u8::MAX);
        // The kernel takes no key with a longer prefix than the address has bits.
        if let Ok(prefix) = IpNet::new(key.data().ip(), length) {
            networks.push((prefix, network.way()));
        }
    }
    Ok(networks)
}
