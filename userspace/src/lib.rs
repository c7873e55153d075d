//! The userspace half of shunt.
//!
//! Control flow has one direction: [`source`] (files) → [`cluster`] (the objects, normalised) → [`compile`] (pure:
//! objects in, desired map contents out) → `sync` (pure diff, then ordered writes) → the datapath's maps. Beside it
//! stand [`podnet`] (namespaces, veth pairs, bridge), [`ipam`], `loader` (probe, load, attach, pin) and [`api`] (what
//! the agent tells the command line).
#![allow(unused_crate_dependencies, reason = "skeleton")]

pub mod api;
mod atomic_file;
pub mod cluster;
pub mod compile;
pub mod ipam;
pub mod podnet;
pub mod source;
