//! The processes that stand behind a demo, in a file, so that another run can end them.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

/// How long a process may take to end on SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// The processes, one line each: process id, start time, what it is.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    file: PathBuf,
}

/// One process; its start time tells it from a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    pid: i32,
    started: u64,
    what: String,
}

impl Processes {
    /// Those recorded in a file, which need not exist yet.
    pub(super) fn at(file: PathBuf) -> Self {
        Self { file }
    }

    /// Starts a command in a session of its own, out of the terminal's reach, and records it.
    pub(super) fn start(&self, command: &Command, what: &str, log: &Path) -> Result<Recorded> {
        let starting = || format!("starting {what}");
        let log = OpenOptions::new().create(true).append(true).open(log).with_context(starting)?;
        let mut detached = Command::new("setsid");
        detached.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                detached.env(name, value);
            }
        }
        let mut child = detached
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(starting)?)
            .stderr(log)
            .spawn()
            .with_context(starting)?;
        // `setsid` and `nsenter` become what they start: the id stays.
        let pid = i32::try_from(child.id()).context("a process id beyond the kernel's largest")?;
        let early = child.try_wait().with_context(starting)?;
        let started = start_time(pid)
            .with_context(|| format!("{what} ended at once: {early:?}; see its log"))?;
        let recorded = Recorded { pid, started, what: what.to_owned() };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.file)
            .and_then(|mut file: File| {
                writeln!(file, "{pid} {started} {what}")?;
                Ok(file)
            })
            .with_context(|| format!("writing {}", self.file.display()))?;
        file.flush().context("writing the list of processes")?;
        Ok(recorded)
    }

    /// All that were started.
    pub(super) fn all(&self) -> Vec<Recorded> {
        fs::read_to_string(&self.file).unwrap_or_default().lines().filter_map(parse).collect()
    }

    /// Ends all that run, and returns a line for each that would not go.
    pub(super) fn stop_all(&self) -> Vec<String> {
        let all = self.all();
        for process in &all {
            process.signal(Signal::SIGTERM);
        }
        let mut stubborn = Vec::new();
        for process in all {
            if process.wait_for_end(PATIENCE) {
                continue;
            }
            process.signal(Signal::SIGKILL);
            if !process.wait_for_end(PATIENCE) {
                stubborn.push(format!("process {} ({})", process.pid, process.what));
            }
        }
        stubborn
    }
}

impl Recorded {
    /// The process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it runs.
    pub(super) fn runs(&self) -> bool {
        // An ended child of this process stays a zombie until it is waited for. Another's child
        // cannot be waited for, and need not be.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
        start_time(self.pid) == Some(self.started)
    }

    /// Waits until it has ended; whether it did.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        let start = Instant::now();
        while self.runs() {
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    fn signal(&self, signal: Signal) {
        if self.runs() {
            // It may end between the two; that is what was wanted.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

fn parse(line: &str) -> Option<Recorded> {
    let mut fields = line.splitn(3, ' ');
    Some(Recorded {
        pid: fields.next()?.parse().ok()?,
        started: fields.next()?.parse().ok()?,
        what: fields.next()?.to_owned(),
    })
}

/// When a process was started, in clock ticks since boot; none if it is gone or a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the state is the first field after it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_process_is_found_again_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let processes = Processes::at(folder.path().join("processes"));
        let mut command = Command::new("sleep");
        command.arg("60");
        let sleep = processes.start(&command, "a long sleep", &folder.path().join("log")).unwrap();
        assert!(sleep.runs());
        assert_eq!(processes.all(), std::slice::from_ref(&sleep));
        assert_eq!(processes.stop_all(), Vec::<String>::new());
        assert!(!sleep.runs());
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = start_time(own).unwrap();
        let other = Recorded { pid: own, started: started + 1, what: "gone".to_owned() };
        assert!(!other.runs());
    }
}
