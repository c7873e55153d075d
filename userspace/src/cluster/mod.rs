//! The cluster's objects, normalised: what shunt needs of Nodes, Pods, Services, EndpointSlices and
//! ServiceCIDRs, validated, and independent of where they came from.
//!
//! [`Cluster`] holds them, decides between those that claim one address (`claims`), and notes which
//! services a change concerns, so that the work after a change is as small as the change.

mod change;
mod claims;
mod conflict;
mod endpoints;
mod host_ports;
mod indexes;
pub mod model;
mod service_cidrs;
mod store;

pub use self::{
    endpoints::{NamedEndpoint, ServiceEndpoint},
    host_ports::{AttachedPod, LocalPod},
    store::{Cluster, Dirty},
};

#[cfg(test)]
mod tests;
