//! The pod's side of its network: `lo`, its interface, addresses and routes, made from inside of its
//! namespace.

use std::net::IpAddr;

use ipnet::IpNet;
use maps_schema::address::Mac;
use rtnetlink::{Handle, LinkUnspec, packet_route::link::InfoKind};

use super::{
    Error,
    error::gone_is_fine,
    netlink::{self, Link, Route},
    settings,
};
use crate::cluster::model::ObjectName;

/// What the pod's side shall be.
#[derive(Clone, Debug)]
pub(super) struct PodEnd {
    pub(super) pod: ObjectName,
    /// Its interface.
    pub(super) interface: String,
    /// The indices of the host end, and of the interface that it says is its peer.
    pub(super) host_index: u32,
    pub(super) host_peer: Option<u32>,
    pub(super) mtu: u32,
    pub(super) addresses: Vec<IpNet>,
    /// Addresses that shunt gave it before and that it shall not have any more.
    pub(super) stale: Vec<IpAddr>,
    /// At most one per family, each with whether it must be made reachable by a route of its own.
    pub(super) gateways: Vec<(IpAddr, bool)>,
}

/// What was found or made.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Ready(Mac),
    /// There is no interface that is the host end's peer; the flag says whether there is another.
    NotThePeer {
        another: bool,
    },
}

/// To be run inside of the pod's namespace.
pub(super) async fn configure(handle: Handle, end: PodEnd) -> Result<Outcome, Error> {
    let at = |what: &str| format!("pod {}: {what}", end.pod);
    if let Some(lo) = netlink::link(&handle, "lo").await?.filter(|lo| !lo.up) {
        let up = LinkUnspec::new_with_index(lo.index).up();
        netlink::change(&handle, at("setting lo up"), up).await?;
    }
    let name = end.interface.as_str();
    let Some(link) = netlink::link(&handle, name).await? else {
        return Ok(Outcome::NotThePeer { another: false });
    };
    if !end.is(&link) {
        return Ok(Outcome::NotThePeer { another: true });
    }
    for setting in ["accept_ra", "accept_dad"] {
        settings::set_if_present(&settings::interface_v6(name, setting), "0")?;
    }
    if link.mtu != end.mtu {
        let mtu = LinkUnspec::new_with_index(link.index).mtu(end.mtu);
        netlink::change(&handle, at(&format!("setting the MTU of {name}")), mtu).await?;
    }
    if !link.up {
        let up = LinkUnspec::new_with_index(link.index).up();
        netlink::change(&handle, at(&format!("setting {name} up")), up).await?;
    }
    set_addresses(&handle, &link, &end).await?;
    set_routes(&handle, &link, &end).await?;
    Ok(Outcome::Ready(link.mac))
}

async fn set_addresses(handle: &Handle, link: &Link, end: &PodEnd) -> Result<(), Error> {
    let name = format!("{} of pod {}", end.interface, end.pod);
    let present = netlink::addresses(handle, link).await?;
    for (address, message) in &present {
        let same_address = |wanted: &IpNet| wanted.addr() == address.addr();
        let other_prefix =
            end.addresses.iter().any(same_address) && !end.addresses.contains(address);
        if other_prefix || end.stale.contains(&address.addr()) {
            let removed = netlink::delete_address(handle, &name, message.clone()).await;
            gone_is_fine(removed)?;
        }
    }
    for wanted in &end.addresses {
        if !present.iter().any(|(address, _)| address == wanted) {
            netlink::add_address(handle, &name, link, *wanted).await?;
        }
    }
    Ok(())
}

async fn set_routes(handle: &Handle, link: &Link, end: &PodEnd) -> Result<(), Error> {
    let present = netlink::routes(handle).await?;
    for route in end.routes(link.index) {
        if !present.contains(&route) {
            netlink::put_route(handle, route).await?;
        }
    }
    Ok(())
}

impl PodEnd {
    /// Whether an interface of the pod's namespace is the peer of the host end.
    pub(super) fn is(&self, link: &Link) -> bool {
        link.kind == Some(InfoKind::Veth)
            && link.peer == Some(self.host_index)
            && self.host_peer == Some(link.index)
    }

    /// The routes over its interface: by default, and to gateways that are not in its networks.
    pub(super) fn routes(&self, output: u32) -> impl Iterator<Item = Route> {
        self.gateways.iter().flat_map(move |&(gateway, on_link)| {
            let to_gateway = Route { destination: gateway.into(), gateway: None, output };
            let everywhere = IpNet::new_assert(unspecified_like(gateway), 0);
            let default = Route { destination: everywhere, gateway: Some(gateway), output };
            on_link.then_some(to_gateway).into_iter().chain([default])
        })
    }
}

fn unspecified_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What is missing of the pod's side, if anything; to be run inside of the pod's namespace.
pub(super) async fn find_missing(handle: Handle, end: PodEnd) -> Result<Option<String>, Error> {
    let name = &end.interface;
    let link = netlink::link(&handle, name).await?;
    let Some(link) = link.filter(|link| end.is(link) && link.up) else {
        return Ok(Some(format!("interface {name}, up, in its namespace")));
    };
    let present = netlink::addresses(&handle, &link).await?;
    let is_missing = |wanted: &&IpNet| !present.iter().any(|(address, _)| address == *wanted);
    if let Some(address) = end.addresses.iter().find(is_missing) {
        return Ok(Some(format!("address {address} of {name}")));
    }
    let present = netlink::routes(&handle).await?;
    let missing = end.routes(link.index).find(|route| !present.contains(route));
    Ok(missing.map(|route| format!("the route to {} by {name}", route.destination)))
}

/// The addresses that `eth0` has, link-local ones aside; to be run inside of the pod's namespace.
pub(super) async fn addresses(handle: Handle) -> Result<Vec<IpAddr>, Error> {
    let Some(link) = netlink::link(&handle, "eth0").await? else {
        return Ok(Vec::new());
    };
    let present = netlink::addresses(&handle, &link).await?;
    let own = present.into_iter().map(|(address, _)| address.addr());
    Ok(own.filter(|address| !is_link_local(*address)).collect())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
