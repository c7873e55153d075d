//! `cargo xtask vm`: the tests, on the kernels that shunt has to run on and this machine does not
//! have.
//!
//! Debian's kernels are booted in QEMU, with a file system made of this machine's programs. Nothing
//! of them is installed, and nothing of a virtual machine reaches this machine's network: it has no
//! network card.

mod archive;
mod choice;
mod guest;
mod job;
mod kernel;
mod machine;
mod modules;
mod package;
mod prepare;
mod programs;
mod root;

use std::{collections::BTreeMap, fs, thread, time::Duration};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::{
    guest::{Arguments as GuestArguments, run as run_guest},
    kernel::Kernel,
};
use self::{
    job::{Answer, Choice},
    machine::{Machine, Processor},
    prepare::{Wanted, Wish, machine},
    programs::Programs,
};
use crate::{Outcome, process::say, repository::Repository, setup};

/// What to boot, and what for.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag each")]
pub(crate) struct Arguments {
    /// Boot this kernel alone.
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// A shell at the console instead of tests.
    #[arg(long, conflicts_with_all = ["filters", "all", "record_verifier"])]
    shell: bool,
    /// Every test that loads programs or makes namespaces. It takes hours where KVM does not work.
    #[arg(long, conflicts_with = "filters")]
    all: bool,
    /// Count instructions: time inside is their number in nanoseconds, free of noise.
    #[arg(long)]
    icount: bool,
    /// Write down anew what the programs cost these kernels' verifiers.
    #[arg(long, conflicts_with_all = ["filters", "all"])]
    record_verifier: bool,
    /// How long it may take.
    #[arg(long, value_name = "MINUTES", default_value_t = 45)]
    minutes: u64,
    /// Run only the tests whose name, as in `namespaces::clsact::`, contains one of these.
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// How long the tests of every run may take on both kernels.
const EVERY_RUN: Duration = Duration::from_mins(35);

/// How long it may take to count instructions.
const COUNTING: Duration = Duration::from_mins(10);

/// Builds, boots, and says what the tests said.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let wanted = wanted(arguments);
    setup::test_tools()?;
    setup::virtual_machine()?;
    let programs = Programs::build(repository)?;
    if arguments.shell {
        let kernel = arguments.kernel.unwrap_or(Kernel::V6_12);
        machine(repository, &wanted, &programs, kernel)?.interact()?;
        return Ok(Outcome::Done);
    }
    let kernels = arguments.kernel.map_or_else(|| Kernel::ALL.to_vec(), |kernel| vec![kernel]);
    run_on(repository, &wanted, &programs, &kernels)
}

/// Runs the tests of every run on all kernels.
pub(crate) fn run_tests_of_every_run(repository: &Repository) -> Result<Outcome> {
    setup::virtual_machine()?;
    let programs = Programs::build(repository)?;
    let wanted =
        Wanted { work: Wish::Tests(choice::of_every_run()), processor: None, limit: EVERY_RUN };
    let all = run_on(repository, &wanted, &programs, &Kernel::ALL)?;
    // What is recorded is of one kernel.
    let work = Wish::Tests(choice::of_instructions());
    let wanted = Wanted { work, processor: Some(Processor::Counted), limit: COUNTING };
    let counted = run_on(repository, &wanted, &programs, &[Kernel::V6_12])?;
    Ok(if all == Outcome::Done { counted } else { all })
}

/// Has `xtask guest` measure something on a kernel, in a machine that counts instructions, and returns
/// the files that it leaves.
pub(crate) fn measure(
    repository: &Repository,
    kernel: Kernel,
    what: &str,
    limit: Duration,
) -> Result<BTreeMap<String, String>> {
    setup::test_tools()?;
    setup::virtual_machine()?;
    let work = Wish::Measure(what.to_owned());
    let wanted = Wanted { work, processor: Some(Processor::Counted), limit };
    let programs = Programs::build_without_tests(repository)?;
    let answer = machine(repository, &wanted, &programs, kernel)?.run()?;
    if let Some(error) = &answer.error {
        bail!("kernel {kernel}: {error}");
    }
    if !answer.is_yes() {
        bail!("kernel {kernel}: measuring ended with {}; what is above says why", answer.code);
    }
    Ok(answer.files)
}

/// What the command line asks for.
fn wanted(arguments: &Arguments) -> Wanted {
    let work = if arguments.shell {
        Wish::Shell
    } else if arguments.record_verifier {
        Wish::RecordVerifier
    } else if arguments.all {
        Wish::Tests(Choice::All)
    } else if arguments.filters.is_empty() {
        Wish::Tests(choice::of_every_run())
    } else {
        Wish::Tests(Choice::Containing(arguments.filters.clone()))
    };
    let limit = Duration::from_mins(arguments.minutes);
    Wanted { work, processor: arguments.icount.then_some(Processor::Counted), limit }
}

/// Boots kernels beside each other, each with a processor of its own, and says how it went on each.
fn run_on(
    repository: &Repository,
    wanted: &Wanted,
    programs: &Programs,
    kernels: &[Kernel],
) -> Result<Outcome> {
    let machines: Vec<(Kernel, Machine)> = kernels
        .iter()
        .map(|&kernel| Ok((kernel, machine(repository, wanted, programs, kernel)?)))
        .collect::<Result<_>>()?;
    let answers: Vec<(Kernel, Result<Answer>)> = thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|(kernel, machine)| (*kernel, scope.spawn(|| machine.run())))
            .collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, Result<Answer>>| {
            thread.join().unwrap_or_else(|_| bail!("watching a machine panicked"))
        };
        running.into_iter().map(|(kernel, thread)| (kernel, ended(thread))).collect()
    });
    let mut outcome = Outcome::Done;
    for (kernel, answer) in answers {
        let answer = answer.and_then(|answer| match &answer.error {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        });
        match answer {
            Ok(answer) => {
                if matches!(wanted.work, Wish::RecordVerifier) {
                    write_files(repository, &answer.files)?;
                }
                if !report(kernel, &answer) {
                    outcome = Outcome::Negative;
                }
            }
            // The others' answers are worth hearing, too.
            Err(error) => {
                say(&format!("kernel {kernel}: FAILED: {error:#}"));
                outcome = Outcome::Negative;
            }
        }
    }
    Ok(outcome)
}

/// Says how it went on a kernel, and whether that was well.
fn report(kernel: Kernel, answer: &Answer) -> bool {
    for skipped in &answer.skipped {
        say(&format!("kernel {kernel}: SKIPPED {skipped}"));
    }
    for failed in &answer.failed {
        say(&format!("kernel {kernel}: FAILED {failed}"));
    }
    let verdict = if answer.is_yes() { "ok" } else { "FAILED" };
    let (failed, skipped) = (answer.failed.len(), answer.skipped.len());
    say(&format!(
        "kernel {kernel}: {verdict}: {} passed, {failed} failed, {skipped} skipped",
        answer.passed
    ));
    answer.is_yes()
}

fn write_files(repository: &Repository, files: &BTreeMap<String, String>) -> Result<()> {
    for (place, text) in files {
        let path = repository.path(place);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        say(&format!("written: {place}"));
    }
    Ok(())
}
