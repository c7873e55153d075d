//! What shunt made, written down before it is made: the only proof, after a crash, of what may be
//! repaired or removed.
//!
//! One file per pod, so that hundreds of pods do not wait for one another, and one for the node.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Error, ends::Ends, names};
use crate::{atomic_file, cluster::model::ObjectName};

/// The name of a pod's interface, where nobody says another.
const POD_INTERFACE: &str = "eth0";

/// What was made for one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRecord {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The name of its network namespace.
    pub netns: String,
    /// The cookie of its network namespace, which no other namespace has while `boot_id` lasts.
    pub netns_cookie: u64,
    /// `/proc/sys/kernel/random/boot_id` when the namespace was made.
    pub boot_id: String,
    /// The name of the host end of its veth pair.
    pub host_interface: String,
    /// The addresses of its `eth0`.
    pub addresses: Vec<IpAddr>,
    /// The names of the host routes' interface: set where an address is outside of the node's pod
    /// CIDRs.
    pub routed_over: Option<String>,
    /// Whether the folder under `/etc/netns` was made by shunt.
    pub made_etc_folder: bool,
    /// Whether the `resolv.conf` in it was made by shunt.
    pub made_resolv_conf: bool,
}

impl PodRecord {
    /// The pod.
    pub fn pod(&self) -> ObjectName {
        ObjectName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The ends of its veth pair.
    pub(super) fn ends(&self) -> Ends {
        let pod = self.pod();
        Ends {
            mac: names::pod_mac(&pod),
            pod,
            netns: self.netns.clone(),
            interface: POD_INTERFACE.to_owned(),
            host_interface: self.host_interface.clone(),
        }
    }
}

/// What was made for the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeRecord {
    /// The cookie of the node's own network namespace.
    pub(super) netns_cookie: u64,
    /// `/proc/sys/kernel/random/boot_id` when the record was begun.
    pub(super) boot_id: String,
    /// The bridges.
    pub(super) bridges: Vec<BridgeRecord>,
    /// Settings under `/proc/sys` that shunt changed, with what they were.
    pub(super) settings: Vec<SettingRecord>,
    /// Whether shunt made the overlay device.
    #[serde(default)]
    pub(super) overlay: bool,
    /// Whether shunt made routes to other nodes' pods; the routes themselves have its protocol
    /// number.
    #[serde(default)]
    pub(super) peer_routes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BridgeRecord {
    pub(super) name: String,
    /// Whether shunt made the bridge itself; otherwise only the addresses are shunt's.
    pub(super) made: bool,
    pub(super) addresses: Vec<IpNet>,
    /// The MTU that a bridge of somebody else's had before shunt changed it.
    #[serde(default)]
    pub(super) former_mtu: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SettingRecord {
    pub(super) path: PathBuf,
    pub(super) former: String,
}

/// The records of one agent, under its run directory.
#[derive(Clone, Debug)]
pub(super) struct Records {
    run_dir: PathBuf,
}

impl Records {
    pub(super) fn new(run_dir: &Path) -> Self {
        Self { run_dir: run_dir.to_owned() }
    }

    pub(super) fn node(&self) -> Result<Option<NodeRecord>, Error> {
        read(&self.node_path())
    }

    pub(super) fn write_node(&self, record: &NodeRecord) -> Result<(), Error> {
        write(&self.node_path(), record)
    }

    pub(super) fn remove_node(&self) -> Result<(), Error> {
        remove(&self.node_path())
    }

    pub(super) fn pod(&self, netns: &str) -> Result<Option<PodRecord>, Error> {
        read(&self.pod_path(netns))
    }

    pub(super) fn write_pod(&self, record: &PodRecord) -> Result<(), Error> {
        write(&self.pod_path(&record.netns), record)
    }

    pub(super) fn remove_pod(&self, netns: &str) -> Result<(), Error> {
        remove(&self.pod_path(netns))
    }

    /// Removes the folder of the pods' records, where it is empty.
    pub(super) fn remove_pods_folder(&self) {
        // A folder that is not empty holds something that is not a record: it stays.
        let _ = fs::remove_dir(self.pods_folder());
    }

    /// Every pod's record, in the order of the namespaces' names, and what could not be read.
    pub(super) fn pods(&self) -> (Vec<PodRecord>, Vec<Error>) {
        let folder = self.pods_folder();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Vec::new(), Vec::new());
            }
            Err(error) => {
                let action = format!("reading {}", folder.display());
                return (Vec::new(), vec![Error::kernel(action)(error)]);
            }
        };
        let mut records = Vec::new();
        let mut errors = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "json") {
                match read(&path) {
                    Ok(record) => records.extend(record),
                    Err(error) => errors.push(error),
                }
            }
        }
        records.sort_by(|a: &PodRecord, b: &PodRecord| a.netns.cmp(&b.netns));
        (records, errors)
    }

    fn node_path(&self) -> PathBuf {
        self.run_dir.join("podnet.json")
    }

    fn pods_folder(&self) -> PathBuf {
        self.run_dir.join("pods")
    }

    fn pod_path(&self, netns: &str) -> PathBuf {
        self.pods_folder().join(format!("{netns}.json"))
    }
}

/// The kernel's name for the time since it booted.
pub fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::kernel(format!("reading {path}")))?;
    Ok(text.trim().to_owned())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::kernel(format!("reading {}", path.display()))(error)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(error) => {
            let action = format!("moving {} aside", path.display());
            let kept_as = atomic_file::keep_aside(path).map_err(Error::kernel(action))?;
            Err(Error::Record { path: path.to_owned(), reason: error.to_string(), kept_as })
        }
    }
}

fn write<T: Serialize>(path: &Path, record: &T) -> Result<(), Error> {
    let action = || format!("writing {}", path.display());
    let bytes = serde_json::to_vec_pretty(record)
        .map_err(io::Error::from)
        .map_err(Error::kernel(action()))?;
    atomic_file::write(path, &bytes).map_err(Error::kernel(action()))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::kernel(format!("removing {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
