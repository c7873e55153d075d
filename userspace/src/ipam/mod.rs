//! Addresses for pods, out of the Node's pod CIDRs, remembered across restarts and kill -9.
//!
//! [`pool`] decides and is pure; [`Ipam`] brings every decision to the disk before anyone acts on
//! it, so that an address which was handed out is never handed out again while its pod lives.

mod pool;
mod store;

use std::{
    collections::BTreeSet,
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use thiserror::Error;

use self::pool::Pool;
use crate::{attachments::AttachmentKey, cluster::model::ObjectName, state_file::StateDamage};

/// Who has addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A pod that the agent makes of its object.
    Pod(ObjectName),
    /// A container that a runtime had attached. Its addresses never change: nobody could tell it.
    Attachment(AttachmentKey),
}

impl From<ObjectName> for Holder {
    fn from(pod: ObjectName) -> Self {
        Self::Pod(pod)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(pod) => write!(formatter, "pod {pod}"),
            Self::Attachment(key) => write!(formatter, "{key}"),
        }
    }
}

/// Why a pod got no address.
#[derive(Debug, Error)]
pub enum Error {
    /// Every address of the CIDR is in use.
    #[error(
        "{holder}: pod CIDR {cidr} is full: all of its {capacity} addresses are in use; \
         remove pods or give the Node a larger spec.podCIDRs"
    )]
    Full {
        /// Who wanted an address.
        holder: Holder,
        /// The CIDR.
        cidr: IpNet,
        /// How many pods it has room for.
        capacity: u128,
    },
    /// The Node has no pod CIDR.
    #[error("{holder}: the Node has no spec.podCIDR; set it, or give the pod a status.podIP")]
    NoCidr {
        /// Who wanted an address.
        holder: Holder,
    },
    /// Another pod has the address.
    #[error("{holder}: status.podIPs {address} belongs to {other} already; change one of them")]
    Taken {
        /// Who wanted the address.
        holder: Holder,
        /// The address.
        address: IpAddr,
        /// Who has it.
        other: Box<Holder>,
    },
    /// The address is the network's, its broadcast address, or its gateway.
    #[error("{holder}: status.podIPs {address} is the {role} of pod CIDR {cidr}; choose another")]
    Reserved {
        /// Who wanted the address.
        holder: Holder,
        /// The address.
        address: IpAddr,
        /// What the address is.
        role: &'static str,
        /// The CIDR.
        cidr: IpNet,
    },
    /// More than one address of one family was asked for.
    #[error(
        "{holder}: status.podIPs has {first} and {second}, of one family; \
         leave one of them out"
    )]
    TwoOfOneFamily {
        /// Whose it is.
        holder: Holder,
        /// The first address.
        first: IpAddr,
        /// The second address.
        second: IpAddr,
    },
    /// The assignments could not be brought to the disk, so none of them is in force.
    #[error(
        "{holder}: writing the address store {}: {reason}; free space or repair the folder",
        path.display()
    )]
    Store {
        /// Whose it is.
        holder: Holder,
        /// The store.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// What one pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRequest {
    /// Who asks.
    pub holder: Holder,
    /// `status.podIPs`; empty where any address of the node's CIDRs will do.
    pub wanted: Vec<IpAddr>,
}

/// What [`Ipam::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The allocator.
    pub ipam: Ipam,
    /// What was wrong with the store, where something was; the allocator then starts without
    /// leases, and [`Ipam::adopt`] tells it what the namespaces have.
    pub damage: Option<StateDamage>,
}

/// The addresses of this node's pods. Owned by the agent; its file belongs to one agent at a time.
#[derive(Debug)]
pub struct Ipam {
    path: PathBuf,
    pool: Pool,
}

impl Ipam {
    /// Reads `<state-dir>/ipam.json`, which may have been in `run_dir` before. A store that is
    /// missing is an empty one; a store that is damaged is moved aside and reported.
    ///
    /// # Errors
    /// The file exists and the system will not read it.
    pub fn open(state_dir: &Path, run_dir: &Path) -> io::Result<Opened> {
        let found = store::STORE.open(state_dir, run_dir, store::parse)?;
        Ok(Opened { ipam: Self { path: found.path, pool: found.state }, damage: found.damage })
    }

