//! Child processes that cannot outlive the test.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::patiently;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code, or 128 and the signal's number.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

/// A command that the kernel kills (SIGKILL) when the thread that starts it ends.
///
/// `setpriv` does it and then becomes the program, so the process id stays the same and no `unsafe`
/// hook between fork and exec is needed.
pub fn mortal_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Runs a command to its end.
///
/// Panics if it cannot be started, or is not done after `limit` (it is killed then).
pub fn finish(command: &mut Command, limit: Duration) -> Finished {
    let description = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {description}: {error}"));
    let stdout = drain(child.stdout.take().expect("stdout is a pipe"));
    let stderr = drain(child.stderr.take().expect("stderr is a pipe"));
    let code = wait(&mut child, limit);
    if code.is_none() {
        stop(&mut child);
    }
    let finished = Finished {
        code: code.unwrap_or(-1),
        stdout: stdout.join().expect("the reader of stdout ends"),
        stderr: stderr.join().expect("the reader of stderr ends"),
    };
    assert!(code.is_some(), "{description} was not done after {limit:?}: {finished:?}");
    finished
}

/// Runs a command that has to succeed within 20 seconds, and returns what it printed.
pub fn must(command: &mut Command) -> String {
    let finished = finish(command, Duration::from_secs(20));
    assert!(
        finished.code == 0,
        "{command:?} ended with {}: {}",
        finished.code,
        finished.stderr.trim()
    );
    finished.stdout
}

/// Whether a program is on PATH.
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}

/// A process in the background: killed, by its process id, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command, and waits until a line of its stdout contains `sign`. Panics after ten
    /// seconds.
    pub fn start(command: &mut Command, sign: &str) -> Self {
        let description = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {description}: {error}"));
        let mut process = Self { child };
        let stdout = process.child.stdout.take().expect("stdout is a pipe");
        let (seen, wait_for_it) = mpsc::channel();
        let sign = sign.to_owned();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.contains(&sign) {
                    // Nobody waits for a second one.
                    let _ = seen.send(());
                }
            }
        });
        let started = wait_for_it.recv_timeout(patiently(Duration::from_secs(10))).is_ok();
        assert!(started, "{description} did not get going");
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Waits for a child; its exit code (128 and the signal's number where one ended it), or none while
/// it still runs after `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let limit = patiently(limit);
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waiting for a child") {
            return status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a child a signal; no error if it is gone already.
pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive"));
    match kill(pid, signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("sending {signal} to {pid}: {error}"),
    }
}

/// Kills a child and reaps it. Never panics: it runs on the way out, too.
pub fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_tells_its_exit_code_and_both_streams() {
        let finished = finish(
            mortal_command("sh").args(["-c", "echo out; echo err >&2; exit 3"]),
            Duration::from_secs(5),
        );
        assert_eq!(
            (finished.code, finished.stdout.as_str(), finished.stderr.as_str()),
            (3, "out\n", "err\n")
        );
    }

    #[test]
    #[should_panic(expected = "was not done after")]
    fn a_command_that_hangs_fails_the_test() {
        finish(mortal_command("sleep").arg("30"), Duration::from_millis(100));
    }

    #[test]
    fn a_command_dies_with_the_thread_that_started_it() {
        let mut child = thread::spawn(|| {
            let child = mortal_command("sleep").arg("30").spawn().expect("sleep starts");
            // Time for `setpriv` to have become `sleep`.
            thread::sleep(Duration::from_millis(500));
            child
        })
        .join()
        .expect("the thread ends");
        let code = wait(&mut child, Duration::from_secs(5));
        stop(&mut child);
        assert_eq!(code, Some(128 + 9));
    }
}
