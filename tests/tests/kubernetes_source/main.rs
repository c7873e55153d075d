//! Objects of an API server: what the agent is told of them, and what it makes of that.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests fail by panicking, in their helpers too"
)]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod agent;
mod watches;
