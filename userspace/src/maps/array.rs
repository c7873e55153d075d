//! An array map in this process's memory: programming it is memory writes, not system calls.

use std::{
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::{Pod, maps::MapData};
use maps_schema::service::{ServiceId, ServiceRecord};
use memmap2::{MmapOptions, MmapRaw};

use super::MapsError;

/// A memory-mapped array (`BPF_F_MMAPABLE`, Linux 5.5) of `T`.
#[derive(Debug)]
pub(super) struct MappedArray<T> {
    memory: MmapRaw,
    length: u32,
    elements: PhantomData<T>,
}

impl<T: Pod> MappedArray<T> {
    /// The kernel keeps elements at multiples of eight bytes.
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    pub(super) fn map(name: &'static str, map: &MapData) -> Result<Self, MapsError> {
        let length = map.info()?.max_entries();
        let memory = MmapOptions::new()
            .len(Self::STRIDE * length as usize)
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| MapsError::Memory { map: name, error })?;
        Ok(Self {
            memory,
            length,
            elements: PhantomData,
        })
    }

    pub(super) const fn length(&self) -> u32 {
        self.length
    }

    /// # Panics
    ///
    /// Where the index is not below the length.
    fn element(&self, index: u32) -> *mut T {
        assert!(index < self.length, "index {index} of {}", self.length);
        // SAFETY: the element lies within the mapping.
        unsafe {
            self.memory
                .as_mut_ptr()
                .add(Self::STRIDE * index as usize)
                .cast()
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
