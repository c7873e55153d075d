//! `cargo xtask bench`: what shunt costs, measured on this machine: beside its rivals, or one part
//! of it alone.

mod comparison;
mod control;
mod machine;
mod table;
mod xdp;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{Outcome, build, repository::Repository};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    subject: Option<Subject>,
    #[command(flatten)]
    comparison: comparison::Arguments,
}

#[derive(Subcommand)]
enum Subject {
    /// The program of uplinks that runs in the driver: time per packet, and packets per second.
    Xdp {
        /// Fewer rounds: seconds instead of a minute, and a wider spread.
        #[arg(long)]
        quick: bool,
    },
    /// The agent that follows an API server: 5,000 Services of 10 endpoints, and single changes.
    ///
    /// The API server is a double, or a real one where SHUNT_CONTROL_PLANE names a folder with
    /// kube-apiserver and etcd.
    Control {
        /// Fewer changes, and a wider spread.
        #[arg(long)]
        quick: bool,
    },
}

/// Measures, and prints tables on stdout.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let Some(subject) = &arguments.subject else {
        return comparison::run(repository, &arguments.comparison);
    };
    let measured = match *subject {
        Subject::Xdp { quick } => {
            build::ebpf_object(repository)?;
            xdp::measure(quick)?
        }
        Subject::Control { quick } => control::measure(repository, quick)?,
    };
    let report = format!("{}\n{measured}", machine::describe());
    io::stdout().write_all(report.as_bytes()).context("printing the table")?;
    Ok(Outcome::Done)
}
