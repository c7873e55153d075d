//! `shunt`: the agent and its command line.
#![expect(unused_crate_dependencies, reason = "the library uses them")]

fn main() {}
