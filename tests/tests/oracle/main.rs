//! The conformance table, held against kube-proxy's rules and against shunt: real connections in
//! network namespaces, through the kernel's own NAT or through the agent's programs.
//!
//! Root is needed; without it each test says that it is skipped.
#![expect(clippy::expect_used, reason = "tests fail by panicking, in their helpers too")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod kube_proxy;
mod shunt;
mod takeover;
