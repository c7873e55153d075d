//! Routes of the node to other nodes' pods.
//!
//! The node's own processes need them, and so does `bpf_fib_lookup` with direct routing. Each has
//! shunt's own route protocol number, so that a restarted agent knows which are shunt's, without
//! a list that could be wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use maps_schema::address::IfIndex;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope},
    },
};

use super::{Bridge, Error, Overlay, PodNet, Uplink, error::gone_is_fine, netlink};

/// The protocol number of shunt's routes to other nodes' pods (`ip route show proto 115`): "s", a
/// number that no entry of `/etc/iproute2/rt_protos` has.
pub const ROUTE_PROTOCOL: u8 = 115;

/// Another node, as far as routes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// Its InternalIPs.
    pub internal_ips: &'a [IpAddr],
    /// Its pod CIDRs.
    pub pod_cidrs: &'a [IpNet],
}

/// How the pods of other nodes are reached (`--routing`).
#[derive(Clone, Copy, Debug)]
pub enum PeerRouting<'a> {
    /// Over the overlay. The node's own processes send from the bridge's address, which other nodes
    /// can answer to.
    Overlay {
        /// The overlay device.
        overlay: &'a Overlay,
        /// The node's bridge.
        bridge: &'a Bridge,
    },
    /// Through the nodes' addresses, where they are on the same link as one of the uplinks. Routes
    /// to others are somebody else's to announce.
    Direct {
        /// The node's uplinks.
        uplinks: &'a [Uplink],
    },
}

/// A route to another node's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRoute {
    /// The pod CIDR.
    pub cidr: IpNet,
    /// The node's address; `None` over the overlay.
    pub gateway: Option<IpAddr>,
    /// The interface that the route leads over.
    pub interface: IfIndex,
    /// The address that the node's own processes send from, where the route says so.
    pub source: Option<IpAddr>,
}

/// What came of [`PodNet::reconcile_peers`].
#[derive(Debug, Default)]
pub struct ReconciledPeers {
    /// The routes that were made or changed.
    pub made: Vec<PeerRoute>,
    /// The pod CIDRs whose routes were removed, because no peer has them any more or because there
    /// is a route of somebody else's now.
    pub removed: Vec<IpNet>,
    /// The pod CIDRs that have a route of somebody else's, which stays, and none of shunt's.
    pub left_to_others: Vec<IpNet>,
    /// What the kernel refused, each with its pod CIDR in the text.
    pub errors: Vec<Error>,
}

/// The routes that shall be there for these peers, the first one where two claim a pod CIDR.
pub fn peer_routes<'a>(
    routing: PeerRouting<'_>,
    peers: impl IntoIterator<Item = Peer<'a>>,
) -> Vec<PeerRoute> {
    let mut routes: Vec<PeerRoute> = Vec::new();
    let mut cidrs = std::collections::BTreeSet::new();
    for peer in peers {
        for cidr in peer.pod_cidrs.iter().map(IpNet::trunc) {
            if let Some(route) = peer_route(routing, peer.internal_ips, cidr)
                && cidrs.insert(cidr)
            {
                routes.push(route);
            }
        }
    }
    routes
}

fn peer_route(routing: PeerRouting<'_>, internal_ips: &[IpAddr], cidr: IpNet) -> Option<PeerRoute> {
    let same_family = |address: IpAddr| address.is_ipv4() == cidr.addr().is_ipv4();
    match routing {
        PeerRouting::Overlay { overlay, bridge } => Some(PeerRoute {
            cidr,
            gateway: None,
            interface: overlay.interface,
            source: bridge.gateways.iter().map(IpNet::addr).find(|own| same_family(*own)),
        }),
        PeerRouting::Direct { uplinks } => {
            let over = |gateway: &IpAddr| {
                let reaches =
                    |network: &IpNet| network.contains(gateway) && network.addr() != *gateway;
                let on_link = |uplink: &&Uplink| uplink.addresses.iter().any(reaches);
                let uplink = uplinks.iter().find(on_link)?;
                Some((*gateway, uplink.interface))
            };
            let mut gateways = internal_ips.iter().filter(|ip| same_family(**ip));
            let (gateway, interface) = gateways.find_map(over)?;
            Some(PeerRoute { cidr, gateway: Some(gateway), interface, source: None })
        }
    }
}

