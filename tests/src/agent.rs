//! The agent under test, and the command line beside it.

use std::{
    env,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    manifests::ManifestDir,
    netns::NetNamespace,
    node::Node,
    process::{self, Finished},
    sandbox::Sandbox,
    wait,
};

/// How long one call of the command line may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// An agent of a node: running, or stopped and ready to be started again with the same arguments.
///
/// Its log is printed if the test fails.
#[derive(Debug)]
pub struct Agent {
    netns: NetNamespace,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    places: [String; 4],
    log: PathBuf,
    child: Option<Child>,
}

impl Agent {
    pub(crate) fn new(node: &Node, manifests: &ManifestDir, arguments: &[&str]) -> Self {
        Self::of_source(node, ["--manifests", &manifests.path().display().to_string()], arguments)
    }

    /// An agent that takes its objects from elsewhere than a folder, as `source` has it.
    pub fn of_source(node: &Node, source: [&str; 2], arguments: &[&str]) -> Self {
        let text = |path: &Path| path.display().to_string();
        let places = [
            "--run-dir".to_owned(),
            text(&node.run_dir()),
            "--bpffs".to_owned(),
            text(node.bpffs()),
        ];
        let mut all = vec!["agent".to_owned(), "--node-name".to_owned(), node.name().to_owned()];
        all.extend(source.map(str::to_owned));
        all.extend(places.clone());
        all.extend(arguments.iter().map(ToString::to_string));
        Sandbox::show_at_deadline(&node.log());
        let netns = node.netns().clone();
        Self { netns, arguments: all, variables: vec![], places, log: node.log(), child: None }
    }

