//! `cargo xtask bench`: what programs cost, measured on this machine.

mod machine;
mod table;
mod xdp;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{Outcome, build, repository::Repository};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// The program of uplinks that runs in the driver: time per packet, and packets per second.
    Xdp {
        /// Fewer rounds: seconds instead of a minute, and a wider spread.
        #[arg(long)]
        quick: bool,
    },
}

/// Measures, and prints a table on stdout.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    build::ebpf_object(repository)?;
    let Subject::Xdp { quick } = arguments.subject;
    let report = format!("{}\n{}", machine::describe(), xdp::measure(quick)?);
    io::stdout().write_all(report.as_bytes()).context("printing the table")?;
    Ok(Outcome::Done)
}
