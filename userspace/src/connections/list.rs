//! The connections, as `shunt get connections` lists them.

use aya::Pod;
use maps_schema::{
    address::{Address, Protocol},
    connection::{Connection, Direction, FlowKey},
};

use super::{
    judge::{Pair, Phase, socket},
    reaper::now,
};
use crate::{
    api::view::ConnectionView,
    maps::{ConnectionMaps, FamilyConnections, MapsError},
};

/// Every connection, once. The backend of a masqueraded one is its destination; the source port of
/// an ICMP echo is its identifier.
pub fn list(maps: &ConnectionMaps) -> Result<Vec<ConnectionView>, MapsError> {
    let mut views = Vec::new();
    list_family(&maps.v4, &mut views)?;
    list_family(&maps.v6, &mut views)?;
    Ok(views)
}

fn list_family<A: Address>(
    connections: &FamilyConnections<A>,
    views: &mut Vec<ConnectionView>,
) -> Result<(), MapsError>
where
    FlowKey<A>: Pod,
    Connection<A>: Pod,
{
    let now = now();
    connections.for_each(|&(flow, forward)| {
        if forward.direction() == Direction::Reply {
            return;
        }
        let pair = Pair::new(flow, forward, |flow| connections.get(flow));
        let born = Connection::born(&forward, &pair.reply.unwrap_or(forward));
        let end = |address: A, port: u16| socket(address, port).to_string();
        views.push(ConnectionView {
            protocol: protocol_name(flow.protocol()).to_owned(),
            source: end(flow.source, flow.source_port.number()),
            destination: end(flow.destination, flow.destination_port.number()),
            backend: end(forward.destination, forward.destination_port.number()),
            state: phase_name(pair.phase()).to_owned(),
            age_seconds: now.since(born).as_secs(),
            idle_seconds: pair.idle(now).as_secs(),
        });
    })
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::New => "new",
        Phase::Established => "established",
        Phase::Closing => "closing",
        Phase::Closed => "closed",
    }
}

/// A protocol, those of service ports as Kubernetes writes them.
pub(crate) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "TCP",
        Protocol::UDP => "UDP",
        Protocol::SCTP => "SCTP",
        Protocol::ICMP => "ICMP",
        Protocol::ICMPV6 => "ICMPv6",
        _ => "other",
    }
}
