//! The tables that the agent's synchronisation writes, in memory, shared with those who let packets
//! meet them.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use datapath::testing::{
    node::{Node, NodeFamily},
    tables::{ArraySizes, Arrays, MemoryTables},
};
use ipnet::IpNet;
use maps_schema::{
    address::{Address, AddressPair, IfIndex, Ipv4Wire, Ipv6Wire, Port},
    affinity::AffinityRule,
    service::{
        AddressEntry, AddressRole, Backend, BackendId, Frontend, FrontendKey, ServiceId,
        ServiceRecord, Slot,
    },
    socket::SocketNamespace,
    way::{Node as PeerNode, NodeId, Way},
};
use userspace::sync::tables::{FrontendAddress, NetworkTables, ServiceTables, TableError};

/// How much there is room for: enough for every scenario, Maglev tables included.
pub const SIZES: ArraySizes = ArraySizes { services: 256, slots: 8192, backends: 1024 };

/// Everything that is written.
#[derive(Debug)]
pub struct Written {
    /// What the datapath's stages see.
    pub node: Node,
    /// Other nodes.
    pub peers: BTreeMap<NodeId, PeerNode>,
    /// The node's addresses on its uplinks.
    pub uplinks: BTreeMap<IfIndex, AddressPair>,
    namespaces: BTreeMap<u64, SocketNamespace>,
}

/// A handle to it.
#[derive(Clone, Debug)]
pub struct SharedTables(Rc<RefCell<Written>>);

impl SharedTables {
    /// Empty tables with room for so many connections per family.
    pub fn new(connection_capacity: usize) -> Self {
        let mut node = Node::new(connection_capacity);
        node.v4.arrays = Arrays::new(SIZES);
        node.v6.arrays = Arrays::new(SIZES);
        Self(Rc::new(RefCell::new(Written {
            node,
            peers: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        })))
    }

    /// Looks at what is written.
    pub fn read<T>(&self, look: impl FnOnce(&Written) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Changes it.
    pub fn write<T>(&self, change: impl FnOnce(&mut Written) -> T) -> T {
        change(&mut self.0.borrow_mut())
    }

    /// Changes the arrays, which both families' tables have a copy of.
    fn arrays(&self, change: impl Fn(&mut Arrays)) {
        self.write(|written| {
            change(&mut written.node.v4.arrays);
            change(&mut written.node.v6.arrays);
        });
    }
}

/// Lets a family's tables be changed that an address is of.
macro_rules! of_family {
    ($written:ident, $address:expr, |$tables:ident, $wire:ident| $change:expr) => {
        match $address {
            IpAddr::V4(address) => {
                let ($tables, $wire) = (&mut $written.node.v4, Ipv4Wire::from(address));
                $change;
            }
            IpAddr::V6(address) => {
                let ($tables, $wire) = (&mut $written.node.v6, Ipv6Wire::from(address));
                $change;
            }
        }
    };
}

fn key<A: Address>(address: A, frontend: FrontendAddress) -> FrontendKey<A> {
    let port = Port::new(frontend.address.port());
    FrontendKey::new(address, port, frontend.protocol, frontend.audience)
}

fn frontends<A: NodeFamily>(
    tables: &MemoryTables<A>,
) -> impl Iterator<Item = (FrontendAddress, Frontend)> {
    tables.frontends.iter().map(|(key, frontend)| {
        let address = SocketAddr::new(key.address.ip(), key.port.number());
        let (protocol, audience) = (key.protocol(), key.audience());
        (FrontendAddress { address, protocol, audience }, *frontend)
    })
}

impl ServiceTables for SharedTables {
    fn capacity(&self) -> (u32, u32, u32) {
        (SIZES.services, SIZES.slots, SIZES.backends)
    }

    fn put_backend(&mut self, id: BackendId, backend: Backend) {
        self.arrays(|arrays| {
            arrays.backends.insert(id, backend);
        });
    }

    fn put_slot(&mut self, slot: Slot, backend: BackendId) {
        self.arrays(|arrays| {
            arrays.slots.insert(slot, backend);
        });
    }

