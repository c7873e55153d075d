//! What can go wrong with the pod network.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::overlay::OVERLAY_NAME;
use crate::cluster::model::ObjectName;

/// Why the network of the node or of a pod could not be made, read or removed.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel refused something.
    #[error("{action}: {source}")]
    Kernel {
        /// What was asked of it, with its object.
        action: String,
        /// What it answered.
        source: io::Error,
    },
    /// The connection to the kernel's routing tables broke, or it answered something else than what
    /// was asked.
    #[error("{action}: {source}; restart the agent")]
    Netlink {
        /// What was asked of it, with its object.
        action: String,
        /// What came back.
        source: rtnetlink::Error,
    },
    /// The bridge's name is no name for an interface.
    #[error(
        "bridge name {name:?} is not 1 to 15 characters without `/`, `:` and white space; \
         choose another --bridge"
    )]
    BridgeName {
        /// The name.
        name: String,
    },
    /// The bridge's name belongs to something else.
    #[error("interface {name} is a {kind}, not a bridge; remove it, or choose another --bridge")]
    NotABridge {
        /// The name.
        name: String,
        /// What it is.
        kind: String,
    },
    /// `--uplink` names an interface that is not there.
    #[error(
        "--uplink {name}: there is no interface of that name, only {there}; name one of them, or \
         leave --uplink out to take those that carry the Node's InternalIPs"
    )]
    UplinkMissing {
        /// The name.
        name: String,
        /// The interfaces that are there.
        there: String,
    },
    /// An interface that is named, or carries an InternalIP of the Node, cannot be an uplink.
    #[error("uplink {name} {reason}; name the interfaces towards the other nodes with --uplink")]
    UplinkUnusable {
        /// The interface.
        name: String,
        /// What is wrong with it, as what it is or does.
        reason: String,
    },
    /// The overlay device's name belongs to something else.
    #[error(
        "interface {OVERLAY_NAME} is a {kind} that shunt did not make; remove it \
         (ip link del {OVERLAY_NAME}), or say --routing direct"
    )]
    OverlayNotOurs {
        /// What it is.
        kind: String,
    },
    /// The overlay's UDP port belongs to a program or to another VXLAN device.
    #[error(
        "making {OVERLAY_NAME}: UDP port {port} is taken by another VXLAN device or a program; \
         remove that (ip -d link show type vxlan, ss -uanp), or choose another --vxlan-port on \
         every node"
    )]
    OverlayPortTaken {
        /// The port.
        port: u16,
    },
    /// The pod's name cannot be the name of a network namespace.
    #[error(
        "pod {pod}: its network namespace {netns:?} would be unusable: {reason}; rename the pod"
    )]
    PodName {
        /// The pod.
        pod: ObjectName,
        /// The name that the namespace would have.
        netns: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is a network namespace of the pod's name, and shunt did not make it.
    #[error(
        "pod {pod}: network namespace {} exists and is not shunt's; remove it or rename the pod",
        path.display()
    )]
    NamespaceNotOurs {
        /// The pod.
        pod: ObjectName,
        /// Where the namespace is mounted.
        path: PathBuf,
    },
    /// There is an interface of the name of the pod's host end, and shunt did not make it.
    #[error("pod {pod}: interface {interface} exists and is not shunt's; remove or rename it")]
    HostInterfaceNotOurs {
        /// The pod.
        pod: ObjectName,
        /// The interface.
        interface: String,
    },
    /// The pod's namespace has an interface of the name, which is not the peer of the pod's host
    /// end.
    #[error("pod {pod}: {interface} in {netns} is not the peer of {host_interface}; remove it")]
    PodInterfaceNotOurs {
        /// The pod.
        pod: ObjectName,
        /// The interface.
        interface: String,
        /// The pod's network namespace.
        netns: String,
        /// The host end that it should be the peer of.
        host_interface: String,
    },
    /// The network namespace that a container runtime made is gone, or another one is in its place.
    #[error("pod {pod}: its network namespace {} is gone", path.display())]
    NamespaceGone {
        /// The pod.
        pod: ObjectName,
        /// Where it was mounted.
        path: PathBuf,
    },
    /// Something of a pod's network is not as it was made.
    #[error("pod {pod}: {what} is missing")]
    Missing {
        /// The pod.
        pod: ObjectName,
        /// What is not there.
        what: String,
    },
    /// A file under the run directory does not say what it should.
    #[error("{}: {reason}; it was kept as {}", path.display(), kept_as.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where it is now.
        kept_as: PathBuf,
    },
    /// A thread that worked in a namespace ended without an answer.
    #[error("{action}: its thread ended without an answer; see the log")]
    ThreadLost {
        /// What it did.
        action: String,
    },
}

impl Error {
    /// For `map_err` after a system call.
    pub(super) fn kernel<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Kernel { action: action.into(), source: source.into() }
    }

    /// For `map_err` after a netlink request.
    pub(super) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |source| match source {
            rtnetlink::Error::NetlinkError(message) => {
                Self::Kernel { action: action.into(), source: message.to_io() }
            }
            source => Self::Netlink { action: action.into(), source },
        }
    }

    /// The kernel's error number, where it was the kernel.
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Success where what was to be removed is gone already.
pub(super) fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    const GONE: [i32; 4] = [libc::ENODEV, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENOENT];
    result.or_else(|error| match error.errno() {
        Some(number) if GONE.contains(&number) => Ok(()),
        _ => Err(error),
    })
}

/// Success where what was to be added is there already.
pub(super) fn exists_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    result.or_else(|error| match error.errno() {
        Some(libc::EEXIST) => Ok(()),
        _ => Err(error),
    })
}
