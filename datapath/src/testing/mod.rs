//! Everything around the datapath, native: packets in `Vec`s, tables in `BTreeMap`s, a clock that
//! stands still and chance by script. For this crate's tests and for those that run the same cases
//! in the kernel.

pub mod accesses;
pub mod checksum;
pub mod fragments;
pub mod frame;
pub mod node;
pub mod packet;
pub mod policies;
pub mod stages;
pub mod surroundings;
pub mod tables;
