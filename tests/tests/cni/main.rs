//! `shunt-cni` and the agent behind it, driven as a container runtime drives them: variables, a
//! configuration on standard input, namespaces that the runtime has made.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, in their helpers too")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod attaching;
mod chains;
mod check;
mod churn;
mod crashes;
mod host_ports;
mod installation;
mod removal;
mod traffic;
