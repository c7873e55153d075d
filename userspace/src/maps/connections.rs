//! Reading the connection entries, all of them.

use std::path::Path;

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use maps_schema::{
    address::{Address, Ipv4Wire, Ipv6Wire},
    connection::{Connection, FlowKey},
    maps::{CONNECTIONS_V4, CONNECTIONS_V6},
};

use super::{MapsError, batch, open, open_as};

/// Both families' entries.
#[derive(Debug)]
pub struct ConnectionMaps {
    /// IPv4.
    pub v4: FamilyConnections<Ipv4Wire>,
    /// IPv6.
    pub v6: FamilyConnections<Ipv6Wire>,
}

/// One family's entries.
#[derive(Debug)]
pub struct FamilyConnections<A> {
    name: &'static str,
    map: MapData,
    entries: HashMap<MapData, FlowKey<A>, Connection<A>>,
}

/// An entry with its key.
pub type Entry<A> = (FlowKey<A>, Connection<A>);

impl ConnectionMaps {
    /// Opens the maps that are pinned in a directory.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        Ok(Self {
            v4: FamilyConnections::open(pins, CONNECTIONS_V4)?,
            v6: FamilyConnections::open(pins, CONNECTIONS_V6)?,
        })
    }
}

impl<A: Address> FamilyConnections<A>
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    fn open(pins: &Path, name: &'static str) -> Result<Self, MapsError> {
        Ok(Self { name, map: open(pins, name)?, entries: open_as(pins, name)? })
    }

    /// The entry of a flow.
    pub fn get(&self, flow: &FlowKey<A>) -> Option<Connection<A>> {
        self.entries.get(flow, 0).ok()
    }

    /// Shows every entry to `visit`. Those that come or go meanwhile may be seen or not.
    pub fn for_each(&self, visit: impl FnMut(&Entry<A>)) -> Result<(), MapsError> {
        batch::for_each(self.name, &self.map, visit)
    }
}
