//! `shunt`'s command line: one file per command.
//!
//! Standard output is data, standard error is talk. Exit status: 0 yes or done, 1 a negative
//! answer, 2 an error.

mod agent;
mod check;
pub mod definition;
mod generate;
mod get;
mod output;
mod status;

use std::{future::Future, process::ExitCode};

use anyhow::Context as _;
use clap::FromArgMatches as _;
use definition::{Cli, Verb};

/// The exit status of a negative answer.
const NO: ExitCode = ExitCode::FAILURE;

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let parsed =
        definition::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let result = match parsed {
        Ok(cli) => run(cli.verb),
        Err(error) => {
            // Help for a reader that went away is no error either.
            let _ = error.print();
            return if error.use_stderr() { failure() } else { ExitCode::SUCCESS };
        }
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        failure()
    })
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Agent(args) => agent::run(*args),
        Verb::Status(args) => status::run(&args),
        Verb::Get(args) => get::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Cleanup(place) => crate::cleanup::run(&place.run_dir, &place.bpffs),
        Verb::Completions { shell } => generate::completions(shell),
        Verb::Man { command, dir } => generate::man(command.as_deref(), dir.as_deref()),
    }
}

/// The exit status of an error.
fn failure() -> ExitCode {
    ExitCode::from(2)
}

/// Says an error and its causes in one line.
fn complain(error: &anyhow::Error) {
    let chain = format!("{error:#}");
    eprintln!("shunt: error: {}", chain.split_whitespace().collect::<Vec<_>>().join(" "));
}

/// Asks the agent something; a command needs no more than one thread.
fn ask<Answer>(question: impl Future<Output = Answer>) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    Ok(runtime.block_on(question))
}

#[cfg(test)]
mod tests;
