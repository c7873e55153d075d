//! `shunt-cni`: the CNI plugin.
#![expect(unused_crate_dependencies, reason = "the library uses them")]

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

fn main() -> ExitCode {
    // Where there is no configuration, or none that is text, the answer says so.
    let mut configuration = Vec::new();
    let _ = io::stdin().read_to_end(&mut configuration);
    let answer = userspace::cni::answer(|name| std::env::var(name).ok(), &configuration);
    // Nobody can be told that standard error is closed.
    let _ = io::stderr().write_all(answer.stderr.as_bytes());
    let written = io::stdout().write_all(answer.stdout.as_bytes());
    if answer.success && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
