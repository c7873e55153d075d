//! Hearing from the kernel when an interface is taken away or changes, or an address of one does.

use futures_util::{Stream, StreamExt, future};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::AddressMessage,
        link::{LinkAttribute, LinkMessage},
    },
};

use super::{
    Error,
    names::is_host_interface_name,
    uplinks::{address, is_node_address},
};

/// A reason to reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The interface is gone, or is no port of its bridge any more. Interfaces that shunt removed
    /// itself are told too.
    Vanished(String),
    /// The interface is new, or has changed: it went up or down, or has another name. The pods' ends
    /// are not told.
    Changed(String),
    /// An interface has got or lost an address, or something of an address has changed, as its
    /// lifetime. Addresses that mean the node to nobody else are not told: of loopback, and
    /// link-local ones of IPv6.
    Addresses,
    /// The kernel had more to tell than it could: anything may have happened.
    Missed,
}

/// The events of the calling thread's network namespace from now on. To be called in a tokio
/// runtime.
pub fn watch_links() -> Result<impl Stream<Item = LinkEvent> + Unpin + use<>, Error> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups).map_err(
        Error::kernel("subscribing to changes of interfaces (RTNLGRP_LINK, RTNLGRP_*_IFADDR)"),
    )?;
    tokio::spawn(connection);
    Ok(messages.filter_map(|(message, _)| future::ready(event(&message))))
}

fn event(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<LinkEvent> {
    match &message.payload {
        NetlinkPayload::Overrun(_) => Some(LinkEvent::Missed),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            name(link).map(|name| LinkEvent::Vanished(name.clone()))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            let name = name(link).filter(|name| !is_host_interface_name(name));
            name.map(|name| LinkEvent::Changed(name.clone()))
        }
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
        ) => concerns_the_node(address).then_some(LinkEvent::Addresses),
        _ => None,
    }
}

/// Each pod's interface on the node gets a link-local address: most of what is told.
fn concerns_the_node(message: &AddressMessage) -> bool {
    address(message).is_some_and(is_node_address)
}

fn name(link: &LinkMessage) -> Option<&String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}
