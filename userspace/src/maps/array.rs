//! An array map in this process's memory: programming it is memory writes, not system calls.
//!
//! It is mapped piece by piece, as it is used: the kernel has the whole array in memory, and would
//! count all that is mapped as this process's too.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use aya::{Pod, maps::MapData};
use maps_schema::service::{ServiceId, ServiceRecord};
use memmap2::{MmapOptions, MmapRaw};

use super::MapsError;

/// A memory-mapped array (`BPF_F_MMAPABLE`, Linux 5.5) of `T`.
#[derive(Debug)]
pub(super) struct MappedArray<T> {
    map: MapData,
    length: u32,
    pieces: Vec<OnceLock<MmapRaw>>,
    elements: PhantomData<T>,
}

/// How many bytes are mapped at a time: a multiple of every page size and of every element's.
const PIECE: usize = 1 << 18;

impl<T: Pod> MappedArray<T> {
    /// The kernel keeps elements at multiples of eight bytes.
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    pub(super) fn open(name: &'static str, map: MapData) -> Result<Self, MapsError> {
        const { assert!(PIECE.is_multiple_of(Self::STRIDE)) };
        let length = map.info()?.max_entries();
        let count = (Self::STRIDE * length as usize).div_ceil(PIECE);
        let pieces = (0..count).map(|_| OnceLock::new()).collect();
        let array = Self { map, length, pieces, elements: PhantomData };
        // Whether it can be mapped at all is found out here, not in the middle of a change.
        array.piece(0).map_err(|error| MapsError::Memory { map: name, error })?;
        Ok(array)
    }

    pub(super) const fn length(&self) -> u32 {
        self.length
    }

    fn piece(&self, number: usize) -> io::Result<&MmapRaw> {
        let Some(place) = self.pieces.get(number) else {
            return Err(io::Error::other("beyond the array"));
        };
        if let Some(piece) = place.get() {
            return Ok(piece);
        }
        let size = (Self::STRIDE * self.length as usize - number * PIECE).min(PIECE);
        let piece = MmapOptions::new()
            .offset((number * PIECE) as u64)
            .len(size)
            .map_raw(self.map.fd().as_fd().as_raw_fd())?;
        Ok(place.get_or_init(|| piece))
    }

    /// # Panics
    ///
    /// Where the index is not below the length, or the system has no memory left to map it: the
    /// agent cannot go on then, and starts anew from what the maps hold.
    fn element(&self, index: u32) -> *mut T {
        assert!(index < self.length, "index {index} of {}", self.length);
        let offset = Self::STRIDE * index as usize;
        match self.piece(offset / PIECE) {
            // SAFETY: the element lies within the piece, which holds whole elements.
            Ok(piece) => unsafe { piece.as_mut_ptr().add(offset % PIECE).cast() },
            Err(error) => panic!("mapping an array: {error}"),
        }
    }

    pub(super) fn get(&self, index: u32) -> T {
        // SAFETY: the element lies within the mapping, is aligned to eight bytes, and is written by
        // this thread only.
        unsafe { self.element(index).read_volatile() }
    }

    pub(super) fn set(&mut self, index: u32, value: T) {
        // SAFETY: as for `get`.
        unsafe { self.element(index).write_volatile(value) }
    }
}

impl MappedArray<ServiceRecord> {
    /// Replaces a record in one store, after everything that was written before.
    pub(super) fn switch(&mut self, service: ServiceId, record: ServiceRecord) {
        fence(Ordering::Release);
        // SAFETY: the element is a word of eight bytes, aligned; programs read it whole.
        let word = unsafe { AtomicU64::from_ptr(self.element(service.0).cast()) };
        word.store(record.word(), Ordering::Release);
    }
}
