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
mod programs;
mod root;

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::guest::run as run_guest;
use self::{
    job::{Answer, Choice, JOB, Job, Tests, Work},
    kernel::Kernel,
    machine::{Machine, Processor},
    package::KernelPackage,
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
const EVERY_RUN: Duration = Duration::from_mins(40);

/// Builds, boots, and says what the tests said.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    let wanted = Wanted::of(arguments);
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
    let wanted =
        Wanted { work: Wish::Tests(choice::of_every_run()), processor: None, limit: EVERY_RUN };
    run_on(repository, &wanted, &Programs::build(repository)?, &Kernel::ALL)
}

/// What is asked for, of each kernel.
#[derive(Clone, Debug)]
struct Wanted {
    work: Wish,
    /// None: the quickest that works.
    processor: Option<Processor>,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum Wish {
    Shell,
    Tests(Choice),
    RecordVerifier,
}

impl Wanted {
    fn of(arguments: &Arguments) -> Self {
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
        Self { work, processor: arguments.icount.then_some(Processor::Counted), limit }
    }
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

/// A machine with this kernel that does what is wanted.
fn machine(
    repository: &Repository,
    wanted: &Wanted,
    programs: &Programs,
    kernel: Kernel,
) -> Result<Machine> {
    let folder = repository.target().join("vm").join(kernel.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let package = KernelPackage::fetch(kernel, &folder)?;
    let processor = wanted.processor.unwrap_or_else(|| Processor::quickest(&package.image()));
    let job = job(repository, wanted, programs, kernel, processor);
    let archive = folder.join("root.cpio");
    write_archive(repository, programs, &package, &job, &archive)?;
    say(&format!("booting {} ({processor})", package.release()));
    Ok(Machine {
        image: package.image(),
        archive,
        processor,
        folder,
        prefix: format!("{kernel}| "),
        limit: wanted.limit,
    })
}

fn job(
    repository: &Repository,
    wanted: &Wanted,
    programs: &Programs,
    kernel: Kernel,
    processor: Processor,
) -> Job {
    let mut environment = programs.environment();
    environment.insert("SHUNT_TEST_PATIENCE".to_owned(), processor.patience().to_string());
    if processor == Processor::Counted {
        environment.insert("SHUNT_TIME_IS_INSTRUCTIONS".to_owned(), "1".to_owned());
    }
    let choice = match &wanted.work {
        Wish::Shell => None,
        Wish::Tests(choice) => Some(choice.clone()),
        Wish::RecordVerifier => {
            environment.insert("SHUNT_RECORD_VERIFIER".to_owned(), "1".to_owned());
            Some(choice::of_the_verifier())
        }
    };
    let tests = |choice| Tests {
        tc: kernel.tc().to_owned(),
        needed_modules: kernel.needed_modules(),
        programs: programs.tests().clone(),
        choice,
    };
    let work = choice.map_or(Work::Shell, |choice| Work::Tests(tests(choice)));
    Job { environment, folder: repository.path("tests"), work }
}

fn write_archive(
    repository: &Repository,
    programs: &Programs,
    package: &KernelPackage,
    job: &Job,
    path: &Path,
) -> Result<()> {
    let mut archive = root::of_this_machine()?;
    root::add_repository(&mut archive, repository)?;
    programs.add_to(&mut archive);
    root::add_libraries(&mut archive)?;
    modules::add(&mut archive, package)?;
    let text = serde_json::to_string(job).context("writing the job down")?;
    archive.add_text(Path::new(JOB), text);
    archive.write_to(path)
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
