//! `cargo xtask`: everything that is done to this repository.
//!
//! Each verb is one module with one public function. Verbs say on stderr what they do, print data
//! on stdout, and exit with 0 (done), 1 (a negative answer: a test failed, something is untidy) or
//! 2 (an error, which says what to do).

mod bench;
mod build;
mod chart;
mod demo;
mod dist;
mod fuzz;
mod interrupt;
mod mutate;
mod process;
mod repository;
mod setup;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repository::Repository;

/// Builds, tests and checks shunt.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install what is needed to build and to test.
    Setup,
    /// Build target/release/shunt, with the eBPF object inside, and target/release/shunt-cni.
    Build,
    /// Build, then measure shunt beside kube-proxy's rules; or one part of it alone.
    Bench(bench::Arguments),
    /// Build, then show two nodes and an outside, and who reaches whom with which address; clean up.
    Demo(demo::Arguments),
    /// Build static programs, and pack what users install: tarball, .deb, container image, chart.
    Dist,
    /// Run fuzz targets; what they find is kept as a fixture.
    Fuzz(fuzz::Arguments),
    /// Break rules one at a time; a test has to notice each.
    Mutate(mutate::Arguments),
    /// Build, then run every test, and a part of them on other kernels.
    Test(test::Arguments),
    /// Check formatting, lints and the rules of the house.
    Tidy(tidy::Arguments),
    /// Build, then run tests on Linux 6.1 and 6.12, in virtual machines.
    Vm(vm::Arguments),
    /// What a virtual machine starts with.
    #[command(hide = true)]
    Guest(vm::GuestArguments),
}

/// How a verb that met no error ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Done,
    /// The answer is no: a test failed, or something is untidy.
    Negative,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb) -> Result<Outcome> {
    let repository = Repository::find()?;
    match verb {
        Verb::Guest(arguments) => vm::run_guest(&arguments).map(|()| Outcome::Done),
        Verb::Vm(arguments) => vm::run(&repository, &arguments),
        Verb::Setup => setup::run(&repository),
        Verb::Build => build::run(&repository),
        Verb::Bench(arguments) => bench::run(&repository, &arguments),
        Verb::Demo(arguments) => demo::run(&repository, &arguments),
        Verb::Dist => dist::run(&repository),
        Verb::Fuzz(arguments) => fuzz::run(&repository, &arguments),
        Verb::Mutate(arguments) => mutate::run(&repository, &arguments),
        Verb::Test(arguments) => test::run(&repository, &arguments),
        Verb::Tidy(arguments) => tidy::run(&repository, arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
