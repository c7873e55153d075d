//! The stage: a node whose agent is measured, a twin with ten Services, and the outside.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use tests::{
    agent::Agent,
    control_plane::ControlPlane,
    manifests::ManifestDir,
    netns::NetNamespace,
    node::Node,
    sandbox::Sandbox,
    topology::{Layout, Topology, VXLAN},
    traffic::server::Server,
};

use crate::{
    Source,
    objects::{self, Cluster, PORTS},
};

/// How long all of one size may take.
const DEADLINE: Duration = Duration::from_mins(15);
/// How many Services the twin has.
const TWIN: u32 = 10;

pub(crate) struct Stage {
    /// First, because fields are dropped in order.
    agents: [Agent; 2],
    _servers: [Server; 2],
    told_by: ToldBy,
    /// The measured node's Services, and the twin's.
    pub(crate) clusters: [Cluster; 2],
    topology: Topology,
}

/// Who tells the agent of its objects.
enum ToldBy {
    Folder(ManifestDir),
    ControlPlane(ControlPlane),
}

impl Stage {
    /// Writes all objects; the twin's agent runs then, and the measured one does not yet. None
    /// without root.
    pub(crate) fn build(services: u32, source: Source) -> Option<Self> {
        let sandbox = Sandbox::enter_for(DEADLINE)?;
        let topology = Topology::in_sandbox(sandbox, Layout::one_link(2));
        let outside = topology.network.outside();
        let servers = PORTS.map(|port| Server::udp(outside, &port.to_string(), port));
        let clusters = [services, TWIN].map(Cluster::of);
        let folder = |name: &str| ManifestDir::create(&topology.sandbox().root().join(name));

        let twins = folder("twin");
        clusters[1].write(&twins);
        twins.write("own.yaml", &[topology.node_manifest(1)]);
        let mut twin = agent(topology.node(1), &from_folder(&twins));
        twin.start();
        twin.wait_ready_within(DEADLINE);

        let (told_by, source) = match source {
            Source::Manifests => {
                let own = folder("measured");
                clusters[0].write(&own);
                own.write("own.yaml", &[topology.node_manifest(0)]);
                let source = from_folder(&own);
                (ToldBy::Folder(own), source)
            }
            Source::ApiServer => {
                let netns = topology.node(0).netns();
                let control_plane = ControlPlane::start(topology.sandbox(), netns);
                let mut all = clusters[0].objects();
                all.push(topology.node_manifest(0));
                control_plane.apply_all(&all);
                let file = control_plane.write_kubeconfig(topology.sandbox().root());
                let source = ["--kubeconfig".to_owned(), file.display().to_string()];
                (ToldBy::ControlPlane(control_plane), source)
            }
        };
        let measured = agent(topology.node(0), &source);
        Some(Self { agents: [measured, twin], _servers: servers, told_by, clusters, topology })
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agents[0]
    }

    pub(crate) fn agent_mut(&mut self) -> &mut Agent {
        &mut self.agents[0]
    }

    /// Where clients are.
    pub(crate) fn outside(&self) -> &NetNamespace {
        self.topology.network.outside()
    }

    /// Where the Service that is changed is asked.
    pub(crate) fn changed(&self) -> SocketAddr {
        self.topology.node_port(0)[0]
    }

    /// Where the outside asks: of the measured node, or of the twin.
    pub(crate) fn asked(&self, node: usize) -> Vec<SocketAddr> {
        let address = self.topology.node_port(node)[0].ip();
        let ports = self.clusters[node].node_ports().into_iter();
        ports.map(|port| SocketAddr::new(address, port)).collect()
    }

    /// Lets the Service that is changed lead to the server at a port.
    pub(crate) fn change(&self, port: u16) {
        match &self.told_by {
            ToldBy::Folder(folder) => objects::write_change(folder, port),
            ToldBy::ControlPlane(control_plane) => {
                control_plane.apply(&[objects::changed_slice(port)]);
            }
        }
    }

    /// Stops the agents; returns the measured one's folder, and the private world.
    pub(crate) fn into_folder(self) -> Option<(ManifestDir, Topology)> {
        match self.told_by {
            ToldBy::Folder(folder) => Some((folder, self.topology)),
            ToldBy::ControlPlane(_) => None,
        }
    }
}

fn from_folder(folder: &ManifestDir) -> [String; 2] {
    ["--manifests".to_owned(), folder.path().display().to_string()]
}

fn agent(node: &Node, source: &[String; 2]) -> Agent {
    let arguments = [["--uplink", "eth0"], VXLAN].concat();
    Agent::of_source(node, source.each_ref().map(String::as_str), &arguments)
}

/// Asks a server by a new flow; which one has answered, or none.
pub(crate) fn ask(target: SocketAddr, patience: Duration) -> std::io::Result<u16> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"who")?;
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    let name = text.split(' ').next().unwrap_or_default();
    name.parse().map_err(std::io::Error::other)
}
