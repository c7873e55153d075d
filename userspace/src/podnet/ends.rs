//! The veth pair of a pod: what its two ends are called.

use maps_schema::address::Mac;

use super::Error;
use crate::cluster::model::ObjectName;

/// The two ends of a pod's veth pair.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    /// The pod, for logs and errors.
    pub(super) pod: ObjectName,
    /// The pod's network namespace, for errors.
    pub(super) netns: String,
    /// The end in the pod.
    pub(super) interface: String,
    /// The Ethernet address of the end in the pod.
    pub(super) mac: Mac,
    /// The end on the node.
    pub(super) host_interface: String,
}

impl Ends {
    /// The error that something else is in the place of the pod's end.
    pub(super) fn not_the_peer(&self) -> Error {
        Error::PodInterfaceNotOurs {
            pod: self.pod.clone(),
            interface: self.interface.clone(),
            netns: self.netns.clone(),
            host_interface: self.host_interface.clone(),
        }
    }
}
