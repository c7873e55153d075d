//! The userspace half of shunt.
//!
//! Control flow has one direction: [`source`] (files) → [`cluster`] (the objects, normalised) →
//! [`compile`] (pure: objects in, desired map contents out) → [`sync`] (pure diff, then ordered
//! writes) → the datapath's [`maps`]. [`agent`] is the loop that does all this. Beside it stand [`podnet`] (namespaces, veth pairs, bridge),
//! [`ipam`], [`attachments`] and [`cni`] (pods of a container runtime), [`health`] (what load balancers ask),
//! [`dns`] (what pods ask for names), [`loader`] (probe, load, attach, pin), [`connections`] (removing and listing entries),
//! [`api`] (what the agent tells the command line), `operations` and [`metrics`] (what it tells whoever
//! watches the node), [`events`] (what it tells the API server), [`config`] (what the agent is told) and [`cli`].

pub mod agent;
pub mod api;
mod atomic_file;
pub mod attachments;
mod bpf;
pub mod cleanup;
pub mod cli;
pub mod cluster;
pub mod cni;
pub mod compile;
pub mod config;
pub mod connections;
pub mod dns;
pub mod events;
pub mod health;
mod heap;
mod host_names;
mod http_server;
pub mod ipam;
pub mod loader;
pub mod maps;
pub mod metrics;
pub mod mounts;
mod operations;
pub mod places;
pub mod podnet;
pub mod source;
mod state_file;
pub mod sync;

/// The version of this build: the crate's, with the commit where the build was told it.
pub const VERSION: &str = match option_env!("SHUNT_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