    /// Removes the store, for `shunt cleanup`; one that was kept aside stays.
    ///
    /// # Errors
    /// The system will not remove it.
    pub fn remove(state_dir: &Path) -> io::Result<()> {
        store::STORE.remove(state_dir)
    }

    /// Says what the Node's pod CIDRs are, at most one per family. Leases out of a CIDR that is no
    /// more are dropped, and the pods that had them are named; those of attachments stay.
    pub fn set_cidrs(&mut self, cidrs: &[IpNet]) -> Vec<Holder> {
        self.pool.set_cidrs(cidrs)
    }

    /// Takes note of addresses that a pod already has, where the store does not know the pod and no
    /// other pod has them.
    pub fn adopt(&mut self, holder: &Holder, addresses: &[IpAddr]) {
        self.pool.adopt(holder, addresses);
    }

    /// Gives each pod its addresses: what it had, or what it asks for, or the next free ones; for
    /// each pod one per CIDR or none at all. Those who ask for an address are served before those
    /// who take any. Answers stand in the order of the requests, and are on the disk.
    pub fn assign(&mut self, requests: &[AddressRequest]) -> Vec<Result<Vec<IpAddr>, Error>> {
        let before = self.pool.clone();
        let answers = self.pool.assign(requests);
        match self.save(&before) {
            Ok(()) => answers,
            Err(error) => {
                let answer = |request: &AddressRequest| {
                    Err(Error::Store {
                        holder: request.holder.clone(),
                        path: self.path.clone(),
                        reason: error.to_string(),
                    })
                };
                let refusals = requests.iter().map(answer).collect();
                self.pool = before;
                refusals
            }
        }
    }

    /// Releases the addresses of everybody who is not among `holders`, and says whose they were. To
    /// be called once their interfaces are gone.
    ///
    /// # Errors
    /// The store cannot be written; nothing is released then.
    pub fn retain(&mut self, holders: &BTreeSet<Holder>) -> io::Result<Vec<Holder>> {
        self.release_where(|holder| !holders.contains(holder))
    }

    /// Releases the addresses of these, where they have any. To be called once their interfaces are
    /// gone.
    ///
    /// # Errors
    /// The store cannot be written; nothing is released then.
    pub fn release(&mut self, holders: &BTreeSet<Holder>) -> io::Result<Vec<Holder>> {
        self.release_where(|holder| holders.contains(holder))
    }

    /// Releases the addresses of the attachments that are not among `holders`.
    ///
    /// # Errors
    /// The store cannot be written; nothing is released then.
    pub fn release_attachments_but(
        &mut self,
        holders: &BTreeSet<Holder>,
    ) -> io::Result<Vec<Holder>> {
        let is_attachment = |holder: &Holder| matches!(holder, Holder::Attachment(_));
        self.release_where(|holder| is_attachment(holder) && !holders.contains(holder))
    }

    fn release_where(&mut self, is_gone: impl Fn(&Holder) -> bool) -> io::Result<Vec<Holder>> {
        let before = self.pool.clone();
        let released = self.pool.release_where(is_gone);
        if let Err(error) = self.save(&before) {
            self.pool = before;
            return Err(error);
        }
        Ok(released)
    }

    /// The addresses that somebody has.
    pub fn addresses(&self, holder: &Holder) -> &[IpAddr] {
        self.pool.addresses(holder)
    }

