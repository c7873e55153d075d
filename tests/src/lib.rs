//! What the integration tests share: namespaces that vanish with the test, nodes with agents,
//! manifests, and real clients and servers.
//!
//! A test begins with [`one_node::OneNode::start`], with [`topology::Topology::new`] where it needs
//! several nodes or an outside, or with [`sandbox::Sandbox::enter`]. From then on
//! everything that it makes is in namespaces of its own, held by nothing but the test's process.
//! All helpers fail by panicking, with the state that explains the failure, and all of them give up
//! after a time.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests fails by panicking"
)]

pub mod agent;
#[cfg(feature = "agent")]
pub mod api_server;
pub mod bpf_objects;
pub mod cgroup;
pub mod cni;
pub mod conformance;
pub mod contenders;
#[cfg(feature = "agent")]
pub mod control_plane;
pub mod counts;
pub mod dns;
pub mod fuzzing;
pub mod large_cluster;
pub mod load;
pub mod manifests;
pub mod measure;
#[cfg(feature = "agent")]
pub mod model;
pub mod netns;
pub mod node;
pub mod one_node;
pub mod oracle;
pub mod packets;
pub mod pktgen;
pub mod process;
pub mod sandbox;
pub mod snapshot;
pub mod statistics;
pub mod topology;
pub mod traffic;
pub mod wait;
#[cfg(feature = "agent")]
pub mod worlds;
