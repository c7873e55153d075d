//! From what is wanted to a machine that does it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    choice,
    job::{Choice, JOB, Job, Tests, Work},
    kernel::Kernel,
    machine::{Machine, Processor},
    modules,
    package::KernelPackage,
    programs::{self, Programs},
    root,
};
use crate::{process::say, repository::Repository};

/// What is asked for, of each kernel.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) work: Wish,
    /// None: the quickest that works.
    pub(super) processor: Option<Processor>,
    pub(super) limit: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum Wish {
    Shell,
    Tests(Choice),
    RecordVerifier,
    /// What `xtask guest --measure` is given.
    Measure(String),
}

/// A machine with this kernel that does what is wanted.
pub(super) fn machine(
    repository: &Repository,
    wanted: &Wanted,
    programs: &Programs,
    kernel: Kernel,
) -> Result<Machine> {
    let folder = repository.target().join("vm").join(kernel.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let alone = lock(&folder)?;
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
        _alone: alone,
        prefix: format!("{kernel}| "),
        limit: wanted.limit,
    })
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    file.try_lock().with_context(|| {
        format!("another machine of this kernel runs, and holds {}", path.display())
    })?;
    Ok(file)
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
    let needed_modules = match processor {
        // Whoever counts instructions asks for nothing else.
        Processor::Counted => BTreeMap::new(),
        Processor::Kvm | Processor::Emulated => kernel.needed_modules(),
    };
    let tests = |choice| {
        Work::Tests(Tests {
            tc: kernel.tc().to_owned(),
            needed_modules,
            programs: programs.tests().clone(),
            choice,
        })
    };
    let work = match &wanted.work {
        Wish::Shell => Work::Shell,
        Wish::Tests(choice) => tests(choice.clone()),
        Wish::RecordVerifier => {
            environment.insert("SHUNT_RECORD_VERIFIER".to_owned(), "1".to_owned());
            tests(choice::of_the_verifier())
        }
        Wish::Measure(what) => {
            let words = [programs::INIT, "guest", "--measure", what];
            Work::Program(words.map(str::to_owned).to_vec())
        }
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
