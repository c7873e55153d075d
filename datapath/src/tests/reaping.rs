//! Reaping removes what was judged, and nothing else.

use maps_schema::{
    address::{IfIndex, Ipv4Wire, PodLink, Port, Protocol},
    connection::{Connection, Direction, FlowKey, State},
    reap::ReapRequest,
    way::Way,
};

use super::connections::{World, world};
use crate::{reap::reap, tables::Tables};

fn request(flow: &FlowKey<Ipv4Wire>, world: &World) -> ReapRequest {
    let entry = world.node.v4.peek_connection(flow).unwrap();
    let mate_flow = entry.rewritten(flow.protocol()).reverse();
    let mate = world.node.v4.peek_connection(&mate_flow);
    ReapRequest::new(flow, &entry, mate.as_ref(), ReapRequest::BOTH)
}

/// The entries' keys, the client's first.
fn keys(world: &World) -> Vec<FlowKey<Ipv4Wire>> {
    let connections = world.node.v4.connections.borrow();
    let mut keys: Vec<_> = connections.iter().collect();
    keys.sort_by_key(|(_, entry)| entry.direction() == Direction::Reply);
    keys.into_iter().map(|(key, _)| *key).collect()
}

#[test]
fn an_idle_flow_is_removed_whichever_entry_names_it() {
    for index in [0, 1] {
        let world = world();
        world.udp_request(4000);
        let request = request(&keys(&world)[index], &world);
        assert!(reap(&ReapRequest::from_bytes(request.to_bytes()), &world.node.v4));
        assert!(world.node.v4.connections.borrow().is_empty());
        assert!(!reap(&request, &world.node.v4), "there is nothing left to remove");
    }
}

#[test]
fn one_entry_is_removed_alone_where_only_that_is_asked() {
    let world = world();
    world.udp_request(4000);
    let keys_before = keys(&world);
    let one = ReapRequest { scope: ReapRequest::ONE, ..request(&keys_before[0], &world) };
    assert!(reap(&ReapRequest::from_bytes(one.to_bytes()), &world.node.v4));
    assert_eq!(keys(&world), keys_before[1..]);
}

#[test]
fn a_flow_that_was_seen_since_stays() {
    let world = world();
    world.udp_request(4000);
    for index in [0, 1] {
        let request = request(&keys(&world)[index], &world);
        world.node.script.set_time(2000 + index as u64);
        world.udp_request(4000);
        assert!(!reap(&request, &world.node.v4), "judged by entry {index}");
        assert_eq!(keys(&world).len(), 2);
    }
}

#[test]
fn half_a_pair_is_removed() {
    let world = world();
    world.udp_request(4000);
    let keys = keys(&world);
    world.node.v4.remove_connection(&keys[1]);
    assert!(reap(&request(&keys[0], &world), &world.node.v4));
    assert!(world.node.v4.connections.borrow().is_empty());
}

#[test]
fn an_entry_of_another_flow_is_not_removed() {
    let world = world();
    world.udp_request(4000);
    let keys = keys(&world);
    let forward = world.node.v4.peek_connection(&keys[0]).unwrap();
    let reply = world.node.v4.peek_connection(&keys[1]).unwrap();
    // The reply's key belongs to another client's flow by now.
    let other = FlowKey::new(
        Ipv4Wire::from_bytes([10, 96, 0, 99]),
        Port::new(1),
        Ipv4Wire::from_bytes([10, 244, 0, 99]),
        Port::new(2),
        Protocol::UDP,
    );
    let link = PodLink { interface: IfIndex::new(1), ..PodLink::default() };
    let origin = maps_schema::connection::FlowOrigin {
        service: reply.service(),
        born: Connection::born(&forward, &reply),
    };
    let foreign = Connection::new(&other, Way::Pod(link), origin, Direction::Reply, State::NONE);
    world.node.v4.connections.borrow_mut().insert(keys[1], foreign);
    assert!(reap(&request(&keys[0], &world), &world.node.v4));
    let connections = world.node.v4.connections.borrow();
    assert_eq!(connections.keys().collect::<Vec<_>>(), [&keys[1]]);
}
