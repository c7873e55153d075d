//! The stage for tests of several nodes and the outside.
//!
//! A test chooses a [`Layout`], adds pods and Services, and starts the agents:
//!
//! ```no_run
//! # use tests::{topology::{Layout, Topology, VXLAN}, traffic::Protocol};
//! let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
//! let (client, server) = (stage.add_pod("client", 0, "client"), stage.add_pod("a", 1, "web"));
//! stage.start(&VXLAN);
//! let _servers = server.serve();
//! for target in server.at(8080) {
//!     let answer = client.ask(Protocol::Tcp, target).expect("an answer");
//!     assert_eq!(answer.client.ip(), client.address_like(target));
//! }
//! ```
//!
//! All agents read one folder of manifests. Pods have the addresses that the topology gives them,
//! because an agent learns those of other nodes' pods from their manifests alone.

pub mod addresses;
pub mod card;
pub mod endpoints;
pub mod network;
pub mod plain_vxlan;
pub mod pod;
pub mod vips;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;

pub use self::{
    endpoints::Endpoint,
    network::{Layout, Network},
    pod::Pod,
};
use crate::{
    agent::Agent,
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    node::Node,
    one_node,
    sandbox::Sandbox,
    traffic::{Answer, Protocol, client, server::Server},
};

/// The node ports of Service `web`, TCP and UDP.
pub const NODE_PORT: u16 = 30080;

/// How packets reach other nodes' pods: the arguments that say so to an agent.
pub const VXLAN: [&str; 2] = ["--routing", "vxlan"];
/// The same for plain routes.
pub const DIRECT: [&str; 2] = ["--routing", "direct"];

/// The uplink of each node.
const UPLINK: &str = "eth0";

/// Nodes with their agents, a router, an outside and pods.
#[derive(Debug)]
pub struct Topology {
    /// The agents by node; none where none was started. First, because fields are dropped in order.
    agents: Vec<Option<Agent>>,
    /// What all agents read.
    pub manifests: ManifestDir,
    /// The namespaces and wires.
    pub network: Network,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    /// The private world; last.
    sandbox: Sandbox,
}

impl Topology {
    /// Enters a sandbox, builds the network, and writes a Node for each node. None without root.
    pub fn new(layout: Layout) -> Option<Self> {
        Some(Self::in_sandbox(Sandbox::enter()?, layout))
    }

    /// The same in a sandbox that was entered.
    pub fn in_sandbox(sandbox: Sandbox, layout: Layout) -> Self {
        let network = Network::lay(layout, NetNamespace::create);
        let manifests = ManifestDir::create(&sandbox.root().join("manifests"));
        let nodes: Vec<Node> = (0..network.nodes())
            .map(|node| Node::in_namespace(&sandbox, network.node(node).clone()))
            .collect();
        let agents = nodes.iter().map(|_| None).collect();
        let stage = Self { agents, manifests, network, nodes, pods: Vec::new(), sandbox };
        for node in 0..stage.nodes.len() {
            stage.write_node(node);
        }
        stage
    }

    /// The private world.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// A node.
    pub fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The agent of a node, which was started.
    pub fn agent(&self, node: usize) -> &Agent {
        self.agents[node].as_ref().expect("the node's agent was started")
    }

    /// The same, to stop it or start it again.
    pub fn agent_mut(&mut self, node: usize) -> &mut Agent {
        self.agents[node].as_mut().expect("the node's agent was started")
    }

    /// Starts the agents of all nodes with the same arguments, beside `--uplink eth0`, and waits
    /// until they are ready.
    pub fn start(&mut self, arguments: &[&str]) {
        self.start_nodes(&(0..self.nodes.len()).collect::<Vec<_>>(), arguments);
    }

    /// The same for some nodes; those that run stay as they are.
    pub fn start_nodes(&mut self, nodes: &[usize], arguments: &[&str]) {
        let arguments: Vec<&str> = ["--uplink", UPLINK].iter().chain(arguments).copied().collect();
        for node in nodes {
            let agent = self.nodes[*node].run_agent(&self.manifests, &arguments);
            assert!(self.agents[*node].replace(agent).is_none(), "an agent is started once");
        }
        for node in nodes {
            self.agent_mut(*node).wait_ready();
        }
    }

    /// Writes the Node of a node, so that it belongs to the cluster.
    pub fn write_node(&self, node: usize) {
        self.manifests.write(&self.node_file(node), &[self.node_manifest(node)]);
    }

    /// Removes the Node of a node.
    pub fn remove_node(&self, node: usize) {
        self.manifests.remove(&self.node_file(node));
    }

