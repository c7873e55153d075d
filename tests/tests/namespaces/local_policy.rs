//! Local policies on two nodes that both have an endpoint: who answers, and whom it sees.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tests::{
    manifests,
    netns::NetNamespace,
    one_node::{WEB, web},
    topology::{
        DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, bridge,
        vips::{LOAD_BALANCER, targets},
    },
    traffic::{Protocol, client, server::Server},
};

/// Pods `pod-0` and `pod-1` of Service `web`, and a client beside each.
struct Cluster {
    stage: Topology,
    clients: [Pod; 2],
    _servers: [[Server; 2]; 2],
}

fn cluster(routing: [&str; 2]) -> Option<Cluster> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let pods = [0, 1].map(|node| stage.add_pod(&format!("pod-{node}"), node, "web"));
    let clients = [0, 1].map(|node| stage.add_pod(&format!("client-{node}"), node, "client"));
    stage.write_web(local);
    stage.network.announce_pods();
    stage.start(&routing);
    stage.wait_for_web(&[pods[0].addresses, pods[1].addresses].concat());
    let servers = pods.each_ref().map(Pod::serve);
    Some(Cluster { stage, clients, _servers: servers })
}

fn local(service: Value) -> Value {
    let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
    let service = manifests::with_load_balancer(service, &LOAD_BALANCER);
    manifests::with_local_internal_policy(manifests::with_local_external_policy(service))
}

/// Asks several times; only the endpoint of a node may answer, and sees that address.
fn assert_served(
    what: &str,
    from: &NetNamespace,
    targets: [SocketAddr; 2],
    node: usize,
    seen: [IpAddr; 2],
) {
    for (target, seen) in targets.into_iter().zip(seen) {
        for protocol in Protocol::ALL {
            for _ in 0..5 {
                let what = format!("{what}: {protocol:?} from {} to {target}", from.name());
                let answer = from
                    .run(|| client::ask(protocol, target))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let expected = (format!("pod-{node}"), seen);
                assert_eq!((answer.server, answer.client.ip()), expected, "{what}");
            }
        }
    }
}

fn assert_each_node_serves_its_own(routing: [&str; 2]) {
    let Some(cluster) = cluster(routing) else { return };
    let (stage, outside) = (&cluster.stage, cluster.stage.network.outside());
    for node in [0, 1] {
        let (pod, own) = (&cluster.clients[node], stage.node(node).netns());
        assert_served("ClusterIP", &pod.netns(), web(), node, pod.addresses);
        assert_served("ClusterIP", own, web(), node, bridge(node));
        assert_served("node port", outside, stage.node_port(node), node, addresses::outside());
        stage.route_to(LOAD_BALANCER, &[node]);
        let vips = targets(LOAD_BALANCER);
        assert_served("load balancer", outside, vips, node, addresses::outside());
        // The internal policy binds the outside too, which is masqueraded as ever.
        stage.route_to(WEB, &[node]);
        assert_served("ClusterIP", outside, web(), node, bridge(node));
        // To another node, a node and its pods are an outside.
        let other = stage.node_port(1 - node);
        assert_served("other node's port", &pod.netns(), other, 1 - node, addresses::node(node));
        assert_served("other node's port", own, other, 1 - node, addresses::node(node));
    }
}

#[test]
#[ignore = "needs root"]
fn each_node_serves_by_its_own_endpoint_with_the_overlay() {
    assert_each_node_serves_its_own(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn each_node_serves_by_its_own_endpoint_with_direct_routes() {
    assert_each_node_serves_its_own(DIRECT);
}

#[test]
#[ignore = "needs root"]
fn what_is_inside_reaches_all_endpoints_by_external_addresses() {
    let Some(cluster) = cluster(VXLAN) else { return };
    for node in [0, 1] {
        let (pod, own) = (&cluster.clients[node], cluster.stage.node(node).netns());
        let node_port = cluster.stage.node_port(node);
        for (target, seen) in targets(LOAD_BALANCER)
            .into_iter()
            .chain(node_port)
            .zip(pod.addresses.into_iter().cycle())
        {
            for protocol in Protocol::ALL {
                let mut servers: Vec<String> = (0..24)
                    .map(|_| {
                        let answer = pod.ask(protocol, target).expect("an answer");
                        assert_eq!(answer.client.ip(), seen, "{protocol:?} {target}");
                        answer.server
                    })
                    .chain((0..24).map(|_| {
                        own.run(|| client::ask(protocol, target)).expect("an answer").server
                    }))
                    .collect();
                servers.sort();
                servers.dedup();
                assert_eq!(servers, ["pod-0", "pod-1"], "{protocol:?} {target}");
            }
        }
    }
}
