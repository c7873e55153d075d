//! How full the maps are, and how much kernel memory they hold.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::maps::{MapData, MapType};
use maps_schema::maps;

use super::{MapsError, open};
use crate::{bpf::count_entries, sync::Usage};

/// Every pinned map.
#[derive(Debug)]
pub struct Gauges(Vec<(&'static str, MapData)>);

/// One map's reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The map.
    pub name: &'static str,
    /// How many elements are in use.
    pub entries: u64,
    /// How many there can be.
    pub capacity: u64,
    /// The kernel memory that it holds.
    pub bytes: u64,
}

impl Gauges {
    /// Opens the maps that are pinned in a directory.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        let maps: Result<_, MapsError> =
            maps::ALL.into_iter().map(|name| Ok((name, open(pins, name)?))).collect();
        Ok(Self(maps?))
    }

    /// Reads them all. Of arrays and tries, `usage` says what is in use. Elements of hashes are
    /// counted one by one, unless `counted` says how many there are.
    pub fn read(
        &self,
        usage: &Usage,
        counted: impl Fn(&str) -> Option<u64>,
    ) -> Result<Vec<Gauge>, MapsError> {
        self.0.iter().map(|(name, map)| read(name, map, usage, counted(name))).collect()
    }
}

fn read(
    name: &'static str,
    map: &MapData,
    usage: &Usage,
    counted: Option<u64>,
) -> Result<Gauge, MapsError> {
    let info = map.info()?;
    let capacity = u64::from(info.max_entries());
    let is_hash = matches!(info.map_type()?, MapType::Hash | MapType::LruHash);
    let entries = match name {
        _ if let Some(counted) = counted => counted,
        _ if is_hash => count_entries(map.fd().as_fd(), info.key_size(), info.value_size())
            .map_err(|error| MapsError::Batch { map: name, error })?,
        maps::SERVICES | maps::SERVICE_COUNTERS => usage.services,
        maps::SLOTS => usage.slots,
        maps::BACKENDS => usage.backends,
        maps::NODES => usage.nodes,
        maps::SOURCES => usage.sources,
        maps::NETWORKS_V4 => usage.networks_v4,
        maps::NETWORKS_V6 => usage.networks_v6,
        maps::AFFINITY_RULES => usage.affinity_rules,
        maps::SOURCE_RANGES_V4 => usage.source_ranges_v4,
        maps::SOURCE_RANGES_V6 => usage.source_ranges_v6,
        _ => capacity,
    };
    Ok(Gauge { name, entries, capacity, bytes: memory(map) })
}

/// The kernel tells a map's memory in the descriptor's `fdinfo` only.
fn memory(map: &MapData) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default()
}