    fn put_record(&mut self, service: ServiceId, record: ServiceRecord) {
        self.arrays(|arrays| {
            arrays.services.insert(service, record);
        });
    }

    fn put_affinity_rule(&mut self, service: ServiceId, rule: AffinityRule) {
        self.arrays(|arrays| {
            arrays.affinity_rules.insert(service, rule);
        });
    }

    fn put_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        self.remove_source_range(service, range)?;
        let length = u32::from(range.prefix_len());
        self.write(|written| {
            of_family!(written, range.addr(), |tables, address| tables
                .source_ranges
                .push((service, address, length)));
        });
        Ok(())
    }

    fn remove_source_range(&mut self, service: ServiceId, range: IpNet) -> Result<(), TableError> {
        let length = u32::from(range.prefix_len());
        self.write(|written| {
            of_family!(written, range.addr(), |tables, address| tables
                .source_ranges
                .retain(|other| *other != (service, address, length)));
        });
        Ok(())
    }

    fn put_frontend(
        &mut self,
        frontend: FrontendAddress,
        leads_to: Frontend,
    ) -> Result<(), TableError> {
        self.write(|written| {
            of_family!(written, frontend.address.ip(), |tables, address| tables
                .frontends
                .insert(key(address, frontend), leads_to));
        });
        Ok(())
    }

    fn remove_frontend(&mut self, frontend: FrontendAddress) -> Result<(), TableError> {
        self.write(|written| {
            of_family!(written, frontend.address.ip(), |tables, address| tables
                .frontends
                .remove(&key(address, frontend)));
        });
        Ok(())
    }

    fn put_address(&mut self, address: IpAddr, role: AddressRole) -> Result<(), TableError> {
        self.write(|written| {
            of_family!(written, address, |tables, address| tables
                .addresses
                .insert(address, AddressEntry::new(role)));
        });
        Ok(())
    }

    fn remove_address(&mut self, address: IpAddr) -> Result<(), TableError> {
        self.write(|written| {
            of_family!(written, address, |tables, address| tables.addresses.remove(&address));
        });
        Ok(())
    }

    fn put_namespace(&mut self, cookie: u64, namespace: SocketNamespace) -> Result<(), TableError> {
        self.write(|written| written.namespaces.insert(cookie, namespace));
        Ok(())
    }

    fn remove_namespace(&mut self, cookie: u64) -> Result<(), TableError> {
        self.write(|written| written.namespaces.remove(&cookie));
        Ok(())
    }

    fn reset_counters(&mut self, service: ServiceId) -> Result<(), TableError> {
        self.read(|written| written.node.counters.borrow_mut().remove(&service));
        Ok(())
    }

    fn frontends(&self) -> Result<Vec<(FrontendAddress, Frontend)>, TableError> {
        Ok(self.read(|written| {
            let Node { v4, v6, .. } = &written.node;
            frontends(v4).chain(frontends(v6)).collect()
        }))
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, AddressRole)>, TableError> {
        Ok(self.read(|written| {
            let Node { v4, v6, .. } = &written.node;
            let v4 = v4.addresses.iter().map(|(address, entry)| (address.ip(), entry.role()));
            let v6 = v6.addresses.iter().map(|(address, entry)| (address.ip(), entry.role()));
            v4.chain(v6).collect()
        }))
    }

    fn namespaces(&self) -> Result<Vec<(u64, SocketNamespace)>, TableError> {
        Ok(self.read(|written| written.namespaces.iter().map(|(id, it)| (*id, *it)).collect()))
    }

    fn source_ranges(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError> {
        Ok(self.read(|written| {
            let Node { v4, v6, .. } = &written.node;
            source_ranges(v4).chain(source_ranges(v6)).collect()
        }))
    }

    fn affinity_rule(&self, service: ServiceId) -> AffinityRule {
        self.read(|written| {
            written.node.v4.arrays.affinity_rules.get(&service).copied().unwrap_or_default()
        })
    }

    fn record(&self, service: ServiceId) -> ServiceRecord {
        self.read(|written| {
            written.node.v4.arrays.services.get(&service).copied().unwrap_or_default()
        })
    }

    fn slot(&self, slot: Slot) -> BackendId {
        self.read(|written| written.node.v4.arrays.slots.get(&slot).copied().unwrap_or_default())
    }

    fn backend(&self, id: BackendId) -> Backend {
        self.read(|written| written.node.v4.arrays.backends.get(&id).copied().unwrap_or_default())
    }
}

impl NetworkTables for SharedTables {
    fn put_node(&mut self, id: NodeId, node: PeerNode) -> Result<(), TableError> {
        self.write(|written| written.peers.insert(id, node));
        Ok(())
    }

