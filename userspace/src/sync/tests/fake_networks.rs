//! The tables of nodes, networks and interfaces in plain collections.

use ipnet::IpNet;
use maps_schema::{
    address::{AddressPair, IfIndex},
    way::{Node, NodeId, Way},
};

use super::{fake::Fake, fate::Met};
use crate::sync::tables::{NetworkTables, TableError};

impl NetworkTables for Fake {
    fn put_node_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError> {
        self.fallible()?;
        self.node_addresses = addresses;
        Ok(())
    }

    fn node_addresses(&self) -> Result<AddressPair, TableError> {
        Ok(self.node_addresses)
    }

    fn put_node(&mut self, id: NodeId, node: Node) -> Result<(), TableError> {
        self.fallible()?;
        if node.ip_version() == 0 {
            self.nodes.remove(&id).expect("only what is there is removed");
        } else if let Some(before) = self.nodes.insert(id, node) {
            assert_eq!(before.mac(), node.mac(), "a number is one node's");
        }
        self.after_write();
        Ok(())
    }

    fn put_network(&mut self, network: IpNet, way: Way) -> Result<(), TableError> {
        self.fallible()?;
        assert_ne!(self.met(way), Met::NoNode, "nodes come before networks");
        self.networks.insert(network, way);
        Ok(())
    }

    fn remove_network(&mut self, network: IpNet) -> Result<(), TableError> {
        self.fallible()?;
        self.networks.remove(&network).expect("only what is there is removed");
        Ok(())
    }

    fn put_source(&mut self, interface: IfIndex, pod: AddressPair) -> Result<(), TableError> {
        self.fallible()?;
        if pod == AddressPair::default() {
            self.sources.remove(&interface).expect("only what is there is removed");
        } else {
            self.sources.insert(interface, pod);
        }
        Ok(())
    }

    fn put_uplink(&mut self, interface: IfIndex, node: AddressPair) -> Result<(), TableError> {
        self.fallible()?;
        self.uplinks.insert(interface, node);
        Ok(())
    }

    fn remove_uplink(&mut self, interface: IfIndex) -> Result<(), TableError> {
        self.fallible()?;
        self.uplinks.remove(&interface).expect("only what is there is removed");
        Ok(())
    }

    fn nodes(&self) -> Result<Vec<(NodeId, Node)>, TableError> {
        Ok(self.nodes.iter().map(|(&id, &node)| (id, node)).collect())
    }

    fn networks(&self) -> Result<Vec<(IpNet, Way)>, TableError> {
        Ok(self.networks.iter().map(|(&network, &way)| (network, way)).collect())
    }

    fn sources(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.sources.iter().map(|(&interface, &pod)| (interface, pod)).collect())
    }

    fn uplinks(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.uplinks.iter().map(|(&interface, &node)| (interface, node)).collect())
    }
}
