//! The overlay: the one VXLAN device that carries packets to the pods of every other node.
//!
//! It keeps no list of nodes. It is in collect-metadata mode (`external`), in which the TC program
//! that redirects a packet to it says where to, and it has no neighbours: it is `NOARP`, so the
//! kernel takes the device's own Ethernet address for everybody's, and the program at its egress
//! puts the right ones in.

use std::net::IpAddr;

use maps_schema::address::{IfIndex, Mac};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVxlan,
    packet_route::link::{InfoKind, InfoVxlan},
};

use super::{
    Error, PodNet,
    error::gone_is_fine,
    netlink::{self, Link},
    records::NodeRecord,
    settings::{self, interface_v4, interface_v6},
};

/// The name of the overlay device.
pub const OVERLAY_NAME: &str = "shunt-vxlan";

/// The smallest MTU that IPv6 works with, in bytes (RFC 8200).
const IPV6_LEAST_MTU: u32 = 1280;

/// What the overlay shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverlaySettings {
    /// The UDP port that nodes send to (`--vxlan-port`).
    pub port: u16,
    /// The node's own address among the other nodes: [`super::underlay_address`].
    pub underlay: IpAddr,
    /// The smallest MTU of the uplinks, in bytes.
    pub uplink_mtu: u32,
}

/// The overlay device, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Its index: another one after it was made anew.
    pub interface: IfIndex,
    /// Its Ethernet address: [`vtep_mac`] of the underlay address.
    pub mac: Mac,
    /// In bytes, without the inner Ethernet header.
    pub mtu: u32,
}

