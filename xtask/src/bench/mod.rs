//! `cargo xtask bench`: what shunt costs, measured on this machine: beside its rivals, or one part
//! of it alone.

mod comparison;
mod control;
mod counts;
mod machine;
mod pktgen;
mod programs;
mod table;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{Outcome, build, repository::Repository, vm::Kernel};

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
    /// The programs, packet by packet: nanoseconds of each, of known flows, new ones, and others.
    Programs(programs::Arguments),
    /// The agent of a large cluster: its start, its memory, one change, and the first packet.
    Control(control::Arguments),
    /// How many instructions the agent's path from objects to tables takes; compared with what is
    /// recorded.
    Counts {
        /// Record what is counted.
        #[arg(long)]
        record: bool,
    },
    /// Instructions for each packet to a Service: iptables, nftables, IPVS and shunt, on one kernel.
    ///
    /// The kernel's packet generator sends, in a virtual machine that counts instructions.
    Pktgen {
        /// The kernel.
        #[arg(long, value_enum, default_value = "6.12")]
        kernel: Kernel,
        /// Fewer packets, and 10 Services alone.
        #[arg(long)]
        quick: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Measures, and prints tables on stdout.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let Some(subject) = &arguments.subject else {
        return comparison::run(repository, &arguments.comparison);
    };
    let (report, outcome) = match subject {
        Subject::Programs(arguments) => {
            build::ebpf_object(repository)?;
            let table = programs::run(repository, arguments)?;
            (format!("{}\n{table}", machine::describe()), Outcome::Done)
        }
        Subject::Control(arguments) => (control::measure(repository, arguments)?, Outcome::Done),
        Subject::Counts { record } => counts::measure(repository, *record)?,
        Subject::Pktgen { kernel, quick, json } => {
            (pktgen::measure(repository, *kernel, *quick, *json)?, Outcome::Done)
        }
    };
    io::stdout().write_all(report.as_bytes()).context("printing the table")?;
    Ok(outcome)
}
