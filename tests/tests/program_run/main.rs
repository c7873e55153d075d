//! The tables of packets, run by native code and by the kernel, and checked by Scapy.
#![expect(clippy::expect_used, reason = "tests fail by panicking, in their helpers too")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside these tests uses more than they do"
)]

mod offload;
mod own_stack;
mod scapy;
mod sockets;
mod tables;
mod xdp;
