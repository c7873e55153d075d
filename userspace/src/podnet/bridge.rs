//! The bridge: every pod's host end is a port of it, and it has the pods' gateway addresses.

use ipnet::IpNet;
use maps_schema::address::{IfIndex, Mac};
use rtnetlink::{LinkBridge, LinkUnspec, packet_route::link::InfoKind};

use super::{
    Error, PodNet,
    error::gone_is_fine,
    names,
    netlink::{self, Link},
    netns,
    records::{BridgeRecord, NodeRecord, boot_id},
    settings,
};

/// The node's bridge, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its index.
    pub interface: IfIndex,
    /// Its Ethernet address, which does not change with its ports.
    pub mac: Mac,
    /// In bytes, without the Ethernet header; pods have the same.
    pub mtu: u32,
    /// Its addresses, each with the prefix length of the pod CIDR that it is the gateway of.
    pub gateways: Vec<IpNet>,
}

impl Bridge {
    /// The gateway whose CIDR an address is in, or else one of the same family.
    pub(super) fn gateway_for(&self, address: std::net::IpAddr) -> Option<IpNet> {
        let of_family = || {
            let same = |gateway: &&IpNet| gateway.addr().is_ipv4() == address.is_ipv4();
            self.gateways.iter().find(same)
        };
        let around = self.gateways.iter().find(|gateway| gateway.contains(&address));
        around.or_else(of_family).copied()
    }
}

/// The gateway of a pod CIDR: its first address after the network's own, with the CIDR's prefix
/// length. `None` where the CIDR has no second address.
pub fn gateway_of(cidr: IpNet) -> Option<IpNet> {
    let first = match cidr.trunc().network() {
        std::net::IpAddr::V4(network) => {
            u32::from(network).checked_add(1).map(|n| std::net::Ipv4Addr::from(n).into())
        }
        std::net::IpAddr::V6(network) => {
            u128::from(network).checked_add(1).map(|n| std::net::Ipv6Addr::from(n).into())
        }
    }?;
    let gateway = IpNet::new(first, cidr.prefix_len()).ok()?;
    cidr.contains(&first).then_some(gateway)
}

impl PodNet {
    /// Makes the bridge `name`, or takes the one that is there, with `gateways` as its addresses,
    /// and switches on forwarding for their families. What is right already is not touched.
    pub async fn ensure_bridge(&self, name: &str, gateways: &[IpNet]) -> Result<Bridge, Error> {
        check_name(name)?;
        let _one_at_a_time = self.node_lock.lock().await;
        let mut node = self.begin_node_record()?;
        let (link, made) = self.make_or_adopt(&mut node, name).await?;
        for is_ipv4 in [true, false] {
            if gateways.iter().any(|gateway| gateway.addr().is_ipv4() == is_ipv4) {
                self.prepare_family(&mut node, name, made, is_ipv4)?;
            }
        }
        self.set_bridge_addresses(&mut node, name, &link, gateways).await?;
        if !link.up {
            let up = LinkUnspec::new_with_index(link.index).up();
            netlink::change(&self.handle, format!("setting {name} up"), up).await?;
        }
        Ok(Bridge {
            name: name.to_owned(),
            interface: link.interface(),
            mac: link.mac,
            mtu: link.mtu,
            gateways: gateways.to_vec(),
        })
    }

    pub(super) fn begin_node_record(&self) -> Result<NodeRecord, Error> {
        let (netns_cookie, boot_id) = (netns::current_cookie()?, boot_id()?);
        let same =
            |node: &NodeRecord| (node.netns_cookie, &node.boot_id) == (netns_cookie, &boot_id);
        match self.records.node()?.filter(same) {
            Some(node) => Ok(node),
            // What another namespace's record says was made is not in this one.
            None => Ok(NodeRecord { netns_cookie, boot_id, ..NodeRecord::default() }),
        }
    }