    fn save(&self, before: &Pool) -> io::Result<()> {
        if *before == self.pool && self.path.exists() {
            return Ok(());
        }
        store::write(&self.path, &self.pool)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pod(name: &str) -> Holder {
        Holder::Pod(ObjectName { namespace: "default".to_owned(), name: name.to_owned() })
    }

    fn attachment(container_id: &str) -> Holder {
        let interface = "eth0".to_owned();
        Holder::Attachment(AttachmentKey { container_id: container_id.to_owned(), interface })
    }

    fn reopen(folder: &Path) -> Opened {
        Ipam::open(folder, folder).unwrap()
    }

    fn any(name: &str) -> AddressRequest {
        AddressRequest { holder: pod(name), wanted: Vec::new() }
    }

    fn open(folder: &Path) -> Ipam {
        let mut ipam = reopen(folder).ipam;
        ipam.set_cidrs(&["192.168.1.0/24".parse().unwrap(), "fd10:1::/64".parse().unwrap()]);
        ipam
    }

    #[test]
    fn assignments_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).assign(&[any("a"), any("b")]);
        let mut again = open(folder.path());
        let second = again.assign(&[any("b"), any("a"), any("c")]);
        assert_eq!(first[0].as_ref().unwrap(), second[1].as_ref().unwrap());
        assert_eq!(first[1].as_ref().unwrap(), second[0].as_ref().unwrap());
        assert_eq!(
            second[2].as_ref().unwrap(),
            &["192.168.1.4".parse::<IpAddr>().unwrap(), "fd10:1::4".parse().unwrap()]
        );
    }

    #[test]
    fn a_damaged_store_is_named_kept_aside_and_replaced_by_what_namespaces_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipam.json");
        fs::write(&path, "{\"leases\": [").unwrap();
        let mut opened = reopen(folder.path());
        let damage = opened.damage.unwrap();
        assert!(damage.to_string().contains(&path.display().to_string()));
        assert_eq!(damage.kept_as, folder.path().join("ipam.json.corrupt"));
        opened.ipam.set_cidrs(&["192.168.1.0/24".parse().unwrap()]);
        opened.ipam.adopt(&pod("a"), &["192.168.1.2".parse().unwrap()]);
        let answers = opened.ipam.assign(&[any("b"), any("a")]);
        assert_eq!(answers[0].as_ref().unwrap(), &["192.168.1.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(answers[1].as_ref().unwrap(), &["192.168.1.2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_store_that_cannot_be_written_assigns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut ipam = open(folder.path());
        fs::create_dir_all(folder.path().join("ipam.json.tmp")).unwrap();
        let answers = ipam.assign(&[any("a")]);
        assert!(matches!(answers[0], Err(Error::Store { .. })));
        assert!(ipam.addresses(&pod("a")).is_empty());
    }

    #[test]
    fn released_addresses_stay_released_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut ipam = open(folder.path());
        ipam.assign(&[any("a"), any("b")]);
        assert_eq!(ipam.retain(&BTreeSet::from([pod("b")])).unwrap(), [pod("a")]);
        let again = open(folder.path());
        assert!(again.addresses(&pod("a")).is_empty());
        assert_eq!(again.addresses(&pod("b")).len(), 2);
    }

    #[test]
    fn attachments_and_pods_share_the_addresses_across_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut ipam = open(folder.path());
        let ask = |holder| AddressRequest { holder, wanted: Vec::new() };
        ipam.assign(&[any("a"), ask(attachment("a")), ask(attachment("b"))]);
        let mut again = open(folder.path());
        for holder in [pod("a"), attachment("a"), attachment("b")] {
            assert_eq!(again.addresses(&holder), ipam.addresses(&holder));
            assert_eq!(again.addresses(&holder).len(), 2);
        }
        let gone = BTreeSet::from([attachment("a"), attachment("unknown")]);
        assert_eq!(again.release(&gone).unwrap(), [attachment("a")]);
        assert_eq!(open(folder.path()).addresses(&attachment("a")), [] as [IpAddr; 0]);
        // Other CIDRs cost pods their addresses; a container keeps what it has.
        let others = ["192.168.9.0/24".parse().unwrap()];
        assert_eq!(again.set_cidrs(&others), [pod("a")]);
        assert_eq!(again.addresses(&attachment("b")), ipam.addresses(&attachment("b")));
    }
}