    /// Has the process started with an environment variable.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the agent is started once");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("opening the agent's log");
        let child = self
            .netns
            .command(&binary().display().to_string())
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .env(
                "RUST_LOG",
                env::var("RUST_LOG").unwrap_or_else(|_| "info,shunt=debug,userspace=debug".into()),
            )
            .spawn()
            .expect("starting the agent");
        self.child = Some(child);
    }

    /// Waits until `shunt status` says ready.
    pub fn wait_ready(&mut self) {
        self.wait_ready_within(Duration::from_secs(30));
    }

    /// The same, where that may take so long.
    pub fn wait_ready_within(&mut self, limit: Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) =
                self.child.as_mut().and_then(|child| child.try_wait().expect("asking for a child"))
            {
                self.child = None;
                panic!("the agent ended before it was ready: {status}");
            }
            let finished = self.shunt(&["status", "-o", "json"]);
            if finished.code == 0 {
                return;
            }
            assert!(
                start.elapsed() < wait::patiently(limit),
                "the agent is not ready: {finished:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("asking for a child").is_none())
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub fn wait_ended(&mut self) -> i32 {
        let mut child = self.child.take().expect("the agent runs");
        let code = process::wait(&mut child, Duration::from_secs(10));
        process::stop(&mut child);
        code.expect("the agent ends by itself")
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the agent runs").id()
    }

    /// What the process has in memory, in KiB.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("reading what is known of the agent");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().split(' ').next()).expect("the kernel tells");
        size.parse().expect("a number")
    }

    /// Kills it with SIGKILL, and reaps it.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the agent runs");
        process::signal(&child, Signal::SIGKILL);
        process::stop(&mut child);
    }

    /// Ends it with SIGTERM; returns its exit code and how long it took. Panics after five seconds.
    pub fn sigterm(&mut self) -> (i32, Duration) {
        let mut child = self.child.take().expect("the agent runs");
        let start = Instant::now();
        process::signal(&child, Signal::SIGTERM);
        let code = process::wait(&mut child, Duration::from_secs(5));
        let took = start.elapsed();
        process::stop(&mut child);
        (code.expect("the agent ends on SIGTERM"), took)
    }

    /// Stops it with SIGTERM, starts it, and waits until it is ready.
    pub fn restart(&mut self) {
        self.sigterm();
        self.start();
        self.wait_ready();
    }

    /// Runs `shunt ARGUMENTS --run-dir … --bpffs …` on the node.
    pub fn shunt(&self, arguments: &[&str]) -> Finished {
        process::finish(self.command().args(arguments).args(&self.places), COMMAND_LIMIT)
    }

    /// Runs `shunt ARGUMENTS` on the node and nothing else.
    pub fn shunt_plain(&self, arguments: &[&str]) -> Finished {
        process::finish(self.command().args(arguments), COMMAND_LIMIT)
    }

    /// What `shunt status -o json` prints, ready or not.
    pub fn status(&self) -> Value {
        let finished = self.shunt(&["status", "-o", "json"]);
        assert!(finished.code <= 1, "shunt status: {finished:?}");
        json(&finished)
    }

    /// What `shunt get KIND -o json` prints.
    pub fn get(&self, kind: &str) -> Vec<Value> {
        let finished = self.shunt(&["get", kind, "-o", "json"]);
        assert_eq!(finished.code, 0, "shunt get {kind}: {finished:?}");
        json(&finished)
            .as_array()
            .unwrap_or_else(|| panic!("shunt get {kind}: not an array"))
            .clone()
    }

    /// How many packets were dropped or refused for a reason, by `shunt get drops`.
    pub fn drops(&self, reason: &str) -> u64 {
        let rows = self.get("drops");
        rows.iter()
            .filter(|row| row["reason"] == reason)
            .filter_map(|row| row["count"].as_u64())
            .sum()
    }

    /// `shunt cleanup`.
    pub fn cleanup(&self) -> Finished {
        self.shunt(&["cleanup"])
    }

    /// The errors of the source, as `shunt status` shows them.
    pub fn source_errors(&self) -> Vec<Value> {
        self.status()
            .pointer("/source/errors")
            .and_then(Value::as_array)
            .expect("shunt status shows source.errors")
            .clone()
    }

    /// The addresses of a service port's ready endpoints, as `shunt get services` shows them,
    /// sorted; none if there is no such service or port.
    pub fn endpoints(&self, service: &str, port: u16, protocol: &str) -> Option<Vec<String>> {
        let services = self.get("services");
        let service = services.iter().find(|object| object["name"] == service)?;
        let port = service["ports"]
            .as_array()?
            .iter()
            .find(|object| object["port"] == port && object["protocol"] == protocol)?;
        let mut addresses: Vec<String> = port["endpoints"]
            .as_array()?
            .iter()
            .filter(|endpoint| endpoint["ready"] == true)
            .filter_map(|endpoint| endpoint["address"].as_str().map(str::to_owned))
            .collect();
        addresses.sort();
        Some(addresses)
    }

    /// Waits until a service port has exactly these ready endpoints.
    pub fn wait_for_endpoints(&self, service: &str, port: u16, protocol: &str, expected: &[&str]) {
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        expected.sort();
        wait::until(&format!("endpoints of {service}:{port}"), wait::PATIENCE, || {
            let found = self.endpoints(service, port, protocol);
            if found.as_ref() == Some(&expected) { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// Everything that it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn command(&self) -> Command {
        self.netns.command(&binary().display().to_string())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}---", self.log.display(), self.log());
        }
        if let Some(mut child) = self.child.take() {
            process::stop(&mut child);
        }
    }
}

/// The `shunt` under test: `SHUNT_BIN`, else that of the release build, else that of the
/// development build.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SHUNT_BIN") {
        return path.into();
    }
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace");
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let candidates = [target.join("release/shunt"), target.join("debug/shunt")];
    candidates
        .iter()
        .find(|path| File::open(path).is_ok())
        .unwrap_or_else(|| {
            panic!("no shunt to test: run `cargo xtask build`, or set SHUNT_BIN ({candidates:?})")
        })
        .clone()
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("not JSON ({error}): {finished:?}"))
}
