//! `cargo xtask mutate`: every rule has a test that notices when it is broken.
//!
//! The rules are data ([`list`]): a text of a source file and what to put in its place. Each is
//! applied alone, to a copy of the sources, and the tests that need neither root nor the kernel are
//! run until one fails. A mutation that no test notices is a test that is missing.

mod copy;
mod list;
mod trial;

use std::{
    io::{self, Write as _},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use self::{
    copy::Copy,
    list::Mutation,
    trial::{Trial, Verdict},
};
use crate::{Outcome, process::say, repository::Repository};

/// Which rules to break.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the mutations whose name or file contains this.
    filter: Option<String>,

    /// Print the mutations, and do nothing.
    #[arg(long)]
    list: bool,
}

/// Breaks rules, and prints for each which test has noticed.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let mut mutations = list::all()?;
    if let Some(filter) = &arguments.filter {
        mutations.retain(|one| one.name.contains(filter) || one.file.contains(filter));
    }
    if mutations.is_empty() {
        bail!("no mutation has that in its name or file; see `cargo xtask mutate --list`");
    }
    if arguments.list {
        for Mutation { name, file, .. } in &mutations {
            print(&format!("{file}: {name}"))?;
        }
        return Ok(Outcome::Done);
    }
    let copy = Copy::of(repository);
    require_tests_that_pass(&copy)?;
    let mut survivors = Vec::new();
    for mutation in &mutations {
        let began = Instant::now();
        copy.reset()?;
        copy.apply(mutation)?;
        let verdict = trial::run(&copy, &mutation.file)?;
        let seconds = began.elapsed().as_secs();
        let Mutation { name, file, .. } = mutation;
        match verdict {
            Verdict::Noticed(test) => {
                print(&format!("noticed   {file}: {name} ({test}, {seconds} s)"))?;
            }
            Verdict::Survived => {
                print(&format!("SURVIVED  {file}: {name} ({seconds} s)"))?;
                survivors.push(name.as_str());
            }
            Verdict::DoesNotCompile(why) => {
                bail!("{file}: `{name}` does not compile, so it proves nothing:\n{why}");
            }
        }
    }
    copy.reset()?;
    say(&format!("{} of {} noticed", mutations.len() - survivors.len(), mutations.len()));
    if survivors.is_empty() {
        return Ok(Outcome::Done);
    }
    say(&format!("NOT noticed, write a test for each:\n  {}", survivors.join("\n  ")));
    Ok(Outcome::Negative)
}

/// A test that fails by itself notices every mutation.
fn require_tests_that_pass(copy: &Copy) -> Result<()> {
    copy.reset()?;
    say("running the tests on what is not changed");
    for trial in Trial::ALL {
        match trial.run(copy)? {
            Verdict::Survived => {}
            Verdict::Noticed(test) => bail!("`{test}` fails on what is not changed: repair it"),
            Verdict::DoesNotCompile(why) => bail!("the sources do not compile:\n{why}"),
        }
    }
    Ok(())
}

fn print(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("printing a line")
}
