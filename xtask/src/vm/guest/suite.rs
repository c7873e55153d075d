//! Tests, each in a process of its own, so that one that is ended by its deadline takes no other
//! with it.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    super::job::{Answer, Choice, Job, Tests},
    LEFT, job_command, lacking,
};

/// A test, and the program that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    name: String,
    program: PathBuf,
    within: String,
}

/// Asks `shunt check`, and runs the tests that are chosen.
pub(super) fn run(job: &Job, tests: &Tests) -> Result<Answer> {
    let mut answer = Answer::default();
    lacking::check_with_and_without_modules(job, tests, &mut answer)?;

    let mut all = Vec::new();
    for (name, program) in &tests.programs {
        all.extend(list(job, name, program)?);
    }
    let queue = Mutex::new(VecDeque::from(choose(all, &tests.choice)?));
    let shared = Mutex::new(answer);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(test) = lock(&queue).pop_front() {
                    let began = Instant::now();
                    let output = run_one(job, &test);
                    record(&mut lock(&shared), &test, &output, began.elapsed());
                }
            });
        }
    });
    let mut answer = lock(&shared).clone();
    answer.files = files_below(Path::new(LEFT))?;
    eprintln!(
        "Summary [{:>8.3}s] {} tests run: {} passed, {} failed, {} skipped",
        started.elapsed().as_secs_f64(),
        answer.passed as usize + answer.failed.len(),
        answer.passed,
        answer.failed.len(),
        answer.skipped.len(),
    );
    Ok(answer)
}

/// The tests of a program that are left out where it is not run by root: those that load programs or
/// make namespaces. The others have nothing to do with the kernel.
fn list(job: &Job, within: &str, program: &Path) -> Result<Vec<Test>> {
    let listing = || format!("listing the tests of {}", program.display());
    let output = job_command(job, program)
        .args(["--list", "--ignored", "--format", "terse"])
        .output()
        .with_context(listing)?;
    if !output.status.success() {
        bail!("{}: {}", listing(), String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names
        .map(|name| Test {
            name: name.to_owned(),
            program: program.to_owned(),
            within: within.to_owned(),
        })
        .collect())
}

/// Those tests that are chosen, in their order.
fn choose(all: Vec<Test>, choice: &Choice) -> Result<Vec<Test>> {
    match choice {
        Choice::All => Ok(all),
        Choice::Containing(parts) => Ok(all
            .into_iter()
            .filter(|test| parts.iter().any(|part| test.full_name().contains(part)))
            .collect()),
        Choice::Named(names) => names
            .iter()
            .map(|name| {
                let found = all.iter().find(|test| &test.full_name() == name);
                found.cloned().with_context(|| format!("there is no test {name}"))
            })
            .collect(),
    }
}

impl Test {
    fn full_name(&self) -> String {
        format!("{}::{}", self.within, self.name)
    }
}

fn run_one(job: &Job, test: &Test) -> Result<Output> {
    job_command(job, &test.program)
        .args(["--exact", &test.name, "--include-ignored", "--nocapture"])
        .env("SHUNT_TEST_LEAVES", LEFT)
        .env("SHUNT_TEST_COUNTS", "/tmp/counts")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", test.program.display()))
}

/// Shows how a test went, and all that it said where it failed.
fn record(answer: &mut Answer, test: &Test, output: &Result<Output>, took: Duration) {
    let (passed, said) = match output {
        Ok(output) => (
            output.status.success(),
            [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat(),
        ),
        Err(error) => (false, format!("{error:#}")),
    };
    let skipped: Vec<&str> = said.lines().filter(|line| line.contains("SKIPPED")).collect();
    let verdict = match (passed, skipped.is_empty()) {
        (true, true) => "PASS",
        (true, false) => "SKIP",
        (false, _) => "FAIL",
    };
    let name = test.full_name();
    eprintln!("{verdict:>8} [{:>8.3}s] {name}", took.as_secs_f64());
    match verdict {
        "PASS" => answer.passed += 1,
        "SKIP" => {
            for reason in &skipped {
                eprintln!("         {reason}");
            }
            answer.skipped.push(format!("{name}: {}", skipped.join("; ")));
        }
        _ => {
            eprintln!("{said}");
            answer.failed.push(name);
        }
    }
}

/// The contents of files, by their paths below a folder.
pub(super) fn files_below(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        let reading = || format!("reading {}", inner.display());
        for entry in fs::read_dir(&inner).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                let text = fs::read_to_string(&path).with_context(reading)?;
                files.insert(relative.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(files)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(within: &str, name: &str) -> Test {
        Test { name: name.to_owned(), program: PathBuf::new(), within: within.to_owned() }
    }

    #[test]
    fn tests_are_chosen_by_a_part_of_their_name_or_by_all_of_it() {
        let all = || vec![test("a", "x::one"), test("b", "x::two")];
        let names = |choice: &Choice| {
            let chosen = choose(all(), choice).map_err(|error| error.to_string())?;
            Ok::<_, String>(chosen.iter().map(Test::full_name).collect::<Vec<_>>())
        };
        assert_eq!(names(&Choice::All).unwrap().len(), 2);
        assert_eq!(names(&Choice::Containing(vec!["b::".to_owned()])).unwrap(), ["b::x::two"]);
        assert_eq!(names(&Choice::Named(vec!["a::x::one".to_owned()])).unwrap(), ["a::x::one"]);
        let error = names(&Choice::Named(vec!["a::x".to_owned()])).unwrap_err();
        assert_eq!(error, "there is no test a::x");
    }
}
