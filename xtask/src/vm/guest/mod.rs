//! Process 1 of a virtual machine: this very program, started as `xtask guest`.

mod lacking;
mod suite;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};

use super::{
    job::{ANSWER, Answer, JOB, Job, Work},
    root::PATH,
};

/// Where programs leave files for this machine, inside.
const LEFT: &str = "/tmp/left";

/// What a virtual machine starts with.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure what a plan says, in the machine that runs already.
    #[arg(long, value_name = "PLAN")]
    measure: Option<String>,
}

/// Starts a machine, or measures something in it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.measure {
        None => be_process_1(),
        Some(plan) => measure(plan),
    }
}

fn measure(plan: &str) -> Result<()> {
    let plan = serde_json::from_str(plan).with_context(|| format!("understanding {plan}"))?;
    let report = serde_json::to_string(&::tests::pktgen::measure(&plan))
        .context("writing down what was measured")?;
    fs::write(Path::new(LEFT).join("report.json"), report).context("leaving what was measured")
}

/// Does what the job says, leaves the answer, and ends the machine.
fn be_process_1() -> Result<()> {
    if std::process::id() != 1 {
        bail!("`xtask guest` is what a virtual machine of `cargo xtask vm` starts with");
    }
    let answer = prepare()
        .and_then(|()| work())
        .unwrap_or_else(|error| Answer { error: Some(format!("{error:#}")), ..Answer::default() });
    let written = leave(&answer);
    // Also where it could not be written: whoever waits for it is told by the end of the machine.
    power_off();
    written
}

/// Mounts what programs expect, and sets what tests expect of a machine.
fn prepare() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("bpf", "/sys/fs/bpf"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        let nothing: Option<&str> = None;
        fs::create_dir_all(place).with_context(|| format!("making {place}"))?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), nothing)
            .with_context(|| format!("mounting {kind} on {place}"))?;
    }
    symlink("/proc/self/fd", "/dev/fd").context("making /dev/fd")?;
    // Grace periods are what much of a test's time would go to, on one processor that does nothing
    // else meanwhile.
    fs::write("/sys/kernel/rcu_expedited", "1").context("shortening grace periods")?;
    fs::create_dir_all(LEFT).with_context(|| format!("making {LEFT}"))?;
    command("ip", &["link", "set", "lo", "up"])
}

fn work() -> Result<Answer> {
    let text = fs::read_to_string(JOB).with_context(|| format!("reading {JOB}"))?;
    let job: Job = serde_json::from_str(&text).with_context(|| format!("understanding {JOB}"))?;
    match &job.work {
        Work::Shell => {
            let code = start(&job, "/bin/bash", &["-i".to_owned()])?;
            Ok(Answer { code, ..Answer::default() })
        }
        Work::Program(words) => {
            let (program, arguments) = words.split_first().context("no program is named")?;
            let code = start(&job, program, arguments)?;
            Ok(Answer { code, files: suite::files_below(Path::new(LEFT))?, ..Answer::default() })
        }
        Work::Tests(tests) => suite::run(&job, tests),
    }
}

/// A program of the job, with its environment.
fn job_command(job: &Job, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .current_dir(&job.folder)
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("TERM", "linux")
        .envs(&job.environment);
    command
}

/// Runs a program with the console; its exit code.
fn start(job: &Job, program: &str, arguments: &[String]) -> Result<i32> {
    let status = job_command(job, program)
        .args(arguments)
        .status()
        .with_context(|| format!("starting {program}"))?;
    Ok(status.code().unwrap_or(-1))
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", PATH)
        .status()
        .with_context(|| format!("starting {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

fn leave(answer: &Answer) -> Result<()> {
    let text = serde_json::to_string(answer).context("writing the answer down")?;
    let mut port =
        OpenOptions::new().write(true).open(ANSWER).context("opening the second port")?;
    writeln!(port, "{text}").context("writing the answer to the second port")
}

fn power_off() {
    let _ = fs::write("/proc/sysrq-trigger", "o");
    // The kernel does it when it finds the time.
    thread::sleep(Duration::from_mins(1));
}
