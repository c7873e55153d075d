//! The uplinks: the node's interfaces to other nodes and to the outside. shunt reads them, and
//! changes nothing of them but a few settings under `/proc/sys`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use maps_schema::address::IfIndex;
use rtnetlink::{
    Handle,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    },
};

use super::{
    Error, PodNet,
    netlink::Link,
    overlay::OVERLAY_NAME,
    settings::{self, interface_v4, interface_v6},
};

/// One of the node's uplinks, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: String,
    /// Its index.
    pub interface: IfIndex,
    /// In bytes, without the Ethernet header.
    pub mtu: u32,
    /// What drives it.
    pub driver: UplinkDriver,
    /// Its addresses with the prefix lengths of their networks, link-local ones aside. Those that
    /// are still being checked for duplicates, or are duplicates, are not among them.
    pub addresses: Vec<IpNet>,
    /// The IPv4 address to masquerade with: the Node's InternalIP where the uplink has it, or else
    /// its first of global scope.
    pub primary_v4: Option<Ipv4Addr>,
    /// The IPv6 address to masquerade with, chosen likewise; a deprecated one is not chosen, a
    /// temporary one only where there is no other.
    pub primary_v6: Option<Ipv6Addr>,
}

/// What drives an interface: where XDP pays (`--xdp auto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UplinkDriver {
    /// A driver of a network card, a virtual machine's included: it has no kind in
    /// `ip -d link show`.
    Card,
    /// A veth: XDP in its driver costs local traffic its offloads.
    Veth,
    /// Another device that is software only: bridge, bond, VLAN, macvlan and so on.
    Virtual,
}

/// An address, and whether it will do to masquerade with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct InterfaceAddress {
    address: IpNet,
    global: bool,
    deprecated: bool,
    /// A temporary one in IPv6, one after the first of its network in IPv4.
    secondary: bool,
}

/// Everything that the choice of uplinks depends on.
#[derive(Clone, Debug)]
struct Interface {
    name: String,
    loopback: bool,
    ethernet: bool,
    link: Link,
    addresses: Vec<InterfaceAddress>,
}

impl PodNet {
    /// The node's uplinks: those named by `--uplink`, or, where `names` is empty, the interfaces
    /// that carry one of `internal_ips`, the own Node's InternalIPs. None where there are no names
    /// and no interface carries any: a node that is alone.
    ///
    /// # Errors
    /// An interface that is named does not exist; or one that is named, or carries an InternalIP,
    /// cannot be an uplink.
    pub async fn discover_uplinks(
        &self,
        names: &[&str],
        internal_ips: &[IpAddr],
    ) -> Result<Vec<Uplink>, Error> {
        let interfaces = interfaces(&self.handle).await?;
        let bridges = self.records.node()?.map_or_else(Vec::new, |node| node.bridges);
        let bridges: Vec<&str> = bridges.iter().map(|bridge| bridge.name.as_str()).collect();
        choose(&interfaces, &bridges, names, internal_ips)
    }

    /// Every address of the node itself, whichever interface has it: the bridge's too. Loopback
    /// and IPv6 link-local addresses are not among them, which mean another host to whoever asks.
    pub async fn node_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let interfaces = interfaces(&self.handle).await?;
        let all = interfaces.iter().flat_map(|interface| &interface.addresses);
        let mut addresses: Vec<IpAddr> = all.map(|address| address.address.addr()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses)
    }

    /// Gives the uplinks the settings that traffic across them needs, for the families of the pod
    /// CIDRs; their former values come back at cleanup. To be called before
    /// [`PodNet::ensure_bridge`], because the kernel forgets the routers that it was told of in the
    /// moment that IPv6 forwarding is switched on.
    ///
    /// - `rp_filter` is made loose (2) where it is strict: another node's pod whose address is not
    ///   masqueraded comes in here with a source that the overlay's route leads to.
    /// - `accept_ra` is made 2 where it is 1, so that router advertisements count on a router too.
    /// - `forwarding` is 1, without which `bpf_fib_lookup` finds no way for what comes in here.
    pub async fn prepare_uplinks(
        &self,
        uplinks: &[Uplink],
        pod_cidrs: &[IpNet],
    ) -> Result<(), Error> {
        let _one_at_a_time = self.node_lock.lock().await;
        let mut node = self.begin_node_record()?;
        for Uplink { name, .. } in uplinks {
            let mut changes: Vec<(PathBuf, &str)> = Vec::new();
            if pod_cidrs.iter().any(|cidr| cidr.addr().is_ipv4()) {
                if settings::is_strict(name)? {
                    changes.push((interface_v4(name, "rp_filter"), "2"));
                }
                changes.push((interface_v4(name, "forwarding"), "1"));
            }
            if pod_cidrs.iter().any(|cidr| cidr.addr().is_ipv6()) {
                let accept_ra = interface_v6(name, "accept_ra");
                if settings::has_value(&accept_ra, "1")? {
                    changes.push((accept_ra, "2"));
                }
                changes.push((interface_v6(name, "forwarding"), "1"));
            }
            for (path, value) in changes {
                settings::set_and_note_if_present(&self.records, &mut node, &path, value)?;
            }
        }
        Ok(())
    }
}

/// The address that a node sends and gets tunnelled packets at: the first of its Node's
/// InternalIPs. Every node must choose the same one, for its Ethernet address on the overlay
/// follows from it ([`super::vtep_mac`]).
pub fn underlay_address(internal_ips: &[IpAddr]) -> Option<IpAddr> {
    internal_ips.first().copied()
}

