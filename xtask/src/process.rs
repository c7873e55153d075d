//! Other programs: how they are run, and what is said about it.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};

/// Says on stderr what is being done.
pub(crate) fn say(message: &str) {
    eprintln!("xtask: {message}");
}

/// Whether this process is root, which installing packages and making network namespaces need.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Where a program is: on PATH, or in one of the folders that some users' PATH lacks (cargo's own,
/// and those of the system's administrator).
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_home().map(|home| home.join("bin")))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

/// The cargo that runs this program.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    command
}

/// Runs a program to its end with its output on stderr, and fails where it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs a program to its end with its output on stderr.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let stderr = io::stderr().as_fd().try_clone_to_owned().context("sharing stderr")?;
    command
        .stdin(Stdio::null())
        .stdout(stderr)
        .status()
        .with_context(|| format!("starting `{}`", describe(command)))
}

/// Runs a program quietly and returns what it printed, or nothing where it is not there or fails.
pub(crate) fn answer<I, S>(program: impl AsRef<OsStr>, arguments: I) -> Option<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let output = Command::new(program)
        .args(arguments)
        // An answer is never worth a download.
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program to its end, passing its output on as it comes, and shows each line to `observe`.
pub(crate) fn run_observed(
    command: &mut Command,
    mut observe: impl FnMut(&str),
) -> Result<ExitStatus> {
    let (reader, writer) = io::pipe().context("making a pipe")?;
    let also_writer = writer.try_clone().context("sharing a pipe")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(also_writer)
        .spawn()
        .with_context(|| format!("starting `{}`", describe(command)))?;
    // The command keeps its ends of the pipe open; the reader would wait for them for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("reading a program's output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        eprint!("{text}");
        observe(text.trim_end());
        line.clear();
    }
    child.wait().with_context(|| format!("waiting for `{}`", describe(command)))
}

/// A command as one would type it.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_names_the_command() {
        let error = run(Command::new("false").arg("now")).unwrap_err();
        assert!(error.to_string().starts_with("`false now` failed"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_has_no_answer() {
        assert_eq!(answer("/nowhere/at-all", ["x"]), None);
        assert_eq!(answer("false", [""]), None);
        assert_eq!(answer("echo", ["yes"]).as_deref(), Some("yes\n"));
    }

    #[test]
    fn every_line_of_both_streams_is_observed() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let status = run_observed(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(status.code(), Some(3));
    }
}
