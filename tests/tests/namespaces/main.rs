//! Tests of shunt on simulated nodes: real sockets in network namespaces, one file per theme.
//!
//! One program for all of them, because linking is most of what building a test costs. Root is
//! needed; without it each test says that it is skipped.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, in their helpers too"
)]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod affinity;
mod bad_input;
mod bulk;
mod cleanup;
mod cli;
mod clsact;
mod cluster_ip;
mod collisions;
mod connections_through_change;
mod cross_node;
mod dns;
mod dns_load;
mod dns_nodes;
mod dsr;
mod families;
mod fragments;
mod harness;
mod health_check;
mod hints;
mod host_network;
mod host_port;
mod labels;
mod local_policy;
mod masquerade;
mod node_client;
mod node_client_lost_backend;
mod node_port;
mod operations;
mod path_mtu;
mod real_cluster;
mod refusal;
mod restart;
mod same_port;
mod scale;
mod scaling;
mod sctp;
mod service_options;
mod slices;
mod source_ranges;
mod target_ports;
mod terminating;
mod topology;
mod udp_cycling;
mod unallocated;
mod vips;
mod xdp_uplink;
