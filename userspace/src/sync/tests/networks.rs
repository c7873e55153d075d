//! Nodes come, go and move; networks lead to others; endpoints are sent to by the ways that there
//! are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use maps_schema::{
    maps::MAX_NODES,
    service::{Audience, ClientAddress},
    way::{Node, NodeId},
};

use super::{
    fake::Fake,
    world::{Leads, World, cluster_ip, endpoint, link, name, names, node, port, service},
};
use crate::{
    compile::EndpointList,
    sync::{Sync, pool::GRACE},
};

fn with_networks(networks: &[(&str, Leads)], nodes: &[(&str, Node)]) -> World {
    let mut world = World::with([("a", service("a", &[1], &[(80, &[1, 4])]))]);
    world.nodes = nodes.iter().map(|&(name, node)| (name.to_owned(), node)).collect();
    world.networks =
        networks.iter().map(|(network, leads)| (network.parse().unwrap(), leads.clone())).collect();
    world.has_uplink = true;
    world
}

fn in_force(world: &World) -> Sync<Fake> {
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
    sync.assert_is(world);
    sync
}

#[test]
fn a_change_of_the_way_names_the_endpoints_that_it_concerns() {
    let two = ("two", node(2, 1));
    let before = with_networks(&[("192.168.0.0/30", Leads::To("two"))], &[two]);
    let mut sync = in_force(&before);
    assert_eq!(sync.surround(&before).unwrap(), BTreeSet::new());
    let mut after = with_networks(
        &[("192.168.0.0/30", Leads::To("two")), ("192.168.0.4/30", Leads::To("two"))],
        &[two],
    );
    assert_eq!(sync.surround(&after).unwrap(), BTreeSet::from([endpoint(4)]));
    sync.become_world(&BTreeSet::new(), &after);
    after.pods.insert(endpoint(1), link(3));
    assert_eq!(sync.surround(&after).unwrap(), BTreeSet::from([endpoint(1)]));
    sync.become_world(&BTreeSet::new(), &after);
    after.networks.clear();
    assert_eq!(sync.surround(&after).unwrap(), BTreeSet::from([endpoint(4)]));
    sync.become_world(&BTreeSet::new(), &after);
    after.has_uplink = false;
    assert_eq!(sync.surround(&after).unwrap(), BTreeSet::from([endpoint(4)]));
}

#[test]
fn a_node_keeps_its_number_when_it_moves_and_over_a_restart() {
    let (here, there) = (("two", node(2, 1)), ("two", node(2, 7)));
    let networks = [("192.168.0.0/30", Leads::To("two"))];
    let mut sync = in_force(&with_networks(&networks, &[("one", node(1, 1)), here]));
    let number = sync.number_of(&here.1);
    assert!(number.is_some());
    let after = with_networks(&networks, &[there]);
    sync.become_world(&BTreeSet::new(), &after);
    sync.assert_is(&after);
    assert_eq!(sync.number_of(&there.1), number);
    let sync = sync.assert_settles(&after);
    assert_eq!((sync.number_of(&there.1), sync.changes()), (number, 0));
}

#[test]
fn a_number_is_not_another_nodes_soon() {
    let mut sync = in_force(&with_networks(&[], &[("one", node(1, 1))]));
    let number = sync.number_of(&node(1, 1));
    for it in 2..9 {
        sync.pass(GRACE);
        let world = with_networks(&[], &[("other", node(it, 1))]);
        // Another node under the same name is told by its address only after a restart.
        sync.become_world(&BTreeSet::new(), &with_networks(&[], &[]));
        sync.become_world(&BTreeSet::new(), &world);
        assert_ne!(sync.number_of(&node(it, 1)), number);
    }
}

