//! The cluster's objects, normalised: what shunt needs of Nodes, Pods, Services and EndpointSlices, validated, and
//! independent of where they came from.

pub mod model;
