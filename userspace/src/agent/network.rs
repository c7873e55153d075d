//! The node among others: its uplinks, the overlay, the ways to other nodes' pods and to the outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maps_schema::{
    address::{AddressPair, IfIndex, Ipv4Wire, Ipv6Wire},
    way::{Node as NodeEntry, NodeId, Way},
};

use super::{datapath::lock, node::NodeAgent, pods::pair, xdp::ensure_xdp};
use crate::{
    cluster::model::Node,
    config::{AgentConfig, InterfaceName, LoadBalancerMode, PodMtu, Routing},
    podnet::{
        OVERLAY_NAME, Overlay, OverlaySettings, Peer, PeerRouting, PodNet, Uplink, peer_routes,
        pod_mtu, underlay_address, vtep_mac, vxlan_overhead,
    },
};

/// What the node is connected by.
#[derive(Debug, Default)]
pub(super) struct NodeNetwork {
    pub(super) uplinks: Vec<Uplink>,
    pub(super) overlay: Option<Overlay>,
    /// The node's own addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The first of them in each family: by these it is known to others.
    pub(super) primary: AddressPair,
}

impl NodeNetwork {
    pub(super) fn has_uplink(&self, name: &str) -> bool {
        self.uplinks.iter().any(|uplink| uplink.name == name)
    }

    /// Whether a change of this interface may matter: it is an uplink, or may become the first.
    pub(super) fn is_concerned_by(&self, name: &str) -> bool {
        self.has_uplink(name) || self.uplinks.is_empty()
    }

    /// Finds the uplinks, and prepares them. To be called before the bridge is made.
    pub(super) async fn find_uplinks(
        config: &AgentConfig,
        podnet: &PodNet,
        node: &Node,
    ) -> anyhow::Result<Vec<Uplink>> {
        let names: Vec<&str> = config.uplinks.iter().map(InterfaceName::as_str).collect();
        let uplinks = podnet.discover_uplinks(&names, &node.addresses).await?;
        podnet.prepare_uplinks(&uplinks, &node.pod_cidrs).await?;
        Ok(uplinks)
    }
}

/// The overlay device that the node needs, if any.
fn overlay_settings(
    config: &AgentConfig,
    uplinks: &[Uplink],
    node: &Node,
    peers: &[Arc<Node>],
) -> Option<OverlaySettings> {
    let tunnels = config.routing == Routing::Vxlan;
    let hands_over = config.load_balancer_mode == LoadBalancerMode::Dsr;
    let mtu = uplinks.iter().map(|uplink| uplink.mtu).min()?;
    let underlay = underlay_address(&node.addresses).filter(|_| tunnels || hands_over)?;
    // Room for the largest header that a packet to any of the nodes gets.
    let overhead = |node: &Node| underlay_address(&node.addresses).map_or(0, vxlan_overhead);
    let largest = peers.iter().map(|peer| overhead(peer)).max().unwrap_or(0);
    let uplink_mtu = mtu.saturating_sub(largest.saturating_sub(vxlan_overhead(underlay)));
    Some(OverlaySettings { port: config.vxlan_port.get(), underlay, uplink_mtu })
}

impl NodeAgent {
    /// Makes the overlay, gives the bridge its MTU, and attaches the programs of uplinks and
    /// overlay. The bridge is there.
    pub(super) async fn ensure_network(
        &mut self,
        node: &Node,
        uplinks: Vec<Uplink>,
    ) -> anyhow::Result<()> {
        let peers = self.peers();
        let settings = overlay_settings(&self.config, &uplinks, node, &peers);
        let overlay = if let Some(settings) = settings {
            Some(self.podnet.ensure_overlay(&settings).await?)
        } else {
            self.podnet.remove_overlay().await?;
            None
        };
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let tunnels = overlay.as_ref().filter(|_| self.config.routing == Routing::Vxlan);
        let derived = pod_mtu(&uplinks, tunnels);
        let mtu = self.config.pod_mtu.map_or(derived, PodMtu::bytes);
        datapath.bridge = self.podnet.ensure_pod_mtu(datapath.bridge.clone(), mtu).await?;
        let mut programs = lock(&datapath.programs)?;
        let former = &datapath.network;
        if former.overlay.as_ref().map(|overlay| overlay.interface)
            != overlay.as_ref().map(|overlay| overlay.interface)
            && overlay.is_some()
        {
            programs.attach_overlay(OVERLAY_NAME)?;
        }
        for uplink in &uplinks {
            if former.uplinks.iter().all(|former| former.interface != uplink.interface) {
                programs.attach_uplink(&uplink.name)?;
                ensure_xdp(&mut programs, uplink, self.config.xdp)?;
                log::info!("uplink={} mtu={} attached", uplink.name, uplink.mtu);
            }
        }
        let names: Vec<&str> = uplinks.iter().map(|uplink| uplink.name.as_str()).collect();
        programs.detach_uplinks_but(&names);
        programs.detach_xdp_but(&names);
        drop(programs);
        let is_alone = uplinks.is_empty();
        datapath.network.uplinks = uplinks;
        datapath.network.overlay = overlay;
        self.views.write().routing = (!is_alone).then_some(self.config.routing);
        Ok(())
    }