#[test]
fn nodes_that_do_not_fit_have_no_number_until_others_have_rested() {
    let many = |from: u32| -> BTreeMap<String, Node> {
        let node = |it: u32| {
            let [_, _, high, low] = it.to_be_bytes();
            (format!("n{it:05}"), node(low, high))
        };
        (from..from + MAX_NODES).map(node).collect()
    };
    let mut sync = Sync::new(Fake::roomy()).unwrap();
    let ids = sync.set_nodes(&many(0), sync.tables.now).unwrap();
    let numbers: BTreeSet<NodeId> = ids.values().copied().collect();
    assert_eq!(numbers.len(), MAX_NODES as usize - 1, "zero is no node's");
    assert!(!numbers.contains(&NodeId(0)));
    sync.apply([], sync.tables.now);
    sync.set_nodes(&BTreeMap::new(), sync.tables.now).unwrap();
    sync.apply([], sync.tables.now);
    assert!(sync.set_nodes(&many(0), sync.tables.now).unwrap().is_empty());
    sync.pass(Duration::from_hours(1));
    assert_eq!(sync.set_nodes(&many(0), sync.tables.now).unwrap().len(), numbers.len());
}

#[test]
fn what_a_former_agent_knew_of_nodes_stays_until_recovery_is_finished() {
    let two = ("two", node(2, 1));
    let networks = [("192.168.0.0/30", Leads::To("two")), ("0.0.0.0/0", Leads::Outside)];
    let before = in_force(&with_networks(&networks, &[two]));
    let mut after = before.restarted();
    let world = with_networks(&[], &[]);
    after.surround(&world).unwrap();
    after.apply([(&name("a"), world.services.get(&name("a")))], after.tables.now);
    assert_eq!(after.tables.networks.len(), 1, "the node's, and not that to the outside");
    assert_eq!(after.tables.nodes.len(), 1);
    let led_astray = after.finish_recovery(after.tables.now).unwrap();
    assert_eq!(led_astray, BTreeSet::from([endpoint(1)]));
    assert!(after.become_world(&BTreeSet::new(), &world).is_empty());
    after.assert_is(&world);
}

#[test]
fn an_external_address_of_the_node_is_the_nodes() {
    let mut world = World::with([("a", service("a", &[1, 2], &[(80, &[1])]))]);
    let mut sync = in_force(&world);
    world.node_addresses = BTreeSet::from([cluster_ip(2), IpAddr::from([172, 18, 0, 1])]);
    sync.become_world(&BTreeSet::new(), &world);
    sync.assert_is(&world);
    let mut sync = sync.assert_settles(&world);
    world.node_addresses.clear();
    sync.become_world(&BTreeSet::new(), &world);
    sync.assert_is(&world);
    sync.become_world(&names(&world), &World::default());
    sync.assert_is(&World::default());
}

#[test]
fn a_frontend_passes_between_the_lists_of_its_port_in_one_store() {
    use Audience::{Inside, Outside};
    use ClientAddress::{Kept, Masqueraded};
    use EndpointList::{Cluster, Local};
    let compiled = |ports| crate::compile::CompiledService {
        addresses: vec![cluster_ip(1)],
        ports,
        ..Default::default()
    };
    let all = [(Inside, Masqueraded), (Outside, Masqueraded)];
    let everywhere = compiled(vec![port("a", &[1], Cluster, &all, 80, &[1, 2, 3])]);
    let split = compiled(vec![
        port("a", &[1], Cluster, &[(Inside, Kept)], 80, &[1, 2, 3, 4]),
        port("a", &[1], Local, &[(Outside, Kept)], 80, &[1, 2]),
    ]);
    let (everywhere, split) = (World::with([("a", everywhere)]), World::with([("a", split)]));
    let mut sync = in_force(&everywhere);
    for world in [&split, &everywhere, &split] {
        assert!(sync.become_world(&BTreeSet::new(), world).is_empty());
        sync.assert_is(world);
        sync.pass(GRACE);
    }
    let before: Vec<_> = sync.tables.frontends.clone().into_iter().collect();
    let sync = sync.assert_settles(&split);
    assert_eq!(sync.changes(), 0);
    assert_eq!(sync.tables.frontends.clone().into_iter().collect::<Vec<_>>(), before);
}
