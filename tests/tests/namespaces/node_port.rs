//! The outside reaches Services through NodePorts, load balancers' and external addresses, and
//! ClusterIPs, whichever node it comes to.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tests::{
    manifests,
    one_node::{TARGET_PORT, WEB, web},
    topology::{
        DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, bridge,
        vips::{EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::{Answer, Protocol, client, from_port, server::Server},
    wait,
};

/// A pod `a` of Service `web` on the second node alone, and `client` on the first.
struct Cluster {
    stage: Topology,
    a: Pod,
    client: Pod,
    _servers: [Server; 2],
}

fn cluster(routing: [&str; 2], change: impl Fn(Value) -> Value) -> Option<Cluster> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let (a, client) = (stage.add_pod("a", 1, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(|service| change(exposed(service)));
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some(Cluster { stage, a, client, _servers: servers })
}

fn expect(answer: std::io::Result<Answer>, what: &str) -> Answer {
    answer.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Asks from the outside; `seen` is what the pod shall see, IPv4 first.
fn assert_answers(stage: &Topology, targets: [SocketAddr; 2], seen: [IpAddr; 2]) {
    for (target, seen) in targets.into_iter().zip(seen) {
        for protocol in Protocol::ALL {
            for _ in 0..3 {
                let what = format!("{protocol:?} to {target}");
                let answer = expect(stage.ask_from_outside(protocol, target), &what);
                assert_eq!((answer.server.as_str(), answer.client.ip()), ("a", seen), "{what}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_port_works_on_nodes_with_and_without_a_backend_through_the_overlay() {
    let Some(cluster) = cluster(VXLAN, |service| service) else { return };
    // The backend answers to the first node's bridge, whose address leads through the overlay.
    assert_answers(&cluster.stage, cluster.stage.node_port(0), bridge(0));
    assert_answers(&cluster.stage, cluster.stage.node_port(1), bridge(1));
}

#[test]
#[ignore = "needs root"]
fn a_node_port_works_on_nodes_with_and_without_a_backend_by_direct_routes() {
    let Some(cluster) = cluster(DIRECT, |service| service) else { return };
    assert_answers(&cluster.stage, cluster.stage.node_port(0), addresses::node(0));
    assert_answers(&cluster.stage, cluster.stage.node_port(1), bridge(1));
}

fn assert_local_policy_keeps_the_client(routing: [&str; 2]) {
    let Some(cluster) = cluster(routing, manifests::with_local_external_policy) else { return };
    let stage = &cluster.stage;
    assert_answers(stage, stage.node_port(1), addresses::outside());
    for (target, own) in stage.node_port(0).into_iter().zip(cluster.client.addresses) {
        let before = stage.agent(0).drops("no-local-endpoints");
        for protocol in Protocol::ALL {
            let patience = Duration::from_millis(300);
            let answer =
                stage.network.outside().run(|| client::ask_within(protocol, target, patience));
            let error = answer.expect_err("the first node has no local endpoint");
            assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}");
            // From inside all endpoints serve, and see the client.
            let answer = expect(cluster.client.ask(protocol, target), "from inside");
            assert_eq!((answer.server.as_str(), answer.client.ip()), ("a", own));
        }
        assert!(stage.agent(0).drops("no-local-endpoints") >= before + 2, "{target}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_local_policy_shows_the_clients_address_and_drops_where_no_backend_is() {
    assert_local_policy_keeps_the_client(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn a_local_policy_does_so_with_direct_routes_too() {
    assert_local_policy_keeps_the_client(DIRECT);
}

#[test]
#[ignore = "needs root"]
fn load_balancer_external_and_cluster_addresses_work_from_outside() {
    let Some(cluster) = cluster(VXLAN, |service| service) else { return };
    for vips in [LOAD_BALANCER, EXTERNAL, WEB] {
        for node in 0..2 {
            cluster.stage.route_to(vips, &[node]);
            assert_answers(&cluster.stage, targets(vips), bridge(node));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn pods_and_nodes_reach_all_of_a_services_addresses() {
    let Some(cluster) = cluster(VXLAN, |service| service) else { return };
    let stage = &cluster.stage;
    let all = [targets(LOAD_BALANCER), targets(EXTERNAL), stage.node_port(0), stage.node_port(1)];
    for target in all.into_iter().flatten() {
        for protocol in Protocol::ALL {
            let what = format!("{protocol:?} to {target}");
            assert_eq!(expect(cluster.client.ask(protocol, target), &what).server, "a");
            // The backend itself, too.
            assert_eq!(expect(cluster.a.ask(protocol, target), &what).server, "a");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_port_without_endpoints_refuses_and_an_unused_port_is_the_nodes() {
    let Some(cluster) = cluster(VXLAN, |service| service) else { return };
    let stage = &cluster.stage;
    let _server = stage.serve_on_node(0, "node", 9090);
    for target in stage.node_port(0) {
        let other = SocketAddr::new(target.ip(), 9090);
        let answer = expect(stage.ask_from_outside(Protocol::Tcp, other), "the node's own server");
        assert_eq!(answer.client.ip(), addresses::of_family(addresses::outside(), target.ip()));
    }
    stage.remove_pod("a");
    stage.wait_for_web(&[]);
    for target in stage.node_port(0) {
        for protocol in Protocol::ALL {
            let error = stage.ask_from_outside(protocol, target).expect_err("no endpoint");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn errors_of_a_backend_reach_clients_outside_and_on_other_nodes() {
    for routing in [VXLAN, DIRECT] {
        std::thread::spawn(move || {
            let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
            // Nobody listens in this pod: its kernel refuses.
            let a = stage.add_pod("a", 1, "web");
            let client = stage.add_pod("client", 0, "client");
            stage.write_web(exposed);
            stage.network.announce_pods();
            stage.start(&routing);
            stage.wait_for_web(&a.addresses);
            a.netns();
            for protocol in Protocol::ALL {
                for target in stage.node_port(0).into_iter().chain(stage.node_port(1)) {
                    let error = stage.ask_from_outside(protocol, target).expect_err("refused");
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}");
                }
                for target in web() {
                    let error = client.ask(protocol, target).expect_err("refused");
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}");
                }
            }
        })
        .join()
        .expect("both modes translate errors");
    }
}

#[test]
#[ignore = "needs root"]
fn pods_on_the_network_of_their_node_are_backends() {
    for routing in [VXLAN, DIRECT] {
        std::thread::spawn(move || {
            let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
            stage.add_host_pod("host", 1, "web");
            let clients = [0, 1].map(|node| stage.add_pod(&format!("c{node}"), node, "client"));
            stage.write_web(exposed);
            stage.network.announce_pods();
            stage.start(&routing);
            stage.wait_for_web(&addresses::node(1));
            let _servers = stage.serve_on_node(1, "host", TARGET_PORT);
            for protocol in Protocol::ALL {
                for target in stage.node_port(0).into_iter().chain(stage.node_port(1)) {
                    let what = format!("{routing:?} {protocol:?} outside to {target}");
                    let answer = expect(stage.ask_from_outside(protocol, target), &what);
                    assert_eq!(answer.server, "host");
                    // A node that is the backend itself sees who asks, and answers by itself.
                    let outside = addresses::outside();
                    let is_the_backend = stage.node_port(1).contains(&target);
                    let sees_client = outside.contains(&answer.client.ip());
                    assert_eq!(sees_client, is_the_backend, "{what}: {answer:?}");
                }
                for target in web() {
                    for client in &clients {
                        // A UDP server on any address answers a pod of its own node from the
                        // bridge's, which nobody has asked.
                        if client.node == 1 && protocol == Protocol::Udp {
                            continue;
                        }
                        let what = format!("{routing:?} {protocol:?} {} to {target}", client.name);
                        assert_eq!(expect(client.ask(protocol, target), &what).server, "host");
                    }
                }
            }
        })
        .join()
        .expect("both modes reach them");
    }
}

#[test]
#[ignore = "needs root"]
fn a_local_policy_shows_a_host_network_backend_the_client() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    stage.add_host_pod("host", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| manifests::with_local_external_policy(exposed(service)));
    stage.start(&VXLAN);
    stage.wait_for_web(&addresses::node(1));
    let _servers = stage.serve_on_node(1, "host", TARGET_PORT);
    for (target, seen) in stage.node_port(1).into_iter().zip(addresses::outside()) {
        for protocol in Protocol::ALL {
            let answer = expect(stage.ask_from_outside(protocol, target), "the local backend");
            assert_eq!((answer.server.as_str(), answer.client.ip()), ("host", seen));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn two_nodes_choose_the_same_backend_for_one_flow() {
    let Some(mut stage) = Topology::new(Layout::routed(3)) else { return };
    let pods: Vec<Pod> =
        (0..6).map(|number| stage.add_pod(&format!("web-{number}"), number % 3, "web")).collect();
    stage.write_web(exposed);
    stage.start(&VXLAN);
    let all: Vec<IpAddr> = pods.iter().flat_map(|pod| pod.addresses).collect();
    stage.wait_for_web(&all);
    let _servers: Vec<[Server; 2]> = pods.iter().map(Pod::serve).collect();
    for target in targets(LOAD_BALANCER) {
        for protocol in Protocol::ALL {
            let choices = [0, 1].map(|node| {
                stage.route_to(LOAD_BALANCER, &[node]);
                let ask = |port| from_port::ask(protocol, port, target).expect("an answer").server;
                stage.network.outside().run(|| (40_000..40_060).map(ask).collect::<Vec<_>>())
            });
            assert_eq!(choices[0], choices[1], "{protocol:?} {target}");
            let servers: BTreeSet<&String> = choices[0].iter().collect();
            assert!(servers.len() >= 5, "{servers:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_port_follows_its_manifest() {
    let Some(cluster) = cluster(VXLAN, |service| service) else { return };
    let stage = &cluster.stage;
    let moved = NODE_PORT + 1;
    let change = |service| manifests::with_node_ports(service, &[moved, moved]);
    stage.write_web(change);
    let [old, _] = stage.node_port(0);
    let new = SocketAddr::new(old.ip(), moved);
    wait::until("the new node port", wait::PATIENCE, || {
        stage.ask_from_outside(Protocol::Tcp, new).map_err(|error| error.to_string())
    });
    wait::until("the old node port's end", wait::PATIENCE, || {
        match stage.ask_from_outside(Protocol::Tcp, old) {
            Ok(answer) => Err(format!("{answer:?}")),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    });
}