    /// The Node of a node, as it is written.
    pub fn node_manifest(&self, node: usize) -> Value {
        let cidrs = addresses::pod_segment(node).prefixes();
        let internal = addresses::node(node).map(|address| address.to_string());
        manifests::node(
            self.nodes[node].name(),
            &cidrs.each_ref().map(String::as_str),
            &internal.each_ref().map(String::as_str),
        )
    }

    fn node_file(&self, node: usize) -> String {
        format!("node-{}.yaml", self.nodes[node].name())
    }

    /// Adds a pod labelled `app: APP` to a node; its address is the node's next.
    pub fn add_pod(&mut self, name: &str, node: usize, app: &str) -> Pod {
        let number = 10 + self.pods.iter().filter(|pod| pod.node == node).count();
        let number = u8::try_from(number).expect("at most 245 pods on a node");
        let pod = Pod {
            name: name.to_owned(),
            node,
            addresses: addresses::pod_segment(node).host(number),
        };
        let object = self.pod_manifest(&pod, app);
        self.manifests.write(&format!("pod-{name}.yaml"), &[object]);
        self.pods.push(pod.clone());
        pod
    }

    /// Writes a pod anew, changed by `change`.
    pub fn write_pod(&self, pod: &Pod, change: impl FnOnce(Value) -> Value) {
        let object = change(self.pod_manifest(pod, &pod.name));
        self.manifests.write(&format!("pod-{}.yaml", pod.name), &[object]);
    }

    /// Adds a pod on the network of a node. It has no namespace of its own: [`Self::serve_on_node`]
    /// stands for its process.
    pub fn add_host_pod(&self, name: &str, node: usize, app: &str) {
        let pod = Pod { name: name.to_owned(), node, addresses: addresses::node(node) };
        let object = manifests::on_the_host(self.pod_manifest(&pod, app));
        self.manifests.write(&format!("pod-{name}.yaml"), &[object]);
    }

    /// Removes a pod, by its manifest.
    pub fn remove_pod(&self, name: &str) {
        self.manifests.remove(&format!("pod-{name}.yaml"));
    }

    /// A pod as [`Self::add_pod`] writes it.
    pub fn pod_manifest(&self, pod: &Pod, app: &str) -> Value {
        let ips = pod.addresses.map(|address| address.to_string());
        let ips = ips.each_ref().map(String::as_str);
        manifests::pod(&pod.name, self.nodes[pod.node].name(), app, &ips)
    }

    /// Writes Service `web` (see [`one_node::web_service`]), changed by `change`.
    pub fn write_web(&self, change: impl FnOnce(Value) -> Value) {
        self.manifests.write("web.yaml", &[change(one_node::web_service())]);
    }

    /// Waits until every agent has these addresses, and no others, behind both ports of Service
    /// `web`.
    pub fn wait_for_web(&self, addresses: &[IpAddr]) {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        for agent in self.agents.iter().flatten() {
            for protocol in ["TCP", "UDP"] {
                agent.wait_for_endpoints("web", one_node::WEB_PORT, protocol, &addresses);
            }
        }
    }

    /// Where Service `web` is on a node, from outside: the node's addresses with the node port.
    pub fn node_port(&self, node: usize) -> [SocketAddr; 2] {
        addresses::node(node).map(|address| SocketAddr::new(address, NODE_PORT))
    }

    /// Asks once from the outside.
    pub fn ask_from_outside(&self, protocol: Protocol, target: SocketAddr) -> io::Result<Answer> {
        self.network.outside().run(|| client::ask(protocol, target))
    }

    /// Starts a TCP and a UDP server in the outside, both called `outside`.
    pub fn serve_outside(&self, port: u16) -> [Server; 2] {
        serve(self.network.outside(), "outside", port)
    }

    /// Starts a TCP and a UDP server in a node's own namespace, both called `name`.
    pub fn serve_on_node(&self, node: usize, name: &str, port: u16) -> [Server; 2] {
        serve(self.nodes[node].netns(), name, port)
    }
}

/// The bridge's addresses of a node, IPv4 first.
pub fn bridge(node: usize) -> [IpAddr; 2] {
    addresses::pod_segment(node).host(1)
}

/// Where a server of the outside is, IPv4 first.
pub fn outside_at(port: u16) -> [SocketAddr; 2] {
    addresses::outside().map(|address| SocketAddr::new(address, port))
}

fn serve(netns: &NetNamespace, name: &str, port: u16) -> [Server; 2] {
    [Server::tcp(netns, name, port), Server::udp(netns, name, port)]
}
