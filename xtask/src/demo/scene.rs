//! What a step sees of the demo: it runs commands in front of the audience, and says what they
//! prove.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;

use super::{print::Printer, stage::Stage};
use crate::interrupt;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(45);

/// The stage with its audience.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) printer: Printer,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The exit code; -1 where a signal ended it.
    pub(super) code: i32,
    /// What it printed on both streams.
    pub(super) text: String,
    /// How long it took.
    pub(super) took: Duration,
}

/// A command that runs; it is killed, with all that it started, when dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    output: Option<JoinHandle<String>>,
    since: Instant,
    ended: bool,
}

impl Scene {
    /// With this audience.
    pub(super) fn new(stage: Stage, printer: Printer) -> Self {
        Self { stage, printer }
    }

    /// Shows a command, runs it, shows what it printed.
    pub(super) fn run(&self, command: &str) -> Result<Answer> {
        self.printer.command(command);
        let answer = self.spawn(command)?.wait()?;
        self.printer.output(&answer.text);
        Ok(answer)
    }

    /// Shows a command and starts it in the background.
    pub(super) fn start(&self, command: &str) -> Result<Running> {
        self.printer.command(&format!("{command} &"));
        self.spawn(command)
    }

    /// Runs a command that is not worth showing.
    pub(super) fn quietly(&self, command: &str) -> Result<Answer> {
        self.spawn(command)?.wait()
    }

    /// Runs a command that prints JSON, and is not worth showing.
    pub(super) fn json(&self, command: &str) -> Result<Value> {
        let answer = self.quietly(command)?;
        serde_json::from_str(&answer.text).with_context(|| format!("`{command}`: {}", answer.text))
    }

    /// Says what was proven, or that it was not, and what was seen instead.
    pub(super) fn proves(&self, claim: &str, verdict: Result<()>) {
        match verdict {
            Ok(()) => self.printer.proven(claim),
            Err(reason) => self.printer.not_proven(claim, &format!("{reason:#}")),
        }
    }

    /// The addresses of a network namespace's interface, IPv4 first, link-local ones left out, as
    /// the kernel has them.
    pub(super) fn addresses(&self, namespace: &str, interface: &str) -> Result<Vec<IpAddr>> {
        let command = format!("ip -n {namespace} -j address show dev {interface} scope global");
        let listing = self.json(&command)?;
        let mut addresses: Vec<IpAddr> = listing
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|link| link["addr_info"].as_array())
            .flatten()
            .filter_map(|info| info["local"].as_str()?.parse().ok())
            .collect();
        addresses.sort();
        Ok(addresses)
    }

    fn spawn(&self, command: &str) -> Result<Running> {
        let starting = || format!("starting `{command}`");
        interrupt::check()?;
        let (mut reader, writer) = io::pipe().with_context(starting)?;
        let child = Command::new("sh")
            .args(["-c", command])
            .envs(self.stage.environment())
            .current_dir(self.stage.repository())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().with_context(starting)?)
            .stderr(writer)
            // Its own process group, so that all of a pipeline can be ended.
            .process_group(0)
            .spawn()
            .with_context(starting)?;
        let output = thread::spawn(move || {
            let mut bytes = Vec::new();
            // What came before an error is still worth showing.
            let _ = reader.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Ok(Running { child, output: Some(output), since: Instant::now(), ended: false })
    }
}

impl Running {
    /// Whether it still runs.
    pub(super) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("asking for a child")?.is_none())
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<Answer> {
        let status = loop {
            if let Some(status) = self.child.try_wait().context("waiting for a child")? {
                break status;
            }
            interrupt::check()?;
            if self.since.elapsed() > LIMIT {
                bail!("a command is not done after {LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.since.elapsed();
        self.ended = true;
        let text = self.output.take().map(JoinHandle::join);
        Ok(Answer {
            code: status.code().unwrap_or(-1),
            text: text.and_then(Result::ok).unwrap_or_default(),
            took,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Ok(group) = i32::try_from(self.child.id()) {
            // No error matters on the way out.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

impl Answer {
    /// Fails unless the command succeeded.
    pub(super) fn succeeded(&self) -> Result<&Self> {
        if self.code == 0 {
            Ok(self)
        } else {
            bail!("exit code {}: {}", self.code, self.text.trim())
        }
    }

    /// A server's answer: its name, and the client as it saw it.
    pub(super) fn seen(&self) -> Result<(String, SocketAddr)> {
        seen(&self.succeeded()?.text)
    }
}

/// Reads a server's answer: its name, and the client as it saw it.
pub(super) fn seen(text: &str) -> Result<(String, SocketAddr)> {
    let mut words = text.split_whitespace();
    let server = words.next().context("an empty answer")?;
    let client = words
        .next()
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no client address in {text:?}"))?;
    Ok((server.to_owned(), client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_answer_names_it_and_its_client() {
        let (server, client) = seen("web-1 [fd10::2]:4444 hello\n").unwrap();
        assert_eq!(server, "web-1");
        assert_eq!(client, "[fd10::2]:4444".parse().unwrap());
        assert!(seen("").is_err());
        assert!(seen("<html>").is_err());
    }
}
