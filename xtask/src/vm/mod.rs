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

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

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
    /// How long one kernel's tests may take.
    #[arg(long, value_name = "MINUTES", default_value_t = 45)]
    minutes: u64,
    /// Run only the tests whose name, as in `namespaces::clsact::`, contains one of these.
    #[arg(last = true, value_name = "FILTER")]
    filters: Vec<String>,
}

/// Builds, boots, and says what the tests said.
pub(crate) fn run(repository: &Repository, arguments: &Arguments) -> Result<Outcome> {
    setup::test_tools()?;
    setup::virtual_machine()?;
    let programs = Programs::build(repository)?;
    let mut outcome = Outcome::Done;
    for kernel in kernels(arguments) {
        let answer = boot(repository, arguments, &programs, kernel)?;
        let Some(answer) = answer else { continue };
        if report(repository, kernel, &answer, arguments)? == Outcome::Negative {
            outcome = Outcome::Negative;
        }
    }
    Ok(outcome)
}

fn kernels(arguments: &Arguments) -> Vec<Kernel> {
    match arguments.kernel {
        Some(kernel) => vec![kernel],
        None if arguments.shell => vec![Kernel::V6_12],
        None => Kernel::ALL.to_vec(),
    }
}

/// Boots a kernel, and returns its answer; none of a shell.
fn boot(
    repository: &Repository,
    arguments: &Arguments,
    programs: &Programs,
    kernel: Kernel,
) -> Result<Option<Answer>> {
    let folder = repository.target().join("vm").join(kernel.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let package = KernelPackage::fetch(kernel, &folder)?;
    let processor = match arguments.icount {
        true => Processor::Counted,
        false => Processor::quickest(&package.image()),
    };
    let job = job(repository, arguments, programs, kernel, processor);
    let archive = folder.join("root.cpio");
    write_archive(repository, programs, &package, &job, &archive)?;
    let machine = Machine {
        image: package.image(),
        archive,
        processor,
        processors: if processor == Processor::Kvm { 2 } else { 1 },
        folder,
        prefix: format!("{kernel}| "),
        limit: Duration::from_mins(arguments.minutes),
    };
    say(&format!("booting {} ({processor})", package.release()));
    if arguments.shell {
        machine.interact()?;
        return Ok(None);
    }
    machine.run().map(Some)
}

fn job(
    repository: &Repository,
    arguments: &Arguments,
    programs: &Programs,
    kernel: Kernel,
    processor: Processor,
) -> Job {
    let mut environment = programs.environment();
    environment.insert("SHUNT_TEST_PATIENCE".to_owned(), processor.patience().to_string());
    if processor == Processor::Counted {
        environment.insert("SHUNT_TIME_IS_INSTRUCTIONS".to_owned(), "1".to_owned());
    }
    let choice = if arguments.record_verifier {
        environment.insert("SHUNT_RECORD_VERIFIER".to_owned(), "1".to_owned());
        Choice::Containing(vec!["verifier::".to_owned()])
    } else if arguments.all {
        Choice::All
    } else if arguments.filters.is_empty() {
        choice::of_every_run()
    } else {
        Choice::Containing(arguments.filters.clone())
    };
    let work = match arguments.shell {
        true => Work::Shell,
        false => Work::Tests(Tests {
            tc: kernel.tc().to_owned(),
            needed_modules: kernel.needed_modules(),
            programs: programs.tests().clone(),
            choice,
        }),
    };
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

/// Says how it went, and takes over what tests have left for the repository.
fn report(
    repository: &Repository,
    kernel: Kernel,
    answer: &Answer,
    arguments: &Arguments,
) -> Result<Outcome> {
    if let Some(error) = &answer.error {
        bail!("kernel {kernel}: {error}");
    }
    if arguments.record_verifier {
        write_files(repository, &answer.files)?;
    }
    for skipped in &answer.skipped {
        say(&format!("kernel {kernel}: SKIPPED {skipped}"));
    }
    for failed in &answer.failed {
        say(&format!("kernel {kernel}: FAILED {failed}"));
    }
    let verdict = if answer.is_yes() { "ok" } else { "FAILED" };
    say(&format!(
        "kernel {kernel}: {verdict}: {} passed, {} failed, {} skipped",
        answer.passed,
        answer.failed.len(),
        answer.skipped.len()
    ));
    Ok(if answer.is_yes() { Outcome::Done } else { Outcome::Negative })
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