fn choose(
    interfaces: &[Interface],
    bridges: &[&str],
    names: &[&str],
    internal_ips: &[IpAddr],
) -> Result<Vec<Uplink>, Error> {
    let carries = |interface: &Interface| {
        let has = |ip: &IpAddr| interface.addresses.iter().any(|own| own.address.addr() == *ip);
        internal_ips.iter().any(has)
    };
    let ours = |interface: &Interface| {
        interface.loopback
            || interface.name == OVERLAY_NAME
            || bridges.contains(&interface.name.as_str())
    };
    let mut chosen: Vec<&Interface> = Vec::new();
    if names.is_empty() {
        chosen.extend(interfaces.iter().filter(|one| carries(one) && !ours(one)));
    }
    for name in names {
        let Some(interface) = interfaces.iter().find(|interface| interface.name == *name) else {
            let there = interfaces.iter().filter(|interface| !ours(interface));
            let there: Vec<&str> = there.map(|interface| interface.name.as_str()).collect();
            return Err(Error::UplinkMissing {
                name: (*name).to_owned(),
                there: if there.is_empty() { "none".to_owned() } else { there.join(", ") },
            });
        };
        if !chosen.iter().any(|other| other.name == interface.name) {
            chosen.push(interface);
        }
    }
    let read = |interface: &&Interface| {
        let unusable = |reason| Error::UplinkUnusable { name: interface.name.clone(), reason };
        if ours(interface) {
            return Err(unusable("is the node's own".to_owned()));
        }
        usable(interface, interfaces).map_err(unusable)?;
        Ok(uplink(interface, internal_ips))
    };
    chosen.iter().map(read).collect()
}

/// Says why an interface cannot be an uplink.
fn usable(interface: &Interface, all: &[Interface]) -> Result<(), String> {
    if !interface.ethernet {
        return Err("carries no Ethernet frames".to_owned());
    }
    let controller = interface.link.controller;
    match all.iter().find(|other| Some(other.link.index) == controller) {
        // An interface of a VRF has addresses of its own.
        Some(above) if above.link.kind != Some(InfoKind::Vrf) => {
            Err(format!("is a port of {}, which is the one to name", above.name))
        }
        _ => Ok(()),
    }
}

fn uplink(interface: &Interface, internal_ips: &[IpAddr]) -> Uplink {
    let primary = |is_ipv4: bool| primary(&interface.addresses, internal_ips, is_ipv4);
    Uplink {
        name: interface.name.clone(),
        interface: interface.link.interface(),
        mtu: interface.link.mtu,
        driver: match &interface.link.kind {
            None => UplinkDriver::Card,
            Some(InfoKind::Veth) => UplinkDriver::Veth,
            Some(_) => UplinkDriver::Virtual,
        },
        addresses: interface.addresses.iter().map(|address| address.address).collect(),
        primary_v4: match primary(true) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        },
        primary_v6: match primary(false) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        },
    }
}

fn primary(own: &[InterfaceAddress], internal_ips: &[IpAddr], is_ipv4: bool) -> Option<IpAddr> {
    let own: Vec<&InterfaceAddress> =
        own.iter().filter(|own| own.address.addr().is_ipv4() == is_ipv4).collect();
    let is_own = |ip: &&IpAddr| own.iter().any(|own| own.address.addr() == **ip);
    let best = || {
        let good = own.iter().filter(|own| own.global && !own.deprecated);
        good.min_by_key(|own| own.secondary).map(|own| own.address.addr())
    };
    internal_ips.iter().find(is_own).copied().or_else(best)
}

/// Every interface with its addresses, in the order of their indices.
async fn interfaces(handle: &Handle) -> Result<Vec<Interface>, Error> {
    let links: Vec<LinkMessage> = handle
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(Error::netlink("reading the interfaces"))?;
    let addresses: Vec<AddressMessage> = handle
        .address()
        .get()
        .execute()
        .try_collect()
        .await
        .map_err(Error::netlink("reading the addresses of the interfaces"))?;
    let mut of_index: BTreeMap<u32, Vec<InterfaceAddress>> = BTreeMap::new();
    for message in &addresses {
        if let Some(address) = interface_address(message) {
            of_index.entry(message.header.index).or_default().push(address);
        }
    }
    let read = |message: &LinkMessage| {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
        Some(Interface {
            name,
            loopback: message.header.flags.contains(LinkFlags::Loopback),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            link: Link::read(message),
            addresses: of_index.remove(&message.header.index).unwrap_or_default(),
        })
    };
    Ok(links.iter().filter_map(read).collect())
}

/// The address that a message is about.
pub(super) fn address(message: &AddressMessage) -> Option<IpAddr> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // The other end's, where the link has two ends and this one an address of its own.
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            _ => {}
        }
    }
    local.or(address)
}

/// Whether an address of an interface means the node to others, too.
pub(super) fn is_node_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}

fn interface_address(message: &AddressMessage) -> Option<InterfaceAddress> {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or(AddressFlags::empty());
    let address = IpNet::new(address(message)?, message.header.prefix_len).ok()?;
    // An optimistic address is in use while it is being checked.
    let unchecked = flags.contains(AddressFlags::Tentative)
        && !flags.contains(AddressFlags::Optimistic)
        || flags.contains(AddressFlags::Dadfailed);
    (is_node_address(address.addr()) && !unchecked).then_some(InterfaceAddress {
        address,
        global: message.header.scope == AddressScope::Universe && !is_link_local(address.addr()),
        deprecated: flags.contains(AddressFlags::Deprecated),
        secondary: flags.contains(AddressFlags::Secondary),
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[path = "uplinks_tests.rs"]
mod tests;