impl PodNet {
    /// Makes the routes that are missing, changes those that differ, and removes all others of
    /// shunt's, a former agent's too. A pod CIDR to which somebody else has a route is left to
    /// that. A route that fails stops no other.
    ///
    /// # Errors
    /// The routes cannot be read, or the record not written.
    pub async fn reconcile_peers(&self, desired: &[PeerRoute]) -> Result<ReconciledPeers, Error> {
        let _one_at_a_time = self.node_lock.lock().await;
        if !desired.is_empty() {
            let mut node = self.begin_node_record()?;
            if !node.peer_routes {
                node.peer_routes = true;
                self.records.write_node(&node)?;
            }
        }
        let present = present(&self.handle).await?;
        let (ours, others): (Vec<_>, Vec<_>) = present.iter().partition(|route| route.is_ours());
        let others: std::collections::BTreeSet<IpNet> =
            others.iter().map(|route| route.cidr).collect();
        let mut done = ReconciledPeers::default();
        let mut replaced = Vec::new();
        for wanted in desired {
            if others.contains(&wanted.cidr) {
                done.left_to_others.push(wanted.cidr);
                continue;
            }
            if ours.iter().any(|route| route.route.as_ref() == Some(wanted)) {
                continue;
            }
            match put(&self.handle, wanted).await {
                Ok(()) => done.made.push(*wanted),
                Err(error) => done.errors.push(error),
            }
            replaced.push(wanted.cidr);
        }
        let stays = |route: &PresentRoute| {
            replaced.contains(&route.cidr)
                || !others.contains(&route.cidr)
                    && route.route.is_some_and(|route| desired.contains(&route))
        };
        for stale in ours.into_iter().filter(|route| !stays(route)) {
            match stale.remove(&self.handle).await {
                Ok(()) => done.removed.push(stale.cidr),
                Err(error) => done.errors.push(error),
            }
        }
        Ok(done)
    }

    /// Removes every route of shunt's protocol number. Goes on after an error, and returns them
    /// all.
    pub(super) async fn remove_peer_routes(&self) -> Vec<Error> {
        let present = match present(&self.handle).await {
            Ok(present) => present,
            Err(error) => return vec![error],
        };
        let mut errors = Vec::new();
        for route in present.iter().filter(|route| route.is_ours()) {
            errors.extend(route.remove(&self.handle).await.err());
        }
        errors
    }
}

/// A route of the main table.
#[derive(Clone, Debug)]
struct PresentRoute {
    cidr: IpNet,
    /// `None` where it leads nowhere, or several ways.
    route: Option<PeerRoute>,
    message: RouteMessage,
}

impl PresentRoute {
    fn read(message: RouteMessage) -> Option<Self> {
        let unspecified = match message.header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut destination = unspecified;
        let (mut gateway, mut source, mut output) = (None, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = netlink::ip(address)?,
                RouteAttribute::Gateway(address) => gateway = netlink::ip(address),
                RouteAttribute::PrefSource(address) => source = netlink::ip(address),
                RouteAttribute::Oif(index) => output = Some(IfIndex::new(*index)),
                _ => {}
            }
        }
        let cidr = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
        let route = output.map(|interface| PeerRoute { cidr, gateway, interface, source });
        Some(Self { cidr, route, message })
    }

    fn is_ours(&self) -> bool {
        u8::from(self.message.header.protocol) == ROUTE_PROTOCOL
    }

    /// Removes this very route: what is told apart by protocol, way and metric.
    async fn remove(&self, handle: &Handle) -> Result<(), Error> {
        let mut message = self.message.clone();
        message.attributes.retain(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Destination(_)
                    | RouteAttribute::Gateway(_)
                    | RouteAttribute::PrefSource(_)
                    | RouteAttribute::Oif(_)
                    | RouteAttribute::Priority(_)
            )
        });
        let action = format!("removing the route to {}", self.cidr);
        gone_is_fine(handle.route().del(message).execute().await.map_err(Error::netlink(action)))
    }
}

async fn present(handle: &Handle) -> Result<Vec<PresentRoute>, Error> {
    let messages = netlink::route_messages(handle).await?;
    Ok(messages.into_iter().filter_map(PresentRoute::read).collect())
}

/// Adds a route, in place of another one of shunt's to the same destination.
async fn put(handle: &Handle, route: &PeerRoute) -> Result<(), Error> {
    let action = format!("adding the route to {}", route.cidr);
    let request = handle.route().add(message(route)).replace();
    request.execute().await.map_err(Error::netlink(action))
}

fn message(route: &PeerRoute) -> RouteMessage {
    let length = route.cidr.prefix_len();
    let output = route.interface.get();
    let mut message = match route.cidr.addr() {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, length)
            .output_interface(output)
            .build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, length)
            .output_interface(output)
            .build(),
    };
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    if route.gateway.is_none() && route.cidr.addr().is_ipv4() {
        message.header.scope = RouteScope::Link;
    }
    let gateway = route.gateway.map(|address| RouteAttribute::Gateway(address.into()));
    let source = route.source.map(|address| RouteAttribute::PrefSource(address.into()));
    message.attributes.extend(gateway.into_iter().chain(source));
    message
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
