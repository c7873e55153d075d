//! Simulated nodes: a network namespace each, optionally on a common wire.

use std::path::{Path, PathBuf};

use crate::{agent::Agent, manifests::ManifestDir, netns::NetNamespace, sandbox::Sandbox};

/// A network namespace that stands for a node.
#[derive(Debug)]
pub struct Node {
    name: String,
    netns: NetNamespace,
    folder: PathBuf,
    bpffs: PathBuf,
}

impl Node {
    /// Makes a node without any link to the outside, and without a default route.
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        Self::in_namespace(sandbox, NetNamespace::create(name))
    }

    /// Makes a node of a namespace that is there, by the namespace's name.
    pub fn in_namespace(sandbox: &Sandbox, netns: NetNamespace) -> Self {
        let name = netns.name().to_owned();
        let folder = sandbox.root().join(&name);
        std::fs::create_dir_all(&folder).expect("making the node's folder");
        let bpffs = sandbox.bpffs().join(&name);
        Self { name, netns, folder, bpffs }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub fn netns(&self) -> &NetNamespace {
        &self.netns
    }

    /// The run folder of its agent.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The folder that its agent pins in.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The log file of its agent.
    pub fn log(&self) -> PathBuf {
        self.folder.join("agent.log")
    }

    /// Starts an agent on the node. It is not waited for.
    pub fn run_agent(&self, manifests: &ManifestDir, arguments: &[&str]) -> Agent {
        let mut agent = Agent::new(self, manifests, arguments);
        agent.start();
        agent
    }
}

/// A wire that nodes hang on: a bridge in a namespace of its own, with a stack behind it that is no
/// node.
#[derive(Debug)]
pub struct Wire {
    netns: NetNamespace,
}

impl Wire {
    /// Makes the wire; `addresses` (with prefix lengths) are those of the stack behind it.
    pub fn new(name: &str, addresses: &[&str]) -> Self {
        let netns = NetNamespace::create(name);
        netns.ip("link add wire type bridge");
        for address in addresses {
            netns.ip(&with_address("wire", address));
        }
        netns.ip("link set wire up");
        Self { netns }
    }

    /// The namespace.
    pub fn netns(&self) -> &NetNamespace {
        &self.netns
    }

    /// Gives a node an `eth0` on the wire, with `addresses` (with prefix lengths).
    pub fn plug_in(&self, node: &Node, addresses: &[&str]) {
        let port = format!("to-{}", node.name());
        self.netns
            .ip(&format!("link add {port} type veth peer name eth0 netns {}", node.netns().name()));
        self.netns.ip(&format!("link set {port} master wire up"));
        for address in addresses {
            node.netns().ip(&with_address("eth0", address));
        }
        node.netns().ip("link set eth0 up");
    }
}

fn with_address(interface: &str, address: &str) -> String {
    let no_dad = if address.contains(':') { " nodad" } else { "" };
    format!("address add {address} dev {interface}{no_dad}")
}
