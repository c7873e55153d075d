//! What the plugin asks the agent, and what that answers: JSON by `POST /v1/cni`.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attachments::{AttachmentKey, PodIdentity, PortMapping};

/// Where the agent takes requests.
pub const PATH: &str = "/v1/cni";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
pub enum Request {
    /// Attach a container.
    Add(Add),
    /// Say whether an attachment is as it was made.
    Check(Check),
    /// Detach a container.
    Del(AttachmentKey),
    /// Detach the containers of a network that are not named.
    Gc {
        /// The network.
        network: String,
        /// What stays.
        valid: Vec<AttachmentKey>,
    },
    /// Say whether containers can be attached.
    Status,
}

/// An attachment to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Which.
    pub key: AttachmentKey,
    /// The name of the network configuration.
    pub network: String,
    /// The Pod.
    pub pod: PodIdentity,
    /// Where the container's network namespace is mounted.
    pub netns: PathBuf,
    /// Ports of the node that shall lead to it.
    pub port_mappings: Vec<PortMapping>,
}

/// An attachment, as the runtime has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Which.
    pub key: AttachmentKey,
    /// Where the container's network namespace is mounted.
    pub netns: PathBuf,
    /// The addresses that the result of ADD had for the interface.
    pub addresses: Vec<IpNet>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done, or it is so.
    Done,
    /// The container is attached.
    Attached(Attached),
}

/// What was made of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// The bridge.
    pub bridge: Interface,
    /// The host end of the veth pair.
    pub host: Interface,
    /// The container's end.
    pub container: Interface,
    /// The MTU of all three, in bytes.
    pub mtu: u32,
    /// The container's addresses, with the prefix lengths of their networks; at most one per family.
    pub addresses: Vec<AttachedAddress>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: String,
}

/// An address of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedAddress {
    /// The address.
    pub address: IpNet,
    /// The gateway, which the default route of its family leads to.
    pub gateway: Option<IpAddr>,
}
