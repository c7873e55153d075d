//! Reading a hash, all of it.

use std::{mem::MaybeUninit, os::fd::AsFd as _};

use aya::{Pod, maps::MapData};

use super::MapsError;
use crate::bpf::{BatchCursor, lookup_batch};

/// How many entries are read at a time; more than a bucket holds.
const BATCH: usize = 4096;

/// Shows every entry of a hash to `visit`. `K` and `V` are the map's types. Entries that come or go
/// meanwhile may be seen or not. An LRU hash does not take this for use.
pub(super) fn for_each<K: Pod, V: Pod>(
    name: &'static str,
    map: &MapData,
    mut visit: impl FnMut(&(K, V)),
) -> Result<(), MapsError> {
    let mut cursor = BatchCursor::default();
    let mut keys = vec![MaybeUninit::<K>::uninit(); BATCH];
    let mut values = vec![MaybeUninit::<V>::uninit(); BATCH];
    loop {
        let (read, more) = lookup_batch(map.fd().as_fd(), &mut cursor, &mut keys, &mut values)
            .map_err(|error| MapsError::Batch { map: name, error })?;
        for (key, value) in keys.iter().zip(&values).take(read) {
            // SAFETY: the kernel has written the first `read` elements of both.
            let entry = unsafe { (key.assume_init(), value.assume_init()) };
            visit(&entry);
        }
        if !more {
            return Ok(());
        }
    }
}
