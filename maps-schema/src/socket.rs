//! Translation at the socket, for the node's own processes.

use crate::address::{AddressPair, Port, Protocol};

/// Names an address that a socket has to do with. Addresses are in the form of
/// [`Address::to_slot`](crate::address::Address::to_slot).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketPeerKey {
    /// The socket's cookie (`SO_COOKIE`), unique on a machine until reboot.
    pub cookie: u64,
    /// The address.
    pub address: [u8; 16],
    /// The port.
    pub port: Port,
    /// The transport protocol.
    pub protocol: Protocol,
    /// 4 or 6.
    pub ip_version: u8,
    /// Whose address it is: [`SocketPeerKey::SERVICE`] or [`SocketPeerKey::BACKEND`].
    pub side: u8,
    /// Zero.
    pub padding: [u8; 3],
}

impl SocketPeerKey {
    /// The key holds the service's address, the value the backend's.
    pub const SERVICE: u8 = 0;
    /// The key holds the backend's address, the value the service's.
    pub const BACKEND: u8 = 1;
}

/// The other side's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPeer {
    /// The address.
    pub address: [u8; 16],
    /// The port.
    pub port: Port,
    /// Zero.
    pub padding: [u8; 2],
}

/// A network namespace whose sockets are translated.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketNamespace {
    /// What its sockets send from where they are not bound: the pod's addresses, or the node's.
    pub addresses: AddressPair,
    /// Whose it is: [`Self::POD`] or [`Self::NODE`].
    pub owner: u32,
}

impl SocketNamespace {
    /// A pod's.
    pub const POD: u32 = 0;
    /// The node's own.
    pub const NODE: u32 = 1;
}

const _: () = assert!(size_of::<SocketNamespace>() == 24);
const _: () = assert!(size_of::<SocketPeerKey>() == 32);
const _: () = assert!(size_of::<SocketPeer>() == 20);
