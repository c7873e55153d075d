//! Hearing from the kernel when one of shunt's interfaces is taken away.

use futures_util::{Stream, StreamExt, future};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{RouteNetlinkMessage, link::LinkAttribute},
};

use super::{Error, names::is_host_interface_name, overlay::OVERLAY_NAME};

/// A reason to reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The interface is gone, or is no port of its bridge any more. Interfaces that shunt removed
    /// itself are told too.
    Vanished(String),
    /// The kernel had more to tell than it could: anything may have happened.
    Missed,
}

/// The events of the calling thread's network namespace from now on, of `bridge`, of the overlay
/// device and of everything that is named as shunt names pods' host ends. To be called in a tokio runtime.
pub fn watch_links(bridge: &str) -> Result<impl Stream<Item = LinkEvent> + Unpin + use<>, Error> {
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
        .map_err(Error::kernel("subscribing to changes of interfaces (RTNLGRP_LINK)"))?;
    tokio::spawn(connection);
    let bridge = bridge.to_owned();
    Ok(messages.filter_map(move |(message, _)| future::ready(event(&bridge, &message))))
}

fn event(bridge: &str, message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<LinkEvent> {
    match &message.payload {
        NetlinkPayload::Overrun(_) => Some(LinkEvent::Missed),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })?;
            let ours = name == bridge || name == OVERLAY_NAME || is_host_interface_name(name);
            ours.then(|| LinkEvent::Vanished(name.clone()))
        }
        _ => None,
    }
}