    async fn make_or_adopt(
        &self,
        node: &mut NodeRecord,
        name: &str,
    ) -> Result<(Link, bool), Error> {
        let noted = node.bridges.iter().position(|bridge| bridge.name == name);
        let present = netlink::link(&self.handle, name).await?;
        if let Some(link) = &present
            && link.kind != Some(InfoKind::Bridge)
        {
            let kind = link.kind.as_ref().map_or("device".to_owned(), ToString::to_string);
            return Err(Error::NotABridge { name: name.to_owned(), kind });
        }
        let made = match (&present, noted.and_then(|index| node.bridges.get(index))) {
            (None, _) => true,
            (Some(_), Some(record)) => record.made,
            (Some(_), None) => false,
        };
        let record =
            BridgeRecord { name: name.to_owned(), made, addresses: Vec::new(), former_mtu: None };
        match noted.and_then(|index| node.bridges.get_mut(index)) {
            Some(record) => record.made = made,
            None => node.bridges.push(record),
        }
        self.records.write_node(node)?;
        if let Some(link) = present {
            // Setting the address that it has keeps the kernel from taking a port's.
            let keep = LinkUnspec::new_with_index(link.index).address(link.mac.bytes().to_vec());
            if !made {
                netlink::change(&self.handle, format!("fixing the address of {name}"), keep)
                    .await?;
            }
            return Ok((link, made));
        }
        let mac = names::bridge_mac(name, node.netns_cookie).bytes().to_vec();
        // Down, until its IPv6 settings are made.
        let message = LinkBridge::new(name).down().address(mac).build();
        let action = format!("making bridge {name}");
        self.handle.link().add(message).execute().await.map_err(Error::netlink(action.clone()))?;
        let link = netlink::link(&self.handle, name).await?;
        let vanished =
            || Error::kernel::<std::io::Error>(action)(std::io::ErrorKind::NotFound.into());
        Ok((link.ok_or_else(vanished)?, made))
    }

    fn prepare_family(
        &self,
        node: &mut NodeRecord,
        name: &str,
        made: bool,
        is_ipv4: bool,
    ) -> Result<(), Error> {
        if is_ipv4 {
            return settings::set_and_note(&self.records, node, &settings::forward_v4(), "1");
        }
        settings::set_and_note(&self.records, node, &settings::forward_v6(), "1")?;
        for setting in ["accept_ra", "accept_dad"] {
            let path = settings::interface_v6(name, setting);
            if made {
                settings::set_if_present(&path, "0")?;
            } else {
                settings::set_and_note(&self.records, node, &path, "0")?;
            }
        }
        Ok(())
    }

    async fn set_bridge_addresses(
        &self,
        node: &mut NodeRecord,
        name: &str,
        link: &Link,
        gateways: &[IpNet],
    ) -> Result<(), Error> {
        let present = netlink::addresses(&self.handle, link).await?;
        let Some(record) = node.bridges.iter_mut().find(|bridge| bridge.name == name) else {
            return Ok(());
        };
        let is_present = |wanted: &IpNet| present.iter().any(|(address, _)| address == wanted);
        // An address that was there before shunt is not shunt's to remove.
        let ours = |gateway: &&IpNet| record.addresses.contains(gateway) || !is_present(gateway);
        let wanted: Vec<IpNet> = gateways.iter().filter(ours).copied().collect();
        let stale: Vec<IpNet> =
            record.addresses.iter().filter(|old| !gateways.contains(old)).copied().collect();
        record.addresses = wanted.iter().chain(&stale).copied().collect();
        self.records.write_node(node)?;
        for (address, message) in present.iter().filter(|(address, _)| stale.contains(address)) {
            log::info!("bridge={name} removing address={address}");
            let removed = netlink::delete_address(&self.handle, name, message.clone()).await;
            gone_is_fine(removed)?;
        }
        for gateway in gateways.iter().filter(|gateway| !is_present(gateway)) {
            netlink::add_address(&self.handle, name, link, *gateway).await?;
        }
        if stale.is_empty() {
            return Ok(());
        }
        if let Some(record) = node.bridges.iter_mut().find(|bridge| bridge.name == name) {
            record.addresses = wanted;
        }
        self.records.write_node(node)
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let usable = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if usable { Ok(()) } else { Err(Error::BridgeName { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_first_address_of_the_cidr() {
        let of = |cidr: &str| gateway_of(cidr.parse().unwrap()).map(|gateway| gateway.to_string());
        assert_eq!(of("192.168.1.0/24").as_deref(), Some("192.168.1.1/24"));
        assert_eq!(of("192.168.1.77/24").as_deref(), Some("192.168.1.1/24"));
        assert_eq!(of("fd10:1::/64").as_deref(), Some("fd10:1::1/64"));
        assert_eq!(of("192.168.1.1/32"), None);
        assert_eq!(of("255.255.255.255/32"), None);
    }
}
