//! What both sides of the kernel boundary agree on: the keys and values of every BPF map, their
//! names and sizes, and the reasons for which a packet is dropped.
//!
//! Every type here is plain bytes: `#[repr(C)]`, without padding, valid when zeroed. Wire values
//! (addresses, ports) are kept in network byte order behind newtypes that speak host order; bare
//! integers are always in host order.

#![cfg_attr(not(feature = "user"), no_std)]
#![deny(unsafe_code)]

pub mod address;
pub mod affinity;
pub mod clock;
pub mod connection;
pub mod counters;
pub mod drop_reason;
pub mod fragment;
pub mod maps;
pub mod reap;
pub mod replay;
pub mod service;
pub mod socket;
pub mod way;

#[cfg(feature = "user")]
mod pod;
