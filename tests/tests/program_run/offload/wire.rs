//! Pods without a stack's help: frames are sent and received as they are.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::{
    netns::NetNamespace,
    packets::world::{link, mac},
    process::{mortal_command, must, stop, wait},
};

/// A pod's namespace, its veth pair's other end in the caller's.
pub(super) fn make_pod(number: u8) -> NetNamespace {
    let name = format!("pod{number}");
    let namespace = NetNamespace::create(&name);
    let index = link(number).interface.get();
    let address = mac(number).map(|byte| format!("{byte:02x}")).join(":");
    let host = format!("host{number}");
    let arguments = format!(
        "link add {host} index {index} type veth peer name eth0 netns {name} address {address}"
    );
    must(mortal_command("ip").args(arguments.split_whitespace()));
    must(mortal_command("ip").args(["link", "set", &host, "up"]));
    namespace.ip("link set eth0 up");
    namespace
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program_run/vnet.py")
}

fn python(namespace: &NetNamespace, arguments: &[&str]) -> Command {
    let mut command = namespace.command("/usr/bin/python3");
    command.arg(script()).args(arguments);
    command
}

/// Who writes down what a pod receives.
pub(super) struct Listener {
    child: Child,
    file: PathBuf,
}

impl Listener {
    pub(super) fn start(namespace: &NetNamespace, folder: &Path) -> Self {
        let file = folder.join(namespace.name());
        let path = file.display().to_string();
        let child = python(namespace, &["receive", "eth0", &path])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python starts");
        let listener = Self { child, file };
        for _ in 0..500 {
            if listener.text().starts_with("ready\n") {
                return listener;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody listens on {path}");
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Every frame that came, once nothing comes any more.
    pub(super) fn received(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let code = wait(&mut self.child, Duration::from_secs(25));
        stop(&mut self.child);
        assert_eq!(code, Some(0), "the listener's exit code");
        let text = self.text();
        text.lines().skip(1).map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Who sends frames from a pod.
pub(super) struct Sender {
    child: Child,
    sent: Lines<BufReader<ChildStdout>>,
}

impl Sender {
    pub(super) fn start(namespace: &NetNamespace) -> Self {
        let mut child = python(namespace, &["send", "eth0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        Self { child, sent: BufReader::new(stdout).lines() }
    }

    /// Sends a frame, and returns when it is on its way.
    pub(super) fn send(&mut self, frame: &Value) {
        let stdin = self.child.stdin.as_mut().expect("stdin is a pipe");
        writeln!(stdin, "{frame}").expect("the sender reads");
        let line = self.sent.next().expect("the sender lives").expect("the sender speaks");
        assert_eq!(line, "sent");
        // The receiving side runs right away, if not on this processor.
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}