    fn put_network(&mut self, network: IpNet, way: Way) -> Result<(), TableError> {
        self.remove_network(network)?;
        let length = u32::from(network.prefix_len());
        self.write(|written| written.node.add_network(network.addr(), length, way));
        Ok(())
    }

    fn remove_network(&mut self, network: IpNet) -> Result<(), TableError> {
        let length = u32::from(network.prefix_len());
        self.write(|written| {
            of_family!(written, network.addr(), |tables, address| tables
                .networks
                .retain(|(prefix, other, _)| (*prefix, *other) != (address, length)));
        });
        Ok(())
    }

    fn put_source(&mut self, interface: IfIndex, pod: AddressPair) -> Result<(), TableError> {
        self.write(|written| {
            let Node { v4, v6, .. } = &mut written.node;
            v4.sources.insert(interface, pod.v4);
            v6.sources.insert(interface, pod.v6);
        });
        Ok(())
    }

    fn put_uplink(&mut self, interface: IfIndex, node: AddressPair) -> Result<(), TableError> {
        self.write(|written| {
            written.node.uplink = (node.v4, node.v6);
            written.uplinks.insert(interface, node);
        });
        Ok(())
    }

    fn remove_uplink(&mut self, interface: IfIndex) -> Result<(), TableError> {
        self.write(|written| written.uplinks.remove(&interface));
        Ok(())
    }

    fn put_node_addresses(&mut self, addresses: AddressPair) -> Result<(), TableError> {
        self.write(|written| written.node.primary = (addresses.v4, addresses.v6));
        Ok(())
    }

    fn node_addresses(&self) -> Result<AddressPair, TableError> {
        let (v4, v6) = self.read(|written| written.node.primary);
        Ok(AddressPair { v4, v6 })
    }

    fn nodes(&self) -> Result<Vec<(NodeId, PeerNode)>, TableError> {
        Ok(self.read(|written| written.peers.iter().map(|(id, node)| (*id, *node)).collect()))
    }

    fn networks(&self) -> Result<Vec<(IpNet, Way)>, TableError> {
        Ok(self.read(|written| {
            let Node { v4, v6, .. } = &written.node;
            networks(v4).chain(networks(v6)).collect()
        }))
    }

    fn sources(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.read(|written| {
            let Node { v4, v6, .. } = &written.node;
            let pair = |(interface, address): (&IfIndex, &Ipv4Wire)| {
                let v6 = v6.sources.get(interface).copied().unwrap_or_default();
                (*interface, AddressPair { v4: *address, v6 })
            };
            v4.sources.iter().map(pair).collect()
        }))
    }

    fn uplinks(&self) -> Result<Vec<(IfIndex, AddressPair)>, TableError> {
        Ok(self.read(|written| written.uplinks.iter().map(|(id, pair)| (*id, *pair)).collect()))
    }
}

fn networks<A: Address>(tables: &MemoryTables<A>) -> impl Iterator<Item = (IpNet, Way)> {
    tables.networks.iter().filter_map(|(prefix, length, way)| {
        let network = IpNet::new(prefix.ip(), u8::try_from(*length).ok()?).ok()?;
        Some((network, *way))
    })
}

fn source_ranges<A: Address>(tables: &MemoryTables<A>) -> impl Iterator<Item = (ServiceId, IpNet)> {
    tables.source_ranges.iter().filter_map(|(service, prefix, length)| {
        let range = IpNet::new(prefix.ip(), u8::try_from(*length).ok()?).ok()?;
        Some((*service, range))
    })
}
