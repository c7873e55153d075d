//! What the demo plays on: a network namespace that stands for a node, the agent in it, and servers
//! in its pods. Everything is below [`ROOT`], in `/run/netns` and in `/etc/netns`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};

use super::{
    before::{NETNS, State},
    interrupt,
    processes::{Processes, Recorded},
};
use crate::{build::Artifacts, process::run, repository::Repository};

/// The folder of everything that the demo keeps; while it is there, a demo stands.
pub(super) const ROOT: &str = "/run/shunt-demo";
/// The node's name, and that of its network namespace.
pub(super) const NODE: &str = "controlplane";
/// The pods that are there from the start, each with the port that its server listens on; the
/// client listens on none.
pub(super) const PODS: [(&str, Option<u16>); 6] = [
    ("client", None),
    ("web-1", Some(8080)),
    ("web-2", Some(8080)),
    ("web-3", Some(8080)),
    ("dns-1", Some(5353)),
    ("solo", Some(8080)),
];
/// The pod that is added later.
pub(super) const ADDED: &str = "web-4";

/// How long the agent, and each server, may take until it works.
const PATIENCE: Duration = Duration::from_secs(15);

/// A path below [`ROOT`].
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The network namespace of a pod of namespace `default`.
pub(super) fn pod_namespace(pod: &str) -> String {
    format!("default.{pod}")
}

/// Every network namespace that the demo makes or has made.
pub(super) fn namespaces() -> Vec<String> {
    PODS.iter()
        .map(|(pod, _)| *pod)
        .chain([ADDED])
        .map(pod_namespace)
        .chain([NODE.to_owned()])
        .collect()
}

/// The demo's stage, standing.
#[derive(Debug)]
pub(super) struct Stage {
    repository: PathBuf,
    shunt: PathBuf,
    processes: Processes,
    agent: Option<Recorded>,
}

impl Stage {
    /// Fails if a demo stands, or something else has the names that it needs.
    pub(super) fn require_free() -> Result<()> {
        ensure!(
            !Path::new(ROOT).exists(),
            "a demo stands in {ROOT}: remove it with `cargo xtask demo --remove`"
        );
        if let Some(taken) =
            namespaces().iter().map(|name| Path::new(NETNS).join(name)).find(|path| path.exists())
        {
            bail!(
                "{} is there and is not the demo's: run the demo on another machine, or delete it",
                taken.display()
            );
        }
        Ok(())
    }

    /// Takes [`ROOT`] for this demo, and notes there what the machine looks like.
    pub(super) fn reserve() -> Result<()> {
        Self::require_free()?;
        let before = State::now();
        fs::create_dir(ROOT).with_context(|| format!("making {ROOT}"))?;
        before.save(&path("before"))
    }

    /// Makes the node, without an agent, in the place that was reserved.
    pub(super) fn set(repository: &Repository, artifacts: &Artifacts) -> Result<Self> {
        for folder in ["bpf", "manifests"] {
            fs::create_dir(path(folder)).with_context(|| format!("making {ROOT}/{folder}"))?;
        }
        let manifests = repository.path("xtask/demo/manifests");
        for entry in
            fs::read_dir(&manifests).with_context(|| format!("reading {}", manifests.display()))?
        {
            let file = entry.context("reading the demo's manifests")?;
            fs::copy(file.path(), path("manifests").join(file.file_name()))
                .context("copying the demo's manifests")?;
        }
        mount(Some("bpf"), &path("bpf"), Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a BPF file system")?;
        ip(&format!("netns add {NODE}"))?;
        ip(&format!("-n {NODE} link set lo up"))?;
        // A cable that leads nowhere: the node has addresses, and no way out of its namespace.
        ip(&format!("-n {NODE} link add eth0 type veth peer name nowhere"))?;
        ip(&format!("-n {NODE} link set nowhere up"))?;
        ip(&format!("-n {NODE} link set eth0 up"))?;
        ip(&format!("-n {NODE} address add 172.30.1.2/24 dev eth0"))?;
        ip(&format!("-n {NODE} address add fd00:172:30:1::2/64 dev eth0 nodad"))?;
        Ok(Self {
            repository: repository.root().to_owned(),
            shunt: artifacts.shunt.clone(),
            processes: Processes::at(path("processes")),
            agent: None,
        })
    }

    /// Starts the agent and waits until it is ready.
    pub(super) fn start_agent(&mut self) -> Result<()> {
        let log = path("agent.log");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", agent_command())]).envs(self.environment());
        let agent = self.processes.start(&command, "the agent", &log)?;
        let begun = Instant::now();
        while !self.is_ready()? {
            ensure!(
                agent.runs() && begun.elapsed() < PATIENCE,
                "the agent does not get ready; its log:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            interrupt::check()?;
            thread::sleep(Duration::from_millis(20));
        }
        self.agent = Some(agent);
        Ok(())
    }

    /// The agent's process, once started.
    pub(super) fn agent(&self) -> Result<&Recorded> {
        self.agent.as_ref().context("no agent was started")
    }

    /// Starts the servers in the pods and on the node, and waits until they listen.
    pub(super) fn start_servers(&self) -> Result<()> {
        for (pod, port) in PODS {
            if let Some(port) = port {
                self.start_server(&pod_namespace(pod), pod, port)?;
            }
        }
        self.start_server(NODE, "api", 6443)
    }

    /// Starts a server for TCP and UDP and waits until it listens.
    pub(super) fn start_server(&self, namespace: &str, name: &str, port: u16) -> Result<()> {
        let program = env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["demo", "--serve", name, "--serve-in", namespace]);
        command.args(["--serve-port", &port.to_string()]);
        let log = path("servers.log");
        let server = self.processes.start(&command, &format!("the server {name}"), &log)?;
        let begun = Instant::now();
        while !listens(namespace, port)? {
            ensure!(
                server.runs() && begun.elapsed() < PATIENCE,
                "the server {name} does not listen; its log:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            interrupt::check()?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The folder that the demo's commands are run in.
    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// The variables that the demo's commands run with: where `shunt` is, and where its agent's
    /// files are.
    pub(super) fn environment(&self) -> [(&'static str, String); 3] {
        let folder = self.shunt.parent().unwrap_or(Path::new("."));
        let others = env::var("PATH").unwrap_or_default();
        [
            ("PATH", format!("{}:{others}:/usr/sbin:/sbin", folder.display())),
            ("SHUNT_RUN_DIR", path("run").display().to_string()),
            ("SHUNT_BPFFS", path("bpf/shunt").display().to_string()),
        ]
    }

    fn is_ready(&self) -> Result<bool> {
        let output = Command::new(&self.shunt)
            .arg("status")
            .envs(self.environment())
            .output()
            .context("running `shunt status`")?;
        Ok(output.status.success())
    }
}

/// How a person starts the agent.
pub(super) fn agent_command() -> String {
    format!(
        "nsenter --net={NETNS}/{NODE} shunt agent --node-name {NODE} \\\n        \
         --manifests {ROOT}/manifests"
    )
}

fn ip(arguments: &str) -> Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Whether somebody listens on a TCP and a UDP port of a namespace.
fn listens(namespace: &str, port: u16) -> Result<bool> {
    let output = Command::new("ip")
        .args(["netns", "exec", namespace, "ss", "-Hlntu"])
        .output()
        .context("running ss")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ending = format!(":{port}");
    let sockets = text.lines().filter(|line| {
        line.split_whitespace().nth(4).is_some_and(|local| local.ends_with(&ending))
    });
    Ok(sockets.count() >= 2)
}
