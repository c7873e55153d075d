//! Translation at the socket, for the node's own processes.

use crate::address::{Port, Protocol};

/// Which socket talks to which backend. Addresses are in the form of [`Address::to_slot`](crate::address::Address).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketPeerKey {
    /// The socket's cookie (`SO_COOKIE`), unique on a machine until reboot.
    pub cookie: u64,
    /// The backend's address.
    pub address: [u8; 16],
    /// The backend's port.
    pub port: Port,
    /// The transport protocol.
    pub protocol: Protocol,
    /// 4 or 6.
    pub ip_version: u8,
    /// Zero.
    pub padding: [u8; 4],
}

/// The service address that the socket asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketPeer {
    /// The service's address.
    pub address: [u8; 16],
    /// The service's port.
    pub port: Port,
    /// Zero.
    pub padding: [u8; 2],
}

const _: () = assert!(size_of::<SocketPeerKey>() == 32);
const _: () = assert!(size_of::<SocketPeer>() == 20);