    /// Tells the datapath of other nodes, networks and uplinks, and the kernel of routes. The
    /// Services are pending to whose endpoints another way leads now.
    pub(super) async fn announce_network(&mut self, node: &Node) -> anyhow::Result<()> {
        let own = self.podnet.node_addresses().await?;
        let peers = self.peers();
        let (service_ranges, others): (_, Vec<IpAddr>) = {
            let cluster = &self.views.read().cluster;
            (cluster.service_ranges(), cluster.others_cluster_ips().collect())
        };
        let Some(datapath) = &mut self.datapath else { return Ok(()) };
        let NodeNetwork { uplinks, overlay, .. } = &datapath.network;
        let now = Instant::now();
        let entries: BTreeMap<String, NodeEntry> = peers
            .iter()
            .filter_map(|peer| Some((peer.name.clone(), entry(peer, overlay.as_ref())?)))
            .collect();
        let ids = datapath.sync.set_nodes(&entries, now)?;
        let addresses = all_addresses(own, node);
        let mut changed = datapath.sync.set_node_addresses(&addresses, &node.pod_cidrs)?;
        let mut networks = networks(&self.config, node, &peers, &ids, uplinks);
        networks.extend(service_ranges.into_iter().map(|range| (range, Way::Nowhere)));
        networks.extend(others.into_iter().map(|address| (IpNet::from(address), Way::Stack)));
        changed.extend(datapath.sync.set_networks(&networks)?);
        changed.extend(datapath.sync.set_uplinks(&uplink_entries(uplinks))?);
        let primary = primary(node, uplinks);
        datapath.sync.set_primary_addresses(primary)?;
        let routing = match overlay {
            Some(overlay) if self.config.routing == Routing::Vxlan => {
                PeerRouting::Overlay { overlay, bridge: &datapath.bridge }
            }
            _ => PeerRouting::Direct { uplinks },
        };
        let others = peers
            .iter()
            .map(|peer| Peer { internal_ips: &peer.addresses, pod_cidrs: &peer.pod_cidrs });
        let routes = peer_routes(routing, others);
        let done = self.podnet.reconcile_peers(&routes).await?;
        for cidr in done.left_to_others {
            log::debug!("pod CIDR {cidr}: left to a route that is not shunt's");
        }
        for error in done.errors {
            log::warn!("{error}");
        }
        datapath.network.primary = primary;
        let mut model = self.views.write();
        self.pending.add_owners(model.users_of(&changed));
        if datapath.network.addresses != addresses {
            // Which of them answer on node ports may be another choice now, and host ports are at
            // all of them.
            self.pending.services.extend(model.compiled.keys().cloned());
            model.cluster.set_own_addresses(&addresses);
            self.pending.extend(model.cluster.take_dirty());
            datapath.network.addresses = addresses;
        }
        Ok(())
    }

