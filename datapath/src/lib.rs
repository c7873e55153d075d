//! The packet decision as plain Rust.
//!
//! A program is five steps: wrap the context, [`parse`] (facts, by value), [`decide`] (a verdict,
//! pure given the tables, a clock and randomness; [`connect`] for a flow's first packet), [`apply`]
//! or [`refuse`] (the only writers), count. The first and the last step are the `ebpf` crate's; the
//! three between are here, generic over the packet ([`packet`]), the tables ([`tables`]) and the
//! address family ([`family`]). The same functions run in the kernel, in unit tests and under a
//! fuzzer.

#![cfg_attr(not(any(test, feature = "testing")), no_std)]
#![forbid(unsafe_code)]

pub mod answer;
pub mod apply;
pub mod checksum;
pub mod connect;
pub mod decide;
pub mod departure;
pub mod family;
pub mod fragment;
pub mod packet;
pub mod parse;
pub mod reap;
pub mod refuse;
pub mod related;
pub mod socket;
pub mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verdict;
pub mod vxlan;

mod affinity;
mod crc;
mod ended;
mod ports;
mod quoted;
mod select;

#[cfg(test)]
mod tests;
