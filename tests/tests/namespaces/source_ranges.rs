//! Whom a load balancer's addresses serve: pods, nodes and the outside by their addresses, over TCP
//! and UDP. All other addresses of the Service serve everybody.
//!
//! `service_options` shows how ranges are read, and that they outlive the agent.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::{
    netns::NetNamespace,
    one_node::web,
    topology::{
        Layout, Pod, Topology, VXLAN,
        vips::{EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::{
        Protocol, client,
        fate::{Fate, assert_fate, by},
        hammer::{Hammer, Style},
        server::Server,
    },
    wait,
};

/// Who may be in a range: the client pod, the first node, the outside.
const CLIENTS: [[&str; 2]; 3] = [
    ["192.168.0.0/24", "fd00:10:244::/64"],
    ["172.30.1.2/32", "fd00:172:30:1::2/128"],
    ["172.31.0.0/16", "fd00:172:31::/48"],
];

fn restricted(service: Value, ranges: &[&str]) -> Value {
    let mut service = exposed(service);
    service["spec"]["loadBalancerSourceRanges"] = json!(ranges);
    service
}

/// Pod `a` of Service `web` on the second node, `client` on the first.
fn cluster(ranges: &[&str]) -> Option<(Topology, Pod, [Server; 2])> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let (a, client) = (stage.add_pod("a", 1, "web"), stage.add_pod("client", 0, "client"));
    stage.write_web(|service| restricted(service, ranges));
    stage.start(&VXLAN);
    for vips in [LOAD_BALANCER, EXTERNAL] {
        stage.route_to(vips, &[0]);
    }
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some((stage, client, servers))
}

/// Waits until a client is answered at a load balancer's address, or is not.
fn wait_until_served(from: &NetNamespace, target: SocketAddr, is_served: bool) {
    let patience = std::time::Duration::from_millis(200);
    wait::until(&format!("{target} served={is_served}"), wait::PATIENCE, || {
        let answer = from.run(|| client::ask_within(Protocol::Tcp, target, patience));
        if answer.is_ok() == is_served { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_client_is_served_while_it_is_in_a_range() {
    let Some((stage, client, _servers)) = cluster(&CLIENTS[0]) else { return };
    let netns = [&client.netns(), stage.node(0).netns(), stage.network.outside()];
    for (allowed, ranges) in CLIENTS.iter().enumerate() {
        stage.write_web(|service| restricted(service, ranges));
        for target in targets(LOAD_BALANCER) {
            wait_until_served(netns[allowed], target, true);
            for (number, from) in netns.iter().enumerate() {
                let fate = if number == allowed { by(&["a"]) } else { Fate::Nothing };
                assert_fate(&format!("{ranges:?}"), from, &[target], &fate);
            }
        }
        // The ranges are of the load balancer's addresses alone.
        for from in netns {
            assert_fate("external address", from, &targets(EXTERNAL), &by(&["a"]));
            assert_fate("node port", from, &stage.node_port(0), &by(&["a"]));
        }
        for from in &netns[..2] {
            assert_fate("ClusterIP", from, &web(), &by(&["a"]));
        }
    }
    assert!(stage.agent(0).drops("source-not-allowed") > 0);
}

#[test]
#[ignore = "needs root"]
fn a_range_of_one_family_leaves_the_other_open() {
    let Some((stage, client, _servers)) = cluster(&CLIENTS[2][..1]) else { return };
    let [v4, v6] = targets(LOAD_BALANCER);
    for from in [&client.netns(), stage.node(0).netns()] {
        assert_fate("IPv4, in no range", from, &[v4], &Fate::Nothing);
        assert_fate("IPv6, without ranges", from, &[v6], &by(&["a"]));
    }
    assert_fate("the outside", stage.network.outside(), &[v4, v6], &by(&["a"]));
    stage.write_web(|service| restricted(service, &["0.0.0.0/0"]));
    wait_until_served(&client.netns(), v4, true);
    assert_fate("all of IPv4", &client.netns(), &[v4, v6], &by(&["a"]));
}

#[test]
#[ignore = "needs root"]
fn a_flow_goes_on_when_its_client_leaves_the_ranges() {
    let Some((stage, _client, _servers)) = cluster(&CLIENTS[2]) else { return };
    let outside = stage.network.outside();
    let [v4, v6] = targets(LOAD_BALANCER);
    let hammers =
        [v4, v6].map(|it| Hammer::start(outside, Protocol::Tcp, Style::OneConversation, it));
    for hammer in &hammers {
        hammer.wait_for_answers(10);
    }
    stage.write_web(|service| restricted(service, &CLIENTS[0]));
    for target in [v4, v6] {
        wait_until_served(outside, target, false);
    }
    for hammer in hammers {
        hammer.wait_for_answers(50);
        hammer.stop().assert_flawless("a flow from before");
    }
}
