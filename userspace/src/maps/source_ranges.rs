//! Whom restricted frontends serve, in one family.

use std::path::Path;

use aya::{
    Pod,
    maps::{
        MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use ipnet::IpNet;
use maps_schema::{
    address::Address,
    service::{ServiceId, SourceKey},
};

use super::{
    MapsError,
    failures::{too_many, unless_absent},
    open_as,
};
use crate::sync::tables::TableError;

/// The trie of services' source ranges in one family.
#[derive(Debug)]
pub(super) struct SourceRangeMap<A>(LpmTrie<MapData, SourceKey<A>, u8>);

impl<A: Address> SourceRangeMap<A>
where
    SourceKey<A>: Pod,
{
    pub(super) fn open(pins: &Path, name: &str) -> Result<Self, MapsError> {
        Ok(Self(open_as(pins, name)?))
    }

    /// Adds a range, whose first address is `network`.
    pub(super) fn put(
        &mut self,
        service: ServiceId,
        network: A,
        range: IpNet,
    ) -> Result<(), TableError> {
        let inserted = self.0.insert(&key(service, network, range), 0, 0);
        inserted.map_err(|error| too_many("source ranges", error))
    }

    pub(super) fn remove(
        &mut self,
        service: ServiceId,
        network: A,
        range: IpNet,
    ) -> Result<(), TableError> {
        unless_absent(self.0.remove(&key(service, network, range)))
    }

    pub(super) fn read(&self) -> Result<Vec<(ServiceId, IpNet)>, TableError> {
        let mut ranges = Vec::new();
        for entry in self.0.keys() {
            let key = entry?;
            let length = key.prefix_len().saturating_sub(SourceKey::<A>::SERVICE_BITS);
            let length = length.try_into().unwrap_or(u8::MAX);
            // Copied out of the key, which is packed.
            let source = key.data();
            // The kernel takes no key with a longer prefix than there are bits.
            if let Ok(range) = IpNet::new(source.address.ip(), length) {
                ranges.push((source.service(), range));
            }
        }
        Ok(ranges)
    }
}

fn key<A: Address>(service: ServiceId, network: A, range: IpNet) -> Key<SourceKey<A>>
where
    SourceKey<A>: Pod,
{
    let length = SourceKey::<A>::SERVICE_BITS + u32::from(range.prefix_len());
    Key::new(length, SourceKey::new(service, network))
}
