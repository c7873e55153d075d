//! The node's side of a pod's network: the host end of the veth pair, a port of the bridge.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::{
    LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{InfoData, InfoKind, InfoVeth},
};

use super::{
    Bridge, Error, PodNet,
    ends::Ends,
    error::gone_is_fine,
    netlink::{self, Link, Route},
    netns::Netns,
};

impl PodNet {
    /// The host end of the pod's pair: the one that is there, or a new one whose peer is in the
    /// pod's namespace. Port of the bridge, hairpin, up.
    pub(super) async fn ensure_host_end(
        &self,
        bridge: &Bridge,
        ends: &Ends,
        netns: &Netns,
    ) -> Result<Link, Error> {
        let name = &ends.host_interface;
        let present = netlink::link(&self.handle, name).await?;
        if present.is_none() {
            self.make_pair(bridge, ends, netns).await?;
        }
        let link = match present {
            Some(link) => link,
            None => self.host_end(ends).await?,
        };
        if link.kind != Some(InfoKind::Veth) {
            let (pod, interface) = (ends.pod.clone(), name.clone());
            return Err(Error::HostInterfaceNotOurs { pod, interface });
        }
        let at = |what: &str| format!("pod {}: {what} {name}", ends.pod);
        let mut message = LinkUnspec::new_with_index(link.index);
        if link.mtu != bridge.mtu {
            message = message.mtu(bridge.mtu);
        }
        if link.controller != Some(bridge.interface.get()) {
            message = message.controller(bridge.interface.get());
        }
        if link.mtu != bridge.mtu || link.controller != Some(bridge.interface.get()) || !link.up {
            netlink::change(&self.handle, at("attaching to the bridge"), message.up()).await?;
        }
        if link.controller != Some(bridge.interface.get()) || !link.hairpin {
            // Hairpin: a pod that reaches itself through its service must get its own frames back.
            let port = LinkBridgePort::new(link.index).hairpin(true).build();
            let set = self.handle.link().set_port(port).execute().await;
            set.map_err(Error::netlink(at("setting hairpin mode of")))?;
        }
        Ok(link)
    }

    async fn make_pair(&self, bridge: &Bridge, ends: &Ends, netns: &Netns) -> Result<(), Error> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(ends.interface.clone())
            .address(ends.mac.bytes().to_vec())
            .mtu(bridge.mtu)
            .setns_by_fd(netns.raw_fd())
            .build();
        let pair = LinkVeth::new(&ends.host_interface, &ends.interface)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(bridge.mtu)
            .controller(bridge.interface.get())
            .up()
            .build();
        let made = self.handle.link().add(pair).execute().await;
        let action = format!("pod {}: making veth {}", ends.pod, ends.host_interface);
        made.map_err(Error::netlink(action)).map_err(|error| match error.errno() {
            // The host end's name was free: what exists is in the pod's namespace.
            Some(libc::EEXIST) => ends.not_the_peer(),
            _ => error,
        })
    }

    async fn host_end(&self, ends: &Ends) -> Result<Link, Error> {
        let name = &ends.host_interface;
        let action = format!("pod {}: looking up {name}", ends.pod);
        let vanished = || Error::kernel::<io::Error>(action)(io::ErrorKind::NotFound.into());
        netlink::link(&self.handle, name).await?.ok_or_else(vanished)
    }

    /// Removes the host end, and with it the pair, even while a process holds the pod's namespace.
    pub(super) async fn remove_host_end(&self, name: &str) -> Result<(), Error> {
        match netlink::link(&self.handle, name).await? {
            Some(link) if link.kind == Some(InfoKind::Veth) => {
                gone_is_fine(netlink::delete(&self.handle, name, &link).await)
            }
            _ => Ok(()),
        }
    }

    /// Routes of the node to those of a pod's addresses that are outside of its pod CIDRs.
    pub(super) async fn ensure_host_routes(
        &self,
        bridge: &Bridge,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let outside: Vec<IpAddr> = outside(bridge, addresses).collect();
        if outside.is_empty() {
            return Ok(());
        }
        let present = netlink::routes(&self.handle).await?;
        for address in outside {
            let route = host_route(address, bridge.interface.get());
            if !present.contains(&route) {
                netlink::put_route(&self.handle, route).await?;
            }
        }
        Ok(())
    }

    /// Removes what [`PodNet::ensure_host_routes`] made for `addresses` over `bridge`.
    pub(super) async fn remove_host_routes(
        &self,
        bridge: Option<&str>,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let Some(bridge) = bridge.filter(|_| !addresses.is_empty()) else {
            return Ok(());
        };
        let Some(link) = netlink::link(&self.handle, bridge).await? else {
            return Ok(());
        };
        for address in addresses {
            let route = host_route(*address, link.index);
            gone_is_fine(netlink::delete_route(&self.handle, route).await)?;
        }
        Ok(())
    }
}

/// The addresses that are in none of the bridge's networks.
pub(super) fn outside(bridge: &Bridge, addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let inside = |address: &IpAddr| bridge.gateways.iter().any(|gateway| gateway.contains(address));
    addresses.iter().copied().filter(move |address| !inside(address))
}

fn host_route(address: IpAddr, output: u32) -> Route {
    Route { destination: IpNet::from(address), gateway: None, output }
}
