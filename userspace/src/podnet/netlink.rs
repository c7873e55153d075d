//! The few questions and orders that bridge, host end and pod end have in common.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use maps_schema::address::{IfIndex, Mac};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
        link::{
            InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkFlags,
            LinkInfo, LinkMessage,
        },
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope},
    },
};

use super::{Error, error::exists_is_fine};

/// What shunt wants to know of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) kind: Option<InfoKind>,
    pub(super) mac: Mac,
    /// In bytes, without the Ethernet header.
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// The index of the bridge that it is a port of.
    pub(super) controller: Option<u32>,
    /// The index of a veth's other end, in the other end's namespace.
    pub(super) peer: Option<u32>,
    pub(super) hairpin: bool,
    /// Whether neighbours are not asked for their Ethernet addresses.
    pub(super) noarp: bool,
    /// What a VXLAN device is like.
    pub(super) vxlan: Vec<InfoVxlan>,
}

impl Link {
    pub(super) fn interface(&self) -> IfIndex {
        IfIndex::new(self.index)
    }

    pub(super) fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            noarp: message.header.flags.contains(LinkFlags::Noarp),
            ..Self::default()
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().map(Mac::from_bytes).unwrap_or_default();
                }
                LinkAttribute::LinkInfo(infos) => link.read_infos(infos),
                _ => {}
            }
        }
        link
    }

    fn read_infos(&mut self, infos: &[LinkInfo]) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = Some(kind.clone()),
                LinkInfo::Data(InfoData::Vxlan(vxlan)) => self.vxlan.clone_from(vxlan),
                LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                    self.hairpin = port.contains(&InfoBridgePort::HairpinMode(true));
                }
                _ => {}
            }
        }
    }
}

/// The interface of a name, where there is one.
pub(super) async fn link(handle: &Handle, name: &str) -> Result<Option<Link>, Error> {
    let mut answers = Box::pin(handle.link().get().match_name(name).execute());
    match answers.try_next().await.map_err(Error::netlink(format!("looking up interface {name}"))) {
        Ok(message) => Ok(message.as_ref().map(Link::read)),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Changes an interface as `ip link set` does.
pub(super) async fn change(
    handle: &Handle,
    action: String,
    message: LinkMessageBuilder<LinkUnspec>,
) -> Result<(), Error> {
    handle.link().change(message.build()).execute().await.map_err(Error::netlink(action))
}

/// Removes an interface.
pub(super) async fn delete(handle: &Handle, name: &str, link: &Link) -> Result<(), Error> {
    let action = format!("removing interface {name}");
    handle.link().del(link.index).execute().await.map_err(Error::netlink(action))
}

/// Whether any interface is in a group.
pub(super) async fn group_has_members(handle: &Handle, group: u32) -> Result<bool, Error> {
    let answers = handle.link().get().execute();
    let links: Vec<LinkMessage> =
        answers.try_collect().await.map_err(Error::netlink("reading the interfaces"))?;
    let member = |link: &LinkMessage| link.attributes.contains(&LinkAttribute::Group(group));
    Ok(links.iter().any(member))
}

/// Removes every interface of a group at one time.
pub(super) async fn delete_group(handle: &Handle, group: u32) -> Result<(), Error> {
    let message = LinkMessageBuilder::<LinkUnspec>::new().link_group(group).build();
    let action = format!("removing the interfaces of group {group}");
    handle.link().del_with_message(message).execute().await.map_err(Error::netlink(action))
}

/// The addresses of an interface, as messages that also serve to remove them.
pub(super) async fn addresses(
    handle: &Handle,
    link: &Link,
) -> Result<Vec<(IpNet, AddressMessage)>, Error> {
    let all = handle.address().get().set_link_index_filter(link.index).execute();
    let all: Vec<AddressMessage> =
        all.try_collect().await.map_err(Error::netlink("reading the addresses of an interface"))?;
    let with_address = |message: AddressMessage| {
        let of = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        };
        let address = message.attributes.iter().find_map(of)?;
        Some((IpNet::new(address, message.header.prefix_len).ok()?, message))
    };
    Ok(all.into_iter().filter_map(with_address).collect())
}

/// Adds an address, usable at once: IPv6 without duplicate address detection, which would take a
/// second.
pub(super) async fn add_address(
    handle: &Handle,
    name: &str,
    link: &Link,
    address: IpNet,
) -> Result<(), Error> {
    let mut request = handle.address().add(link.index, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        let message = request.message_mut();
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let action = format!("adding address {address} to {name}");
    exists_is_fine(request.execute().await.map_err(Error::netlink(action)))
}

/// Removes an address.
pub(super) async fn delete_address(
    handle: &Handle,
    name: &str,
    address: AddressMessage,
) -> Result<(), Error> {
    let action = format!("removing an address from {name}");
    handle.address().del(address).execute().await.map_err(Error::netlink(action))
}

/// A route to `destination` over an interface: through `gateway`, or to its own neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    /// The index of the interface.
    pub(super) output: u32,
}

impl Route {
    fn message(self) -> RouteMessage {
        let length = self.destination.prefix_len();
        let mut message = match self.destination.addr() {
            IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(address, length)
                .output_interface(self.output)
                .build(),
            IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(address, length)
                .output_interface(self.output)
                .build(),
        };
        match self.gateway {
            Some(gateway) => message.attributes.push(RouteAttribute::Gateway(gateway.into())),
            None if self.destination.addr().is_ipv4() => message.header.scope = RouteScope::Link,
            None => {}
        }
        message
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let unspecified = match message.header.address_family {
            rtnetlink::packet_route::AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            rtnetlink::packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (mut destination, mut gateway, mut output) = (unspecified, None, None);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => gateway = ip(address),
                RouteAttribute::Oif(index) => output = Some(*index),
                _ => {}
            }
        }
        let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
        Some(Self { destination, gateway, output: output? })
    }
}

/// A route's address as the standard library knows it.
pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The main table's routes of both families.
pub(super) async fn routes(handle: &Handle) -> Result<Vec<Route>, Error> {
    Ok(route_messages(handle).await?.iter().filter_map(Route::read).collect())
}

/// The main table's routes of both families, with all that the kernel says of them.
pub(super) async fn route_messages(handle: &Handle) -> Result<Vec<RouteMessage>, Error> {
    let questions = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    let mut routes = Vec::new();
    for question in questions {
        let answers = handle.route().get(question).execute();
        let messages: Vec<RouteMessage> =
            answers.try_collect().await.map_err(Error::netlink("reading the routes"))?;
        let main = |message: &RouteMessage| message.header.table == RouteHeader::RT_TABLE_MAIN;
        routes.extend(messages.into_iter().filter(main));
    }
    Ok(routes)
}

/// Adds a route, in place of another one to the same destination.
pub(super) async fn put_route(handle: &Handle, route: Route) -> Result<(), Error> {
    let action = format!("adding the route to {}", route.destination);
    handle.route().add(route.message()).replace().execute().await.map_err(Error::netlink(action))
}

/// Removes a route.
pub(super) async fn delete_route(handle: &Handle, route: Route) -> Result<(), Error> {
    let action = format!("removing the route to {}", route.destination);
    handle.route().del(route.message()).execute().await.map_err(Error::netlink(action))
}
