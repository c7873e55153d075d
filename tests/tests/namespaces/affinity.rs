//! Session affinity: who asks again is sent to the same endpoint, by whichever of a port's
//! addresses, over TCP and UDP, while that endpoint is there.
//!
//! `service_options` shows how affinity is switched on and off.

use std::{collections::BTreeSet, net::SocketAddr, thread, time::Duration};

use serde_json::{Value, json};
use tests::{
    manifests,
    netns::NetNamespace,
    one_node::web,
    topology::{
        Endpoint, Layout, Pod, Topology, VXLAN,
        vips::{EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::{Protocol, SOCKET_TIMEOUT, fate::ask, server::Server},
};

const PODS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn sticky(mut service: Value, seconds: u32) -> Value {
    service["spec"]["sessionAffinity"] = json!("ClientIP");
    service["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    service
}

/// Six pods of Service `web` on the second of two nodes, a client on the first.
struct Cluster {
    stage: Topology,
    client: Pod,
    endpoints: Vec<Endpoint>,
    _servers: Vec<[Server; 2]>,
}

fn cluster(change: impl Fn(Value) -> Value) -> Option<Cluster> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let pods: Vec<Pod> = PODS.iter().map(|name| stage.add_pod(name, 1, "web")).collect();
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| change(exposed(service)));
    stage.start(&VXLAN);
    for vips in [LOAD_BALANCER, EXTERNAL] {
        stage.route_to(vips, &[0]);
    }
    let servers = pods.iter().map(Pod::serve).collect();
    let endpoints: Vec<Endpoint> = pods.iter().map(|pod| stage.endpoint(pod)).collect();
    stage.put_endpoints(&endpoints);
    Some(Cluster { stage, client, endpoints, _servers: servers })
}

impl Cluster {
    /// The three kinds of client, and where each reaches the Service, IPv4 first.
    fn clients(&self) -> [(&'static str, NetNamespace, Vec<[SocketAddr; 2]>); 3] {
        let external = [targets(LOAD_BALANCER), targets(EXTERNAL), self.stage.node_port(0)];
        let all: Vec<[SocketAddr; 2]> = [web()].into_iter().chain(external).collect();
        [
            ("pod", self.client.netns(), all.clone()),
            ("node", self.stage.node(0).netns().clone(), all),
            ("outside", self.stage.network.outside().clone(), external.to_vec()),
        ]
    }
}

/// Who answers some new flows, a few to each address.
fn servers(from: &NetNamespace, protocol: Protocol, targets: &[SocketAddr]) -> BTreeSet<String> {
    from.run(|| {
        let flows = targets.iter().flat_map(|target| [*target; 5]);
        flows
            .map(|target| {
                let answer = ask(protocol, target, SOCKET_TIMEOUT);
                answer.unwrap_or_else(|error| panic!("{protocol:?} to {target}: {error}")).server
            })
            .collect()
    })
}

#[test]
#[ignore = "needs root"]
fn a_client_meets_one_endpoint_of_a_port_by_all_of_its_addresses() {
    let Some(cluster) = cluster(|service| sticky(service, 10_800)) else { return };
    for (client, netns, addresses) in cluster.clients() {
        for family in [0, 1] {
            let all: Vec<SocketAddr> = addresses.iter().map(|it| it[family]).collect();
            for protocol in Protocol::ALL {
                let met = servers(&netns, protocol, &all);
                assert_eq!(met.len(), 1, "{protocol:?} from {client} to {all:?}: {met:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_client_meets_another_endpoint_when_its_own_leaves_and_keeps_to_that() {
    let Some(cluster) = cluster(|service| sticky(service, 10_800)) else { return };
    let clients = cluster.clients();
    // Each flow, and who answers it: by client, family and protocol.
    let met = || -> Vec<String> {
        let mut met = Vec::new();
        for (client, netns, addresses) in &clients {
            for family in [0, 1] {
                let all: Vec<SocketAddr> = addresses.iter().map(|it| it[family]).collect();
                for protocol in Protocol::ALL {
                    let one = servers(netns, protocol, &all);
                    assert_eq!(one.len(), 1, "{protocol:?} from {client}: {one:?}");
                    met.extend(one);
                }
            }
        }
        met
    };
    let first = met();
    let gone = &first[0];
    let with = |is_leaving: bool| -> Vec<Endpoint> {
        let endpoints = PODS.iter().zip(&cluster.endpoints);
        endpoints
            .filter(|(name, _)| !is_leaving || *name != gone)
            .map(|(_, endpoint)| endpoint.clone())
            .collect()
    };
    cluster.stage.put_endpoints(&with(true));
    let second = met();
    for (before, after) in first.iter().zip(&second) {
        if before == gone {
            assert_ne!(after, gone);
        } else {
            assert_eq!(after, before, "its endpoint is still there");
        }
    }
    cluster.stage.put_endpoints(&with(false));
    assert_eq!(met(), second, "who has moved does not go back");
}

#[test]
#[ignore = "needs root"]
fn affinity_lasts_as_long_as_new_flows_come_and_not_longer() {
    let Some(cluster) = cluster(|service| sticky(service, 1)) else { return };
    let (outside, target) = (cluster.stage.network.outside(), cluster.stage.node_port(0)[0]);
    let met_after = |pause: Duration, times: usize| -> BTreeSet<String> {
        let flows = (0..times).flat_map(|_| {
            let met = servers(outside, Protocol::Udp, &[target]);
            thread::sleep(pause);
            met
        });
        flows.collect()
    };
    // For longer than the timeout altogether, and never as long between two.
    let kept = met_after(Duration::from_millis(300), 6);
    assert_eq!(kept.len(), 1, "each new flow renews it: {kept:?}");
    // Six fair dice show one number only once in 7,776 times, and so would a test that fails for
    // nothing: there are eight.
    let moved = met_after(Duration::from_millis(1_100), 8);
    assert!(moved.len() > 1, "it has ended: {moved:?}");
}

#[test]
#[ignore = "needs root"]
fn clients_without_affinity_meet_several_endpoints() {
    let Some(cluster) = cluster(|service| service) else { return };
    for (client, netns, addresses) in cluster.clients() {
        for protocol in Protocol::ALL {
            let all: Vec<SocketAddr> = addresses.iter().flatten().copied().collect();
            let met = servers(&netns, protocol, &all);
            assert!(met.len() > 2, "{protocol:?} from {client}: {met:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn affinity_keeps_to_what_a_local_policy_leaves() {
    let local = |service| manifests::with_local_external_policy(sticky(service, 10_800));
    let Some(mut cluster) = cluster(local) else { return };
    // One more endpoint, on the node by which the outside comes.
    let near = cluster.stage.add_pod("near", 0, "web");
    let _server = near.serve();
    cluster.endpoints.push(cluster.stage.endpoint(&near));
    cluster.stage.put_endpoints(&cluster.endpoints);
    for target in cluster.stage.node_port(0) {
        for protocol in Protocol::ALL {
            let met = servers(cluster.stage.network.outside(), protocol, &[target]);
            assert_eq!(met, BTreeSet::from(["near".to_owned()]), "{protocol:?} {target}");
            // The pod reaches all endpoints, of which it keeps to one.
            let met = servers(&cluster.client.netns(), protocol, &[target]);
            assert_eq!(met.len(), 1, "{protocol:?} {target}: {met:?}");
        }
    }
}