    /// Whether the node's addresses, or its uplinks', are others than when they were last looked at.
    /// Most events are about none of that: lifetimes of addresses, and what shunt does itself.
    pub(super) async fn has_other_addresses(&self) -> bool {
        let Some(datapath) = &self.datapath else { return false };
        let Some(node) = self.views.read().cluster.node(&self.config.node_name).cloned() else {
            return false;
        };
        let names: Vec<&str> = self.config.uplinks.iter().map(InterfaceName::as_str).collect();
        let uplinks = self.podnet.discover_uplinks(&names, &node.addresses).await;
        let own = self.podnet.node_addresses().await;
        // What cannot be read is an error that reconciling finds again, and says.
        let (Ok(uplinks), Ok(own)) = (uplinks, own) else { return true };
        let known = &datapath.network;
        known.uplinks != uplinks || known.addresses != all_addresses(own, &node)
    }

    /// The other nodes that have pods.
    fn peers(&self) -> Vec<Arc<Node>> {
        let model = self.views.read();
        let others = model.cluster.nodes().filter(|node| node.name != self.config.node_name);
        others.filter(|node| !node.pod_cidrs.is_empty()).cloned().collect()
    }
}

/// The node's own addresses: those of its interfaces, and of its Node.
fn all_addresses(own: Vec<IpAddr>, node: &Node) -> BTreeSet<IpAddr> {
    own.into_iter().chain(node.addresses.iter().copied()).collect()
}

/// Another node, as an end of the overlay.
fn entry(peer: &Node, overlay: Option<&Overlay>) -> Option<NodeEntry> {
    let underlay = underlay_address(&peer.addresses)?;
    let mac = peer.vtep_mac.unwrap_or_else(|| vtep_mac(underlay));
    let interface = overlay.map_or(IfIndex::NONE, |overlay| overlay.interface);
    Some(match underlay {
        IpAddr::V4(address) => NodeEntry::new(Ipv4Wire::from(address), mac, interface),
        IpAddr::V6(address) => NodeEntry::new(Ipv6Wire::from(address), mac, interface),
    })
}

/// The way to every network that is not the kernel's alone.
fn networks(
    config: &AgentConfig,
    node: &Node,
    peers: &[Arc<Node>],
    ids: &BTreeMap<String, NodeId>,
    uplinks: &[Uplink],
) -> BTreeMap<IpNet, Way> {
    let mut networks = BTreeMap::new();
    if config.masquerade {
        let has_v4 = uplinks.iter().any(|uplink| uplink.primary_v4.is_some());
        let has_v6 = uplinks.iter().any(|uplink| uplink.primary_v6.is_some());
        let all = [(has_v4, IpNet::from(Ipv4Net::default())), (has_v6, Ipv6Net::default().into())];
        networks
            .extend(all.into_iter().filter(|(has, _)| *has).map(|(_, all)| (all, Way::Outside)));
    }
    networks.extend(config.non_masquerade_cidrs.iter().map(|cidr| (cidr.trunc(), Way::Stack)));
    for peer in peers {
        let Some(&id) = ids.get(&peer.name) else { continue };
        let way = match config.routing {
            Routing::Vxlan => Way::Tunnel(id),
            Routing::Direct => Way::Route(id),
        };
        networks.extend(peer.pod_cidrs.iter().map(|cidr| (cidr.trunc(), way)));
    }
    networks.extend(node.pod_cidrs.iter().map(|cidr| (cidr.trunc(), Way::Stack)));
    networks
}

/// The addresses by which the node is known to others: its Node's first InternalIP of each family,
/// or else that of its first uplink.
fn primary(node: &Node, uplinks: &[Uplink]) -> AddressPair {
    let mut addresses = node.primary_addresses();
    addresses.extend(uplinks.iter().filter_map(|uplink| uplink.primary_v4).map(IpAddr::V4));
    addresses.extend(uplinks.iter().filter_map(|uplink| uplink.primary_v6).map(IpAddr::V6));
    pair(&addresses)
}

/// The node's addresses on its uplinks.
fn uplink_entries(uplinks: &[Uplink]) -> BTreeMap<IfIndex, AddressPair> {
    let pair = |uplink: &Uplink| AddressPair {
        v4: uplink.primary_v4.map(Ipv4Wire::from).unwrap_or_default(),
        v6: uplink.primary_v6.map(Ipv6Wire::from).unwrap_or_default(),
    };
    uplinks.iter().map(|uplink| (uplink.interface, pair(uplink))).collect()
}
