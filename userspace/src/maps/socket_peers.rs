//! What the programs remember of translated sockets.

use std::path::Path;

use aya::maps::{HashMap, MapData, MapError};
use maps_schema::{
    maps::SOCKET_PEERS,
    socket::{SocketPeer, SocketPeerKey},
};

use super::{MapsError, batch, open, open_as};

/// Which socket talks to which backend for which service. Programs write; the agent only removes.
#[derive(Debug)]
pub struct SocketPeers {
    map: MapData,
    entries: HashMap<MapData, SocketPeerKey, SocketPeer>,
}

impl SocketPeers {
    /// Opens the map that is pinned in a directory.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        Ok(Self { map: open(pins, SOCKET_PEERS)?, entries: open_as(pins, SOCKET_PEERS)? })
    }

    /// Shows every entry to `visit`. Those that come or go meanwhile may be seen or not.
    pub fn for_each(
        &self,
        visit: impl FnMut(&(SocketPeerKey, SocketPeer)),
    ) -> Result<(), MapsError> {
        batch::for_each(SOCKET_PEERS, &self.map, visit)
    }

    /// Removes an entry, if it is still there.
    pub fn remove(&mut self, key: &SocketPeerKey) -> Result<(), MapsError> {
        match self.entries.remove(key) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(syscall))
                if syscall.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
