//! `shunt`: the agent and its command line.
#![expect(unused_crate_dependencies, reason = "the library uses them")]

use std::process::ExitCode;

fn main() -> ExitCode {
    userspace::cli::main()
}
