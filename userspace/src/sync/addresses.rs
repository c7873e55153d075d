//! What single addresses are: the node's own, pods' of this node, or services' own. An address can
//! be several of them: a pod's and a service's for a moment, when it passes from one to the other,
//! and the node's and a service's for as long as an external address is the node's. The first of
//! them counts.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use foldhash::fast::RandomState;
use maps_schema::{address::PodLink, service::AddressRole};

use super::tables::{ServiceTables, TableError};

/// The addresses, and who has them.
#[derive(Debug)]
pub(super) struct Addresses {
    /// As the table has them.
    written: HashMap<IpAddr, AddressRole, RandomState>,
    pods: HashMap<IpAddr, PodLink>,
    /// How many services have an address: two for a moment, when it passes between them.
    services: HashMap<IpAddr, u32, RandomState>,
    node: BTreeSet<IpAddr>,
    /// Pods' addresses that came, went or changed, and that nobody was told of yet.
    changed: BTreeSet<IpAddr>,
    changes: u64,
}

impl Addresses {
    /// Takes over what the table has.
    pub(super) fn read(tables: &impl ServiceTables) -> Result<Self, TableError> {
        Ok(Self {
            written: tables.addresses()?.into_iter().collect(),
            pods: HashMap::new(),
            services: HashMap::default(),
            node: BTreeSet::new(),
            changed: BTreeSet::new(),
            changes: 0,
        })
    }

    /// The pod of this node that has an address.
    pub(super) fn pod(&self, address: IpAddr) -> Option<PodLink> {
        self.pods.get(&address).copied()
    }

    /// Says which pods there are, and returns the addresses whose pod has come, gone, or changed
    /// since it last returned any.
    pub(super) fn set_pods(
        &mut self,
        pods: &HashMap<IpAddr, PodLink>,
        tables: &mut impl ServiceTables,
    ) -> Result<BTreeSet<IpAddr>, TableError> {
        for (&address, &link) in pods {
            if !self.node.contains(&address) {
                self.write(address, Some(AddressRole::Pod(link)), tables)?;
            }
            if self.pods.insert(address, link) != Some(link) {
                self.changed.insert(address);
            }
        }
        let gone: Vec<IpAddr> =
            self.pods.keys().filter(|address| !pods.contains_key(address)).copied().collect();
        for address in gone {
            if !self.node.contains(&address) {
                self.write(address, self.services_role(address), tables)?;
            }
            self.pods.remove(&address);
            self.changed.insert(address);
        }
        Ok(std::mem::take(&mut self.changed))
    }

    /// Says which addresses are the node's own.
    pub(super) fn set_node(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        for &address in addresses {
            self.write(address, Some(AddressRole::Node), tables)?;
            self.node.insert(address);
        }
        let gone: Vec<IpAddr> = self.node.difference(addresses).copied().collect();
        for address in gone {
            let pod = self.pod(address).map(AddressRole::Pod);
            self.write(address, pod.or_else(|| self.services_role(address)), tables)?;
            self.node.remove(&address);
        }
        Ok(())
    }

    fn services_role(&self, address: IpAddr) -> Option<AddressRole> {
        self.services.contains_key(&address).then_some(AddressRole::Service)
    }

    /// Whether an address is more than a service's.
    fn is_taken(&self, address: IpAddr) -> bool {
        self.pods.contains_key(&address) || self.node.contains(&address)
    }

    /// Whether the table has an address as a service's own.
    pub(super) fn is_service(&self, address: IpAddr) -> bool {
        self.written.get(&address) == Some(&AddressRole::Service)
    }

    /// Makes an address one more service's own.
    pub(super) fn claim(
        &mut self,
        address: IpAddr,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        if !self.is_taken(address) {
            self.write(address, Some(AddressRole::Service), tables)?;
        }
        *self.services.entry(address).or_default() += 1;
        Ok(())
    }

    /// Undoes [`Self::claim`].
    pub(super) fn give_up(
        &mut self,
        address: IpAddr,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        match self.services.get_mut(&address) {
            Some(users) if *users > 1 => *users -= 1,
            _ => {
                if !self.is_taken(address) {
                    self.write(address, None, tables)?;
                }
                self.services.remove(&address);
            }
        }
        Ok(())
    }

    /// Forgets what the table has that nobody has claimed.
    pub(super) fn remove_unclaimed(
        &mut self,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        let claimed =
            |address: &IpAddr| self.is_taken(*address) || self.services.contains_key(address);
        let unclaimed: Vec<IpAddr> =
            self.written.keys().filter(|address| !claimed(address)).copied().collect();
        for address in unclaimed {
            self.write(address, None, tables)?;
        }
        Ok(())
    }

    /// How many elements were written or deleted so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    fn write(
        &mut self,
        address: IpAddr,
        role: Option<AddressRole>,
        tables: &mut impl ServiceTables,
    ) -> Result<(), TableError> {
        if self.written.get(&address) == role.as_ref() {
            return Ok(());
        }
        if let Some(role) = role {
            tables.put_address(address, role)?;
            self.written.insert(address, role);
        } else {
            tables.remove_address(address)?;
            self.written.remove(&address);
        }
        self.changes += 1;
        Ok(())
    }
}
