//! The maps, as the agent sees them: typed, and opened from their pins.

mod array;
mod batch;
mod connections;
mod failures;
mod gauges;
mod networks;
mod services;
mod socket_peers;
mod source_ranges;

use std::{io, path::Path};

use aya::maps::{Map, MapData, MapError};

pub use self::{
    connections::{ConnectionMaps, Entry, FamilyConnections},
    gauges::{Gauge, Gauges},
    services::{CounterMaps, ServiceMaps},
    socket_peers::SocketPeers,
};

/// Why a map could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// The kernel refused.
    #[error(transparent)]
    Map(#[from] MapError),
    /// An array could not be mapped into memory.
    #[error("mapping {map} into memory: {error}")]
    Memory {
        /// The map.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A hash could not be read.
    #[error("reading {map}: {error}")]
    Batch {
        /// The map.
        map: &'static str,
        /// Why.
        error: io::Error,
    },
}

fn open(pins: &Path, name: &str) -> Result<MapData, MapsError> {
    Ok(MapData::from_pin(pins.join(name))?)
}

fn open_as<T>(pins: &Path, name: &str) -> Result<T, MapsError>
where
    T: TryFrom<Map, Error = MapError>,
{
    Ok(Map::from_map_data(open(pins, name)?)?.try_into()?)
}
