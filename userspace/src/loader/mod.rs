//! What stands between the object file and the kernel: probe.

pub mod probe;
