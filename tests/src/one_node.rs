//! The stage that most tests play on: one dual-stack node, its agent, and pods.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::{
    agent::Agent,
    manifests::{self, ManifestDir, ip},
    netns::NetNamespace,
    node::Node,
    sandbox::Sandbox,
    traffic::server::Server,
    wait,
};

/// The node's name.
pub const NODE: &str = "node1";
/// The node's pod CIDRs.
pub const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];
/// The node's addresses; no interface carries them unless a test sees to it.
pub const NODE_ADDRESSES: [&str; 2] = ["172.30.1.2", "fd00:172:30:1::2"];
/// The addresses of Service `web`.
pub const WEB: [&str; 2] = ["10.96.1.10", "fd00:10:96::1:10"];
/// The port of Service `web`, TCP and UDP.
pub const WEB_PORT: u16 = 80;
/// The port that its pods listen on.
pub const TARGET_PORT: u16 = 8080;

/// One node with an agent.
#[derive(Debug)]
pub struct OneNode {
    /// The agent. First, because fields are dropped in order.
    pub agent: Agent,
    /// The node.
    pub node: Node,
    /// The agent's manifests.
    pub manifests: ManifestDir,
    /// The private world; last.
    pub sandbox: Sandbox,
}

impl OneNode {
    /// Enters a sandbox, makes the node, lets `fill` write manifests beside the Node's, starts the
    /// agent and waits until it is ready. None without root.
    pub fn start(fill: impl FnOnce(&ManifestDir)) -> Option<Self> {
        let mut stage = Self::prepare(fill)?;
        stage.agent.start();
        stage.agent.wait_ready();
        Some(stage)
    }

    /// The same, with the agent not started yet.
    pub fn prepare(fill: impl FnOnce(&ManifestDir)) -> Option<Self> {
        let sandbox = Sandbox::enter()?;
        let node = Node::new(&sandbox, NODE);
        let manifests = ManifestDir::create(&sandbox.root().join("manifests"));
        manifests.write("node.yaml", &[manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES)]);
        fill(&manifests);
        let agent = Agent::new(&node, &manifests, &[]);
        Some(Self { agent, node, manifests, sandbox })
    }

    /// With pods `client` and those in `backends`, and Service `web` over the latter (TCP and UDP).
    pub fn with_web(backends: &[&str]) -> Option<Self> {
        Self::start(|manifests| write_web(manifests, backends))
    }

    /// Waits for a pod of namespace `default`, and enters nothing yet.
    pub fn pod(&self, name: &str) -> NetNamespace {
        pod("default", name)
    }

    /// The addresses of a pod, as soon as the agent shows them.
    pub fn pod_ips(&self, name: &str) -> Vec<IpAddr> {
        wait::until(&format!("addresses of pod {name}"), wait::PATIENCE, || {
            let pods = self.agent.get("pods");
            let found = pods.iter().find(|object| object["name"] == name);
            let ips = found.and_then(|object| object["podIPs"].as_array());
            match ips {
                Some(ips) if !ips.is_empty() => {
                    Ok(ips.iter().filter_map(Value::as_str).map(ip).collect())
                }
                _ => Err(format!("{pods:?}")),
            }
        })
        .0
    }

    /// Starts a TCP and a UDP server in each of these pods, each calling itself by the pod's name.
    pub fn serve(&self, pods: &[&str]) -> Vec<Server> {
        pods.iter()
            .flat_map(|name| {
                let netns = self.pod(name);
                [Server::tcp(&netns, name, TARGET_PORT), Server::udp(&netns, name, TARGET_PORT)]
            })
            .collect()
    }
}

/// The addresses of Service `web` with its port, IPv4 first.
pub fn web() -> [SocketAddr; 2] {
    WEB.map(|address| SocketAddr::new(ip(address), WEB_PORT))
}

/// Writes Service `web`, and the pods behind it and beside it, a file each.
pub fn write_web(manifests: &ManifestDir, backends: &[&str]) {
    manifests.write("web.yaml", &[web_service()]);
    manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
    for name in backends {
        manifests.write(&format!("{name}.yaml"), &[manifests::pod(name, NODE, "web", &[])]);
    }
}

/// The addresses of the pod that [`pod_at`] makes with this number.
pub fn addresses_at(number: u8) -> [String; 2] {
    [format!("10.244.1.{number}"), format!("fd00:10:244:1::{number}")]
}

/// A pod of Service `web` with addresses of the test's choice, for slices to name.
pub fn pod_at(name: &str, number: u8) -> Value {
    let addresses = addresses_at(number);
    manifests::pod(name, NODE, "web", &addresses.each_ref().map(String::as_str))
}

/// Writes the slices of Service `web`, both families in one file, over the pods with these numbers.
pub fn write_slices(manifests: &ManifestDir, numbers: &[u8]) {
    manifests.write("slices.yaml", &slices(numbers));
}

/// The slices of Service `web` over the pods with these numbers, IPv4 first.
pub fn slices(numbers: &[u8]) -> [Value; 2] {
    let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
    [0, 1].map(|family| {
        let addresses: Vec<String> =
            numbers.iter().map(|number| addresses_at(*number)[family].clone()).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut slice = manifests::slice(&format!("web-{family}"), "web", NODE, &addresses, &ports);
        slice["addressType"] = ["IPv4", "IPv6"][family].into();
        slice
    })
}

/// Waits until both ports of Service `web` have exactly the pods with these numbers for endpoints.
pub fn wait_for_slices(agent: &Agent, numbers: &[u8]) {
    let addresses: Vec<String> = numbers.iter().copied().flat_map(addresses_at).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for protocol in ["TCP", "UDP"] {
        agent.wait_for_endpoints("web", WEB_PORT, protocol, &addresses);
    }
}

/// Service `web`.
pub fn web_service() -> Value {
    let port = u32::from(WEB_PORT);
    let target = u32::from(TARGET_PORT);
    manifests::service("web", &WEB, &[("http", "TCP", port, target), ("ask", "UDP", port, target)])
}

/// Waits for the namespace of a pod.
pub fn pod(namespace: &str, name: &str) -> NetNamespace {
    let full = format!("{namespace}.{name}");
    wait::until(&format!("pod {full}"), wait::PATIENCE, || NetNamespace::open(&full)).0
}
