//! The address store on disk: JSON, so that a person can read it when something is wrong.

use std::{io, net::IpAddr, path::Path};

use serde::{Deserialize, Serialize};

use super::{Holder, pool::Pool};
use crate::{
    atomic_file, attachments::AttachmentKey, cluster::model::ObjectName, state_file::StateFile,
};

pub(super) const STORE: StateFile = StateFile {
    name: "ipam.json",
    what: "address store",
    without: "going on from what the pods' namespaces have",
};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoreFile {
    version: u32,
    leases: Vec<LeaseEntry>,
    /// The address handed out last, per family.
    last: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LeaseEntry {
    /// Of a pod that the agent makes of its object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Of a container that a runtime had attached.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    #[serde(default, rename = "ifname", skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    addresses: Vec<IpAddr>,
    /// Whether the pod's status asked for these very addresses.
    requested: bool,
}

impl LeaseEntry {
    fn new(holder: &Holder, addresses: &[IpAddr], requested: bool) -> Self {
        let (pod, attachment) = match holder {
            Holder::Pod(pod) => (Some(pod), None),
            Holder::Attachment(key) => (None, Some(key)),
        };
        Self {
            namespace: pod.map(|pod| pod.namespace.clone()),
            name: pod.map(|pod| pod.name.clone()),
            container_id: attachment.map(|key| key.container_id.clone()),
            interface: attachment.map(|key| key.interface.clone()),
            addresses: addresses.to_vec(),
            requested,
        }
    }

    fn holder(&self) -> Result<Holder, String> {
        match (&self.namespace, &self.name, &self.container_id, &self.interface) {
            (Some(namespace), Some(name), None, None) => {
                let (namespace, name) = (namespace.clone(), name.clone());
                Ok(Holder::Pod(ObjectName { namespace, name }))
            }
            (None, None, Some(container_id), Some(interface)) => {
                let (container_id, interface) = (container_id.clone(), interface.clone());
                Ok(Holder::Attachment(AttachmentKey { container_id, interface }))
            }
            _ => Err(format!("the lease of {:?} is nobody's", self.addresses)),
        }
    }
}

pub(super) fn write(path: &Path, pool: &Pool) -> io::Result<()> {
    let leases = pool
        .leases()
        .map(|(holder, addresses, requested)| LeaseEntry::new(holder, addresses, requested));
    let file =
        StoreFile { version: VERSION, leases: leases.collect(), last: pool.last().collect() };
    atomic_file::write(path, &serde_json::to_vec_pretty(&file)?)
}

pub(super) fn parse(bytes: &[u8]) -> Result<Pool, String> {
    let file: StoreFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is not {VERSION}", file.version));
    }
    let mut pool = Pool::default();
    for lease in file.leases {
        let holder = lease.holder()?;
        pool.insert(&holder, lease.addresses, lease.requested)
            .map_err(|address| format!("{address} is leased twice, also to {holder}"))?;
    }
    pool.set_last(&file.last);
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_leases_one_address_twice_is_damaged() {
        let lease = |name: &str| {
            format!(
                r#"{{"namespace":"default","name":"{name}",
                    "addresses":["192.168.1.2"],"requested":false}}"#
            )
        };
        let file = format!(r#"{{"version":1,"leases":[{},{}],"last":[]}}"#, lease("a"), lease("b"));
        let reason = parse(file.as_bytes()).unwrap_err();
        assert!(reason.contains("192.168.1.2") && reason.contains("default/b"), "{reason}");
    }

    #[test]
    fn a_store_of_another_version_is_not_read() {
        let reason = parse(br#"{"version":2,"leases":[],"last":[]}"#).unwrap_err();
        assert!(reason.contains("version 2"));
    }
}
