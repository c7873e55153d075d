//! Random worlds: services, endpoints, policies and packets that nobody has thought of, on which the
//! reference model, the native code and the kernel's programs must agree.
//!
//! Worlds are written in IPv4, with the addresses of the conformance table's cast; half of them
//! happen as their twins in IPv6. What is found is shrunk and kept as YAML, beside the table, and
//! ordinary tests replay it.

mod endpoints;
mod judge;
mod packets;
mod pick;
mod run;
mod services;
mod settings;
mod world;

pub use self::{
    judge::{Judge, Seen},
    run::{Limits, Outcome, found, run},
    world::{World, any_world},
};
