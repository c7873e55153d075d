//! Addresses for pods, out of the Node's pod CIDRs, remembered across restarts and kill -9.
//!
//! [`pool`] decides and is pure; [`Ipam`] brings every decision to the disk before anyone acts on
//! it, so that an address which was handed out is never handed out again while its pod lives.

mod pool;
mod store;

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use thiserror::Error;

use self::pool::Pool;
use crate::cluster::model::ObjectName;

/// The store's name under the run directory.
const STORE: &str = "ipam.json";

/// Why a pod got no address.
#[derive(Debug, Error)]
pub enum Error {
    /// Every address of the CIDR is in use.
    #[error(
        "pod {pod}: pod CIDR {cidr} is full: all of its {capacity} addresses are in use; \
         remove pods or give the Node a larger spec.podCIDRs"
    )]
    Full {
        /// The pod that wanted an address.
        pod: ObjectName,
        /// The CIDR.
        cidr: IpNet,
        /// How many pods it has room for.
        capacity: u128,
    },
    /// The Node has no pod CIDR.
    #[error("pod {pod}: the Node has no spec.podCIDR; set it, or give the pod a status.podIP")]
    NoCidr {
        /// The pod that wanted an address.
        pod: ObjectName,
    },
    /// Another pod has the address.
    #[error(
        "pod {pod}: status.podIPs {address} belongs to pod {holder} already; change one of them"
    )]
    Taken {
        /// The pod that wanted the address.
        pod: ObjectName,
        /// The address.
        address: IpAddr,
        /// The pod that has it.
        holder: ObjectName,
    },
    /// The address is the network's, its broadcast address, or its gateway.
    #[error("pod {pod}: status.podIPs {address} is the {role} of pod CIDR {cidr}; choose another")]
    Reserved {
        /// The pod that wanted the address.
        pod: ObjectName,
        /// The address.
        address: IpAddr,
        /// What the address is.
        role: &'static str,
        /// The CIDR.
        cidr: IpNet,
    },
    /// More than one address of one family was asked for.
    #[error(
        "pod {pod}: status.podIPs has {first} and {second}, of one family; \
         leave one of them out"
    )]
    TwoOfOneFamily {
        /// The pod.
        pod: ObjectName,
        /// The first address.
        first: IpAddr,
        /// The second address.
        second: IpAddr,
    },
    /// The assignments could not be brought to the disk, so none of them is in force.
    #[error(
        "pod {pod}: writing the address store {}: {reason}; free space or repair the folder",
        path.display()
    )]
    Store {
        /// The pod.
        pod: ObjectName,
        /// The store.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// What one pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRequest {
    /// The pod.
    pub pod: ObjectName,
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
    pub damage: Option<StoreDamage>,
}

/// A store that could not be read.
#[derive(Debug, Error)]
#[error(
    "address store {}: {reason}; it was kept as {}; going on from what the pods' namespaces have",
    path.display(),
    kept_as.display()
)]
pub struct StoreDamage {
    /// The store.
    pub path: PathBuf,
    /// Why it could not be read.
    pub reason: String,
    /// Where it is now.
    pub kept_as: PathBuf,
}

/// The addresses of this node's pods. Owned by the agent; its file belongs to one agent at a time.
#[derive(Debug)]
pub struct Ipam {
    path: PathBuf,
    pool: Pool,
}

impl Ipam {
    /// Reads `<run-dir>/ipam.json`. A store that is missing is an empty one; a store that is
    /// damaged is moved aside and reported.
    ///
    /// # Errors
    /// The file exists and the system will not read it.
    pub fn open(run_dir: &Path) -> io::Result<Opened> {
        let path = run_dir.join(STORE);
        let (pool, damage) = store::read(&path)?;
        Ok(Opened { ipam: Self { path, pool }, damage })
    }

    /// Removes the store, for `shunt cleanup`; one that was kept aside stays.
    ///
    /// # Errors
    /// The system will not remove it.
    pub fn remove(run_dir: &Path) -> io::Result<()> {
        match fs::remove_file(run_dir.join(STORE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Says what the Node's pod CIDRs are, at most one per family. Leases out of a CIDR that is no
    /// more are dropped, and the pods that had them are named.
    pub fn set_cidrs(&mut self, cidrs: &[IpNet]) -> Vec<ObjectName> {
        self.pool.set_cidrs(cidrs)
    }

    /// Takes note of addresses that a pod's namespace already has, where the store does not know
    /// the pod and no other pod has them.
    pub fn adopt(&mut self, pod: &ObjectName, addresses: &[IpAddr]) {
        self.pool.adopt(pod, addresses);
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
                        pod: request.pod.clone(),
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

    /// Releases the addresses of every pod that is not among `pods`, and says whose they were. To
    /// be called once the pods' namespaces are gone.
    ///
    /// # Errors
    /// The store cannot be written; nothing is released then.
    pub fn retain(&mut self, pods: &BTreeSet<ObjectName>) -> io::Result<Vec<ObjectName>> {
        let before = self.pool.clone();
        let released = self.pool.retain(pods);
        if let Err(error) = self.save(&before) {
            self.pool = before;
            return Err(error);
        }
        Ok(released)
    }

    /// The addresses of a pod.
    pub fn addresses(&self, pod: &ObjectName) -> &[IpAddr] {
        self.pool.addresses(pod)
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
    use super::*;

    fn pod(name: &str) -> ObjectName {
        ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn any(name: &str) -> AddressRequest {
        AddressRequest { pod: pod(name), wanted: Vec::new() }
    }

    fn open(folder: &Path) -> Ipam {
        let mut ipam = Ipam::open(folder).unwrap().ipam;
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
        let mut opened = Ipam::open(folder.path()).unwrap();
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
}