/// The Ethernet address of a node's overlay device, from the node's address among the other nodes:
/// `02:73` and the address's last four bytes. Nobody has to be asked for it.
pub fn vtep_mac(underlay: IpAddr) -> Mac {
    let [a, b, c, d] = match underlay {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    Mac::from_bytes([0x02, 0x73, a, b, c, d])
}

/// How many bytes VXLAN adds to a packet between nodes: outer IP header, UDP, VXLAN and the inner
/// Ethernet header.
pub const fn vxlan_overhead(underlay: IpAddr) -> u32 {
    match underlay {
        IpAddr::V4(_) => 50,
        IpAddr::V6(_) => 70,
    }
}

impl PodNet {
    /// Makes the overlay device, or repairs what is not right of it. What is right already is not
    /// touched; what the kernel cannot change in place is made anew.
    ///
    /// # Errors
    /// There is a device of that name that shunt did not make; or the UDP port is taken.
    pub async fn ensure_overlay(&self, wanted: &OverlaySettings) -> Result<Overlay, Error> {
        let _one_at_a_time = self.node_lock.lock().await;
        let mut node = self.begin_node_record()?;
        let mac = vtep_mac(wanted.underlay);
        let mtu = wanted.uplink_mtu.saturating_sub(vxlan_overhead(wanted.underlay));
        let mut present = self.overlay(&node).await?;
        if let Some(link) = &present
            && !is_set_up(link, wanted.port)
        {
            log::warn!("interface={OVERLAY_NAME} is not as it shall be: making it anew");
            gone_is_fine(netlink::delete(&self.handle, OVERLAY_NAME, link).await)?;
            present = None;
        }
        let link = match present {
            Some(link) => link,
            None => self.make_overlay(&mut node, wanted.port, mac, mtu).await?,
        };
        prepare()?;
        if link.mac != mac || link.mtu != mtu || !link.noarp || !link.up {
            let change = LinkUnspec::new_with_index(link.index)
                .address(mac.bytes().to_vec())
                .mtu(mtu)
                .arp(false)
                .up();
            let changed =
                netlink::change(&self.handle, format!("setting {OVERLAY_NAME} up"), change).await;
            changed.map_err(|error| port_is_taken(wanted.port, error))?;
        }
        Ok(Overlay { interface: link.interface(), mac, mtu })
    }

    /// Removes the overlay device, where shunt made it: routing is direct now.
    pub async fn remove_overlay(&self) -> Result<(), Error> {
        let _one_at_a_time = self.node_lock.lock().await;
        let mut node = self.begin_node_record()?;
        if !node.overlay {
            return Ok(());
        }
        self.delete_overlay().await?;
        node.overlay = false;
        self.records.write_node(&node)
    }

    /// Removes the device that the records speak of.
    pub(super) async fn delete_overlay(&self) -> Result<(), Error> {
        match netlink::link(&self.handle, OVERLAY_NAME).await? {
            Some(link) if link.kind == Some(InfoKind::Vxlan) => {
                gone_is_fine(netlink::delete(&self.handle, OVERLAY_NAME, &link).await)
            }
            _ => Ok(()),
        }
    }

    async fn overlay(&self, node: &NodeRecord) -> Result<Option<Link>, Error> {
        match netlink::link(&self.handle, OVERLAY_NAME).await? {
            Some(link) if !node.overlay || link.kind != Some(InfoKind::Vxlan) => {
                let kind = link.kind.as_ref().map_or("device".to_owned(), ToString::to_string);
                Err(Error::OverlayNotOurs { kind })
            }
            link => Ok(link),
        }
    }

    async fn make_overlay(
        &self,
        node: &mut NodeRecord,
        port: u16,
        mac: Mac,
        mtu: u32,
    ) -> Result<Link, Error> {
        if !node.overlay {
            node.overlay = true;
            self.records.write_node(node)?;
        }
        if mtu < IPV6_LEAST_MTU {
            log::warn!(
                "interface={OVERLAY_NAME} mtu={mtu} is too small for IPv6: the uplinks' must be at \
                 least 1330, or 1350 with IPv6 between the nodes"
            );
        }
        // Down, until its settings are made.
        let message = device(port).address(mac.bytes().to_vec()).mtu(mtu).arp(false);
        let action = format!("making {OVERLAY_NAME}");
        let made = self.handle.link().add(message.down().build()).execute().await;
        made.map_err(Error::netlink(action.clone())).map_err(|error| port_is_taken(port, error))?;
        let link = netlink::link(&self.handle, OVERLAY_NAME).await?;
        let vanished =
            || Error::kernel::<std::io::Error>(action)(std::io::ErrorKind::NotFound.into());
        link.ok_or_else(vanished)
    }
}

/// What only making the device anew can change.
fn device(port: u16) -> LinkMessageBuilder<LinkVxlan> {
    LinkMessageBuilder::<LinkVxlan>::new(OVERLAY_NAME)
        .collect_metadata(true)
        .port(port)
        // Nothing is looked up in its forwarding table.
        .learning(false)
        // Packets of nodes that leave the outer checksum out are taken: the inner one remains.
        .udp_zero_csum6_tx(true)
        .udp_zero_csum6_rx(true)
}

fn is_set_up(link: &Link, port: u16) -> bool {
    let wanted = [
        InfoVxlan::CollectMetadata(true),
        InfoVxlan::Port(port),
        InfoVxlan::Learning(false),
        InfoVxlan::UDPZeroCsumRX(true),
    ];
    wanted.iter().all(|wanted| link.vxlan.contains(wanted))
}

/// `rp_filter` is loose: what another node hands over comes from a client that the uplink's route
/// leads to. IPv6 needs no address of its own here and asks nobody for one.
fn prepare() -> Result<(), Error> {
    settings::set_if_present(&interface_v4(OVERLAY_NAME, "rp_filter"), "2")?;
    settings::set_if_present(&interface_v4(OVERLAY_NAME, "forwarding"), "1")?;
    settings::set_if_present(&interface_v6(OVERLAY_NAME, "disable_ipv6"), "0")?;
    for setting in ["accept_ra", "accept_dad"] {
        settings::set_if_present(&interface_v6(OVERLAY_NAME, setting), "0")?;
    }
    settings::set_if_present(&interface_v6(OVERLAY_NAME, "addr_gen_mode"), "1")?;
    settings::set_if_present(&interface_v6(OVERLAY_NAME, "forwarding"), "1")
}

/// Names the remedy where the port has another owner.
fn port_is_taken(port: u16, error: Error) -> Error {
    match error.errno() {
        Some(libc::EADDRINUSE | libc::EEXIST) => Error::OverlayPortTaken { port },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ethernet_address_follows_from_the_underlay_address() {
        let mac = |address: &str| vtep_mac(address.parse().unwrap()).bytes();
        assert_eq!(mac("172.18.0.11"), [0x02, 0x73, 172, 18, 0, 11]);
        assert_eq!(mac("fd00:172:18::a:11"), [0x02, 0x73, 0, 0x0a, 0, 0x11]);
    }

    #[test]
    fn the_overhead_is_that_of_the_outer_family() {
        assert_eq!(vxlan_overhead("172.18.0.11".parse().unwrap()), 20 + 8 + 8 + 14);
        assert_eq!(vxlan_overhead("fd00::1".parse().unwrap()), 40 + 8 + 8 + 14);
    }
}
