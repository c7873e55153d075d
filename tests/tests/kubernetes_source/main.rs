//! Objects of an API server: what the agent is told of them, and what it makes of that.
//!
//! The control plane is a double, or a real one where `SHUNT_CONTROL_PLANE` names the folder of its
//! programs.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, in their helpers too"
)]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod events;
mod faults;
mod memory;
mod own_node;
mod stage;
mod through_outages;
mod told;
mod watches;
