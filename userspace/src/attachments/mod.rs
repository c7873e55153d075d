//! The pods that a container runtime had attached by the CNI plugin: what is known of each, on the
//! disk before anything is made of it.
//!
//! Only the runtime knows which of its pods still live, and says so once, by DEL. So nothing here is
//! ever forgotten because it looks abandoned; it goes by DEL, by GC, or when it was never finished.

mod store;

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use jiff::Timestamp;
use maps_schema::address::Protocol;
use serde::{Deserialize, Serialize};

pub use self::store::{Attachments, Opened};
use crate::cluster::model::{HostPort, ObjectName};

/// Which attachment: the runtime has no other name for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The container's, or rather the pod sandbox's (`CNI_CONTAINERID`).
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the container (`CNI_IFNAME`).
    #[serde(rename = "ifname")]
    pub interface: String,
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of container {}", self.interface, self.container_id)
    }
}

/// Which Pod the container is, as the kubelet says in `CNI_ARGS`; empty where others call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
}

/// A port of the node that shall lead to the container, as in the capability `portMappings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The node's port.
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: TransportProtocol,
    /// Which address of the node; every one where there is none.
    #[serde(default, rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortMapping {
    /// The same as a host port of a Pod.
    pub fn host_port(&self) -> HostPort {
        let protocol = match self.protocol {
            TransportProtocol::Tcp => Protocol::TCP,
            TransportProtocol::Udp => Protocol::UDP,
            TransportProtocol::Sctp => Protocol::SCTP,
        };
        let Self { host_port, container_port, host_ip, .. } = *self;
        HostPort { host_ip, host_port, container_port, protocol }
    }
}

impl FromStr for TransportProtocol {
    type Err = ();

    /// In capital or small letters.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(()),
        }
    }
}

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// It is being made. An agent that finds it so takes it away: nobody was told that it is there.
    Making,
    /// It is there, and the runtime was told.
    Attached,
    /// The runtime has had it removed, and something of it would not go yet.
    Leaving,
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Which.
    #[serde(flatten)]
    pub key: AttachmentKey,
    /// The name of the network configuration, which GC is about one of.
    pub network: String,
    /// The Pod.
    pub pod: PodIdentity,
    /// Where the container's network namespace is mounted, as this process finds it.
    pub netns: PathBuf,
    /// The cookie of that namespace, which no other namespace has while `boot_id` lasts.
    pub netns_cookie: u64,
    /// `/proc/sys/kernel/random/boot_id` when it was made.
    pub boot_id: String,
    /// When it was made: of two that want one port of the node, the older has it.
    pub created: Timestamp,
    /// The host end of the veth pair.
    pub host_interface: String,
    /// Its addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_mappings: Vec<PortMapping>,
    /// How far it has come.
    pub stage: Stage,
}

impl Attachment {
    /// What logs and errors call it: the Pod, or else the container.
    pub fn pod_name(&self) -> ObjectName {
        pod_name(&self.key, &self.pod)
    }
}

/// What logs and errors call a container: its Pod, or else by its id.
pub fn pod_name(key: &AttachmentKey, pod: &PodIdentity) -> ObjectName {
    if pod.name.is_empty() {
        return ObjectName { namespace: String::new(), name: key.container_id.clone() };
    }
    ObjectName { namespace: pod.namespace.clone(), name: pod.name.clone() }
}
