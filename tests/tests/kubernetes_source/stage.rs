//! Two nodes: the first one's agent follows a control plane that runs on it; the second one's, which
//! has the pods, follows manifests.

use serde_json::Value;
use tests::{
    agent::Agent,
    control_plane::ControlPlane,
    manifests,
    netns::NetNamespace,
    one_node::{TARGET_PORT, WEB, web, web_service},
    topology::{Layout, NODE_PORT, Pod, Topology, VXLAN},
    traffic::{
        Protocol, client,
        hammer::{self, Hammer, Style},
        server::Server,
    },
    wait,
};

pub(crate) struct Stage {
    /// First, because fields are dropped in order.
    pub(crate) agent: Agent,
    pub(crate) control_plane: ControlPlane,
    pods: Vec<Pod>,
    _servers: Vec<[Server; 2]>,
    pub(crate) topology: Topology,
}

impl Stage {
    /// Pods `a`, `b` and `c` are on the second node, the first two of them behind Service `web`.
    /// The agent is ready. None without root.
    pub(crate) fn start() -> Option<Self> {
        let mut stage = Self::prepare()?;
        stage.control_plane.apply(&[stage.node()]);
        stage.agent.start();
        stage.agent.wait_ready();
        Some(stage)
    }

    /// The same, without the first node's Node, and with its agent not started.
    pub(crate) fn prepare() -> Option<Self> {
        let sandbox = ControlPlane::sandbox()?;
        let mut topology = Topology::in_sandbox(sandbox, Layout::one_link(2));
        let pods = ["a", "b", "c"].map(|name| topology.add_pod(name, 1, "web"));
        topology.start_nodes(&[1], &VXLAN);
        let servers = pods.iter().map(Pod::serve).collect();
        let control_plane = ControlPlane::start(topology.sandbox(), topology.node(0).netns());
        let kubeconfig = control_plane.write_kubeconfig(topology.sandbox().root());
        let source = ["--kubeconfig", &kubeconfig.display().to_string()];
        let agent =
            Agent::of_source(topology.node(0), source, &[["--uplink", "eth0"], VXLAN].concat());
        let stage = Self { agent, control_plane, pods: pods.into(), _servers: servers, topology };
        stage.control_plane.apply(&[stage.topology.node_manifest(1), service()]);
        stage.set_endpoints(&["a", "b"]);
        Some(stage)
    }

    /// The first node's Node.
    pub(crate) fn node(&self) -> Value {
        self.topology.node_manifest(0)
    }

    /// Has these pods behind Service `web`.
    pub(crate) fn set_endpoints(&self, names: &[&str]) {
        let node = self.topology.node(1).name();
        let ports = [("http", "TCP", TARGET_PORT), ("ask", "UDP", TARGET_PORT)];
        let pods = || self.pods.iter().filter(|pod| names.contains(&pod.name.as_str()));
        let slices = [0, 1].map(|family: usize| {
            let addresses: Vec<String> =
                pods().map(|pod| pod.addresses[family].to_string()).collect();
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            manifests::slice(&format!("web-{family}"), "web", node, &addresses, &ports)
        });
        self.control_plane.apply(&slices);
    }

    /// The first node.
    pub(crate) fn netns(&self) -> &NetNamespace {
        self.topology.node(0).netns()
    }

    /// Waits until whoever comes from outside or from the node itself is answered by this pod.
    pub(crate) fn wait_for_server(&self, name: &str) {
        let ask = |netns: &NetNamespace, target| netns.run(|| client::ask(Protocol::Tcp, target));
        wait::until(&format!("answers of {name}"), wait::PATIENCE, || {
            for (netns, targets) in [
                (self.topology.network.outside(), self.topology.node_port(0)),
                (self.netns(), web()),
            ] {
                for target in targets {
                    let answer = ask(netns, target).map_err(|error| error.to_string())?;
                    if answer.server != name {
                        return Err(answer.server);
                    }
                }
            }
            Ok(())
        });
    }

    /// When the maps were made equal to the objects last, and whether the node is ready.
    pub(crate) fn last_sync(&self) -> (Value, bool) {
        let status = self.agent.status();
        (status["lastSync"].clone(), status["ready"] == true)
    }
}

fn service() -> Value {
    let service = manifests::with_node_ports(web_service(), &[NODE_PORT, NODE_PORT]);
    assert_eq!(service["spec"]["clusterIPs"], serde_json::json!(WEB));
    service
}

/// New connections and conversations, by packets from outside and by sockets of the node.
pub(crate) struct Traffic {
    new: Vec<Hammer>,
    conversations: Vec<Hammer>,
}

impl Traffic {
    pub(crate) fn start(stage: &Stage) -> Self {
        let (outside, node) = (stage.topology.network.outside(), stage.netns());
        let [v4, v6] = stage.topology.node_port(0);
        let [web_v4, web_v6] = web();
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let new =
            |netns, protocol, target| Hammer::start(netns, protocol, Style::NewEachTime, target);
        let traffic = Self {
            new: vec![
                new(outside, tcp, v4),
                new(outside, udp, v6),
                new(node, tcp, web_v6),
                new(node, udp, web_v4),
            ],
            conversations: Self::conversations(stage),
        };
        traffic.goes_on();
        traffic
    }

    /// Conversations alone.
    pub(crate) fn start_conversations(stage: &Stage) -> Self {
        let traffic = Self { new: Vec::new(), conversations: Self::conversations(stage) };
        traffic.goes_on();
        traffic
    }

    fn conversations(stage: &Stage) -> Vec<Hammer> {
        let [v4, v6] = stage.topology.node_port(0);
        let outside = stage.topology.network.outside();
        let start =
            |netns, target| Hammer::start(netns, Protocol::Tcp, Style::OneConversation, target);
        vec![start(outside, v4), start(outside, v6), start(stage.netns(), web()[0])]
    }

    pub(crate) fn goes_on(&self) {
        for hammer in self.new.iter().chain(&self.conversations) {
            hammer.wait_for_answers(20);
        }
    }

    pub(crate) fn assert_flawless(self) {
        hammer::assert_flawless(self.new, self.conversations);
    }
}
