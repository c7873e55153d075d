//! `shunt-cni`: the CNI plugin.
#![expect(unused_crate_dependencies, reason = "the library uses them")]

fn main() {}
