//! What a user could choose to carry Services' packets, each with nodes and pods of its own, all
//! standing at once: so that measurements can take turns among them.
//!
//! Pods have the same places and addresses everywhere, and servers and clients are the same code. A
//! [`World`] is one contender with one number of Services.

mod kube_proxy;
mod plain;
pub mod services;
mod stage;

use std::{
    net::{IpAddr, SocketAddr},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use self::{
    services::Side,
    stage::{Parts, Stage},
};
use crate::{
    load::server::Server, netns::NetNamespace, oracle::cluster::Transport, sandbox::Sandbox,
    topology::addresses,
};

/// How long a world may stand.
const LONGEST: Duration = Duration::from_hours(3);

/// Who carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contender {
    /// A veth pair and nothing else: the limit.
    Raw,
    /// Pods on a bridge, at their own addresses: no Services.
    Bridge,
    /// kube-proxy's iptables rules, by the legacy back end.
    IptablesLegacy,
    /// The same, by the nftables back end.
    IptablesNft,
    /// kube-proxy's nftables rules.
    Nftables,
    /// shunt.
    Shunt,
}

impl Contender {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Raw,
        Self::Bridge,
        Self::IptablesLegacy,
        Self::IptablesNft,
        Self::Nftables,
        Self::Shunt,
    ];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw veth pair",
            Self::Bridge => "bridge, no Service",
            Self::IptablesLegacy => "iptables (legacy)",
            Self::IptablesNft => "iptables (nft)",
            Self::Nftables => "nftables",
            Self::Shunt => "shunt",
        }
    }

    /// Whether it carries Services, so that their number matters.
    pub fn has_services(self) -> bool {
        !matches!(self, Self::Raw | Self::Bridge)
    }

    /// Whether it needs the kernel's connection tracking.
    pub fn tracks(self) -> bool {
        matches!(self, Self::IptablesLegacy | Self::IptablesNft | Self::Nftables)
    }
}

/// How packets reach the other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Routing {
    /// By routes.
    Direct,
    /// In VXLAN.
    Vxlan,
}

/// How many nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nodes {
    /// The client's.
    One,
    /// Another one, too.
    Two(Routing),
}

/// What to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Setup {
    /// Who carries packets.
    pub contender: Contender,
    /// How many Services there are; of no matter to those that carry none.
    pub services: u32,
    /// On how many nodes.
    pub nodes: Nodes,
}

/// Who asks whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A pod asks a Service whose pods are on its node.
    Pod,
    /// A process of the node asks the same.
    Process,
    /// A host outside asks a node port, whose pods are on that node.
    NodePort,
    /// A pod asks a Service whose pods are on the other node.
    Across,
}

/// A contender, ready to be measured. Gone when dropped.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    parts: Parts,
    /// The stage stands until this is gone.
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Builds it on a thread of its own, in a private world of its own. An error where that thread
    /// panicked: it has said why.
    pub fn build(setup: Setup) -> Result<Self, String> {
        let (end, ended) = mpsc::channel();
        let (give, take) = mpsc::channel();
        let thread = thread::spawn(move || {
            let Some(sandbox) = Sandbox::enter_for(LONGEST) else { return };
            let (stage, parts) = Stage::set(sandbox, setup);
            // Who waits for them may have gone.
            let _ = give.send(parts);
            drop(give);
            // Nobody sends anything: the other end is dropped.
            let _ = ended.recv();
            drop(stage);
        });
        let parts = take.recv().map_err(|_| {
            format!(
                "{} with {} Services could not be built; what is above says why",
                setup.contender.name(),
                setup.services
            )
        })?;
        Ok(Self { setup, parts, end: Some(end), thread: Some(thread) })
    }

    /// What was built.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// How long it took until the rules were loaded, or the agent was ready.
    pub fn took(&self) -> Duration {
        self.parts.took
    }

    /// Where the client is.
    pub fn client(&self, way: Way) -> &NetNamespace {
        match way {
            Way::Pod | Way::Across => &self.parts.pod,
            Way::Process => &self.parts.node,
            Way::NodePort => &self.parts.outside,
        }
    }

    /// What the client asks: Services' addresses, or where there are none, pods'.
    pub fn targets(&self, way: Way, protocol: Transport) -> Vec<SocketAddr> {
        let Some(services) = &self.parts.services else {
            return self.servers(way).iter().map(Server::at).collect();
        };
        match way {
            Way::Pod | Way::Process => services.addresses(Side::Near, protocol),
            Way::Across => services.addresses(Side::Far, protocol),
            Way::NodePort => services.node_ports(addresses::node(0)[0], protocol),
        }
    }

    /// Who answers.
    pub fn servers(&self, way: Way) -> &[Server] {
        let is_across = way == Way::Across && self.setup.contender != Contender::Raw;
        if is_across { &self.parts.far } else { &self.parts.near }
    }

    /// Whether a server should see such a client: the client itself, or one of the node's addresses
    /// where it must hide behind them.
    pub fn may_show(&self, way: Way, seen: IpAddr) -> bool {
        let of_node = [addresses::node(0)[0], addresses::pod_segment(0).host(1)[0]];
        match (way, self.setup.contender) {
            (_, Contender::Raw) | (Way::Pod | Way::Across, _) => seen == self.parts.client,
            (Way::NodePort, Contender::Bridge) => seen == addresses::outside()[0],
            (Way::NodePort | Way::Process, _) => of_node.contains(&seen),
        }
    }

    /// How many connections the kernel tracks on the client's node.
    pub fn tracked(&self) -> u64 {
        plain::tracked(&self.parts.node)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.parts.near.clear();
        self.parts.far.clear();
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // What went wrong there was said there.
            let _ = thread.join();
        }
    }
}
