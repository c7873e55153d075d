//! What the demo plays on: network namespaces that stand for nodes, an agent in each, and servers in
//! their pods and in the outside. Everything is below [`ROOT`], in `/run/netns` and in `/etc/netns`.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use tests::traffic::tls::Identity;

use super::{
    before::{NETNS, State},
    cast::{HTTP, NODES, OUTSIDE, PODS, own_namespaces, pod_namespaces},
    processes::{Processes, Recorded},
    wires,
};
use crate::{build::Artifacts, interrupt, repository::Repository};

/// The folder of everything that the demo keeps; while it is there, a demo stands.
pub(super) const ROOT: &str = "/run/shunt-demo";

/// How long the agent, and each server, may take until it works.
const PATIENCE: Duration = Duration::from_secs(40);

/// What `curl` tells of a connection, in a form for its `--write-out`.
const CLIENT: &str =
    "client: %{local_ip} port %{local_port} to %{remote_ip} port %{remote_port}\\n";

/// What the certificate of the API server says that it is.
const API_SERVER_NAMES: &str = "DNS:kubernetes.default.svc.cluster.local,DNS:kubernetes.default.svc,\
     DNS:kubernetes.default,DNS:kubernetes,DNS:localhost,IP:10.96.0.1,IP:172.30.1.2";

/// A path below [`ROOT`].
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The run folder of a node's agent.
pub(super) fn run_dir(node: &str) -> PathBuf {
    path(node)
}

/// The folder that a node's agent pins in.
pub(super) fn bpffs(node: &str) -> PathBuf {
    path("bpf").join(node)
}

/// The log of a node's agent.
pub(super) fn agent_log(node: &str) -> PathBuf {
    path(&format!("{node}.log"))
}

/// What the API server has to prove who it is.
pub(super) fn api_server() -> Identity {
    Identity::at(Path::new(ROOT))
}

/// The demo's stage, standing.
#[derive(Debug)]
pub(super) struct Stage {
    repository: PathBuf,
    shunt: PathBuf,
    processes: Processes,
    agents: BTreeMap<&'static str, Recorded>,
    start: Duration,
}

impl Stage {
    /// Fails if a demo stands, or something else has the names that it needs.
    pub(super) fn require_free() -> Result<()> {
        ensure!(
            !Path::new(ROOT).exists(),
            "a demo stands in {ROOT}: remove it with `cargo xtask demo --remove`"
        );
        let names = own_namespaces().into_iter().chain(pod_namespaces());
        let mut paths = names.map(|name| Path::new(NETNS).join(name));
        if let Some(taken) = paths.find(|path| path.exists()) {
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

    /// Makes the nodes, without agents, in the place that was reserved.
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
        wires::lay()?;
        Ok(Self {
            repository: repository.root().to_owned(),
            shunt: artifacts.shunt.clone(),
            processes: Processes::at(path("processes")),
            agents: BTreeMap::new(),
            start: Duration::ZERO,
        })
    }

    /// Starts the agents of nodes, and waits until all are ready.
    pub(super) fn start_agents(&mut self, nodes: &[&'static str]) -> Result<()> {
        let begun = Instant::now();
        for node in nodes {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exec {}", agent_command(node))]).envs(self.environment());
            let what = format!("the agent of {node}");
            let agent = self.processes.start(&command, &what, &agent_log(node))?;
            self.agents.insert(node, agent);
        }
        nodes.iter().try_for_each(|node| self.wait_for_agent(node))?;
        self.start = begun.elapsed();
        Ok(())
    }

    /// How long the last start of agents took: most of it the kernel needs to verify programs.
    pub(super) fn start_took(&self) -> Duration {
        self.start
    }

    fn wait_for_agent(&self, node: &str) -> Result<()> {
        let agent = self.agent(node)?;
        let begun = Instant::now();
        while !self.is_ready(node)? {
            ensure!(
                agent.runs() && begun.elapsed() < PATIENCE,
                "the agent of {node} does not get ready; its log:\n{}",
                fs::read_to_string(agent_log(node)).unwrap_or_default()
            );
            interrupt::check()?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The process of a node's agent, once started.
    pub(super) fn agent(&self, node: &str) -> Result<&Recorded> {
        self.agents.get(node).with_context(|| format!("no agent was started on {node}"))
    }

    /// Starts the servers in the pods, on the first node and in the outside, and waits until they
    /// listen.
    pub(super) fn start_servers(&self) -> Result<()> {
        for pod in PODS {
            if let Some(port) = pod.port {
                self.start_server(&pod.namespace(), pod.name, port)?;
            }
        }
        Identity::make(Path::new(ROOT), API_SERVER_NAMES);
        let mut command = server(NODES[0], "api", 6443)?;
        command.arg("--serve-as").arg(ROOT);
        self.start_and_wait(&command, NODES[0], "api", 6443)?;
        self.start_server(OUTSIDE, OUTSIDE, HTTP)
    }

    /// Starts a server for TCP and UDP and waits until it listens.
    pub(super) fn start_server(&self, namespace: &str, name: &str, port: u16) -> Result<()> {
        self.start_and_wait(&server(namespace, name, port)?, namespace, name, port)
    }

    fn start_and_wait(
        &self,
        command: &Command,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<()> {
        let log = path("servers.log");
        let server = self.processes.start(command, &format!("the server {name}"), &log)?;
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

    /// The variables that the demo's commands run with: where `shunt` is, where the files of the
    /// first node's agent are, whom `curl` believes, and what it shall tell of a connection.
    pub(super) fn environment(&self) -> [(&'static str, String); 5] {
        let folder = self.shunt.parent().unwrap_or(Path::new("."));
        let others = env::var("PATH").unwrap_or_default();
        [
            ("PATH", format!("{}:{others}:/usr/sbin:/sbin", folder.display())),
            ("SHUNT_RUN_DIR", run_dir(NODES[0]).display().to_string()),
            ("SHUNT_BPFFS", bpffs(NODES[0]).display().to_string()),
            ("CURL_CA_BUNDLE", api_server().certificate.display().to_string()),
            ("CLIENT", CLIENT.to_owned()),
        ]
    }

    fn is_ready(&self, node: &str) -> Result<bool> {
        let output = Command::new(&self.shunt)
            .arg("status")
            .arg("--run-dir")
            .arg(run_dir(node))
            .envs(self.environment())
            .output()
            .context("running `shunt status`")?;
        Ok(output.status.success())
    }
}

/// How a server is started.
fn server(namespace: &str, name: &str, port: u16) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("finding this program")?);
    command.args(["demo", "--serve", name, "--serve-in", namespace]);
    command.args(["--serve-port", &port.to_string()]);
    Ok(command)
}

/// How a person starts the agent of a node.
pub(super) fn agent_command(node: &str) -> String {
    format!(
        "nsenter --net={NETNS}/{node} shunt agent --node-name {node} \\\n        \
         --manifests {ROOT}/manifests --dns \\\n        \
         --run-dir {} --bpffs {}",
        run_dir(node).display(),
        bpffs(node).display()
    )
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
