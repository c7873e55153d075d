//! The datapath of one node, from the moment that its Node is known: bridge, programs, maps.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use anyhow::Context as _;
use ipnet::IpNet;
use maps_schema::{address::PodLink, service::AddressRole};

use super::network::NodeNetwork;
use crate::{
    config::{AgentConfig, SocketOwners, TcChoice},
    connections::Reaper,
    loader::{
        LoadConfig, Programs,
        pins::Pins,
        probe::{Capabilities, TcMode},
    },
    maps::{ConnectionMaps, CounterMaps, Gauges, ServiceMaps, SocketPeers},
    metrics::Metrics,
    podnet::{Bridge, PodNet, gateway_of},
    sync::{
        Sync,
        tables::{ServiceTables as _, TableError},
    },
};

/// What is loaded and attached.
pub(super) struct Datapath {
    pub(super) bridge: Bridge,
    pub(super) gateways: Vec<IpNet>,
    pub(super) network: NodeNetwork,
    pub(super) programs: Arc<Mutex<Programs>>,
    pub(super) sync: Sync<ServiceMaps>,
    pub(super) reaper: Reaper,
}

/// What is read of the maps, beside what the agent itself keeps.
pub(super) struct Readers {
    pub(super) connections: Arc<ConnectionMaps>,
    pub(super) counters: CounterMaps,
    pub(super) gauges: Gauges,
    pub(super) programs: Arc<Mutex<Programs>>,
}

impl Datapath {
    /// Makes the bridge, loads the programs on the maps that are there already, or on new ones, and
    /// attaches what does not belong to a pod.
    pub(super) async fn start(
        config: &AgentConfig,
        capabilities: &Capabilities,
        podnet: &PodNet,
        pod_cidrs: &[IpNet],
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<(Self, Readers)> {
        let gateways: Vec<IpNet> = pod_cidrs.iter().filter_map(|&cidr| gateway_of(cidr)).collect();
        let bridge = podnet.ensure_bridge(config.bridge.as_str(), &gateways).await?;
        let mut programs = Programs::load(&LoadConfig {
            bpffs: config.bpffs.clone(),
            limits: config.limits,
            bridge: gateways.iter().map(IpNet::addr).collect::<Vec<IpAddr>>(),
            masquerade_ports: (config.masquerade_ports.first(), config.masquerade_ports.last()),
            vxlan_port: config.vxlan_port.get(),
            tc_mode: match config.tc {
                TcChoice::Auto => capabilities.tc_mode,
                TcChoice::Tcx => TcMode::Tcx,
                TcChoice::Clsact => TcMode::Clsact,
            },
            run_dir: config.run_dir.clone(),
        })?;
        programs.attach_bridge(&bridge.name)?;
        match &config.socket_lb {
            Some(socket_lb) => programs.attach_cgroup(&socket_lb.cgroup)?,
            None => programs.detach_cgroup(),
        }
        let pins = Pins::below(&config.bpffs).maps();
        let tables = ServiceMaps::open(&pins)?;
        let links = pod_links(&tables).context("reading the service maps")?;
        let sync = Sync::new(tables).context("reading the service maps")?;
        let connections = Arc::new(ConnectionMaps::open(&pins)?);
        let programs = Arc::new(Mutex::new(programs));
        let readers = Readers {
            programs: Arc::clone(&programs),
            connections: Arc::clone(&connections),
            counters: CounterMaps::open(&pins)?,
            gauges: Gauges::open(&pins)?,
        };
        let peers = SocketPeers::open(&pins)?;
        let reaper = Reaper::start(connections, Arc::clone(&programs), peers, links, metrics);
        log::info!("bridge={} maps={} attached", bridge.name, pins.display());
        let network = NodeNetwork::default();
        let datapath = Self { bridge, gateways, network, programs, sync, reaper };
        Ok((datapath, readers))
    }

    /// Makes the bridge again if it was taken away.
    pub(super) async fn ensure_bridge(&mut self, podnet: &PodNet) -> anyhow::Result<()> {
        let bridge = podnet.ensure_bridge(&self.bridge.name, &self.gateways).await?;
        if bridge.interface != self.bridge.interface {
            lock(&self.programs)?.attach_bridge(&bridge.name)?;
        }
        self.bridge = bridge;
        Ok(())
    }
}

/// The ways to pods that a former agent has put in force.
fn pod_links(tables: &ServiceMaps) -> Result<HashMap<IpAddr, PodLink>, TableError> {
    let addresses = tables.addresses()?.into_iter();
    let links = addresses.filter_map(|(address, role)| match role {
        AddressRole::Pod(link) => Some((address, link)),
        AddressRole::Service | AddressRole::Node => None,
    });
    Ok(links.collect())
}

/// Whose sockets are translated, beside the node's own.
pub(super) fn translates_pods(config: &AgentConfig) -> bool {
    config.socket_lb.as_ref().is_some_and(|lb| lb.whose == SocketOwners::HostAndPods)
}

/// A poisoned lock is another thread's panic: the agent cannot go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> io::Result<std::sync::MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| io::Error::other("another thread of the agent has panicked"))
}
