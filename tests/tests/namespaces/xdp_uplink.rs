//! XDP on the uplink takes what only passes the node, and leaves the rest as it is.

use serde_json::Value;
use tests::{
    manifests,
    topology::{DIRECT, Layout, NODE_PORT, Pod, Topology, VXLAN, addresses, bridge, card},
    traffic::{Protocol, bulk, server::Server},
};

const BYTES: u64 = 5_000_000;

/// Pod `a` of Service `web` on the second node, wires as between cards.
fn stage(layout: Layout, routing: [&str; 2], mode: &str) -> Option<(Topology, Pod, [Server; 2])> {
    let mut stage = Topology::new(layout)?;
    let a = stage.add_pod("a", 1, "web");
    let _client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]));
    stage.network.announce_pods();
    stage.start(&[routing[0], routing[1], "--xdp", mode]);
    stage.wait_for_web(&a.addresses);
    let servers = a.serve();
    Some((stage, a, servers))
}

/// What `shunt status` says about the program on the uplink; none if it is not there.
fn mode_of_xdp(stage: &Topology, node: usize) -> Option<String> {
    let status = stage.agent(node).status();
    let programs = status["programs"].as_array().expect("programs").clone();
    let is_ours =
        |program: &&Value| program["name"] == "xdp_ingress" && program["interface"] == "eth0";
    let program = programs.iter().find(is_ours)?;
    program["mode"].as_str().map(str::to_owned)
}

fn assert_served(stage: &Topology, seen_over_the_first: [std::net::IpAddr; 2]) {
    for (node, seen) in [(0, seen_over_the_first), (1, bridge(1))] {
        for (target, seen) in stage.node_port(node).into_iter().zip(seen) {
            for protocol in Protocol::ALL {
                for _ in 0..3 {
                    let answer = stage
                        .ask_from_outside(protocol, target)
                        .unwrap_or_else(|error| panic!("{protocol:?} to {target}: {error}"));
                    assert_eq!((answer.server.as_str(), answer.client.ip()), ("a", seen));
                }
            }
            let outside = stage.network.outside();
            let transfer = outside.run(|| bulk::fetch(target, BYTES)).expect("whole");
            transfer.assert_smooth(BYTES, "fetching");
            let transfer = outside.run(|| bulk::send(target, BYTES)).expect("whole");
            transfer.assert_smooth(BYTES, "sending");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn in_the_driver_what_is_for_another_node_is_sent_back_out_of_the_card() {
    for layout in [Layout::routed(2), Layout::one_link(2)] {
        std::thread::spawn(move || {
            let Some((stage, _a, _servers)) = stage(layout.cards(), DIRECT, "native") else {
                return;
            };
            assert_eq!(mode_of_xdp(&stage, 0).as_deref(), Some("native"));
            let first = stage.network.node(0);
            let before = card::sent_back(first, "eth0") + card::redirected(first, "eth0");
            assert_served(&stage, addresses::node(0));
            let after = card::sent_back(first, "eth0") + card::redirected(first, "eth0");
            // Each transfer alone takes more than 3,000 packets one way.
            assert!(after > before + 10_000, "{before} before, {after} after");
        })
        .join()
        .expect("both shapes work");
    }
}

#[test]
#[ignore = "needs root"]
fn in_the_driver_node_ports_work_through_the_overlay() {
    let Some((stage, _a, _servers)) = stage(Layout::routed(2).cards(), VXLAN, "native") else {
        return;
    };
    assert_eq!(mode_of_xdp(&stage, 0).as_deref(), Some("native"));
    assert_served(&stage, bridge(0));
}

#[test]
#[ignore = "needs root"]
fn the_kernels_generic_xdp_serves_too() {
    let Some((stage, _a, _servers)) = stage(Layout::routed(2).cards(), DIRECT, "generic") else {
        return;
    };
    assert_eq!(mode_of_xdp(&stage, 0).as_deref(), Some("generic"));
    assert_served(&stage, addresses::node(0));
}

#[test]
#[ignore = "needs root"]
fn on_a_plain_veth_tc_serves_alone_unless_xdp_is_asked_for() {
    for mode in ["auto", "off"] {
        std::thread::spawn(move || {
            let Some((stage, _a, _servers)) = stage(Layout::routed(2), DIRECT, mode) else {
                return;
            };
            assert_eq!(mode_of_xdp(&stage, 0), None, "{mode}");
            assert_served(&stage, addresses::node(0));
        })
        .join()
        .expect("TC serves");
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_for_the_node_and_its_pods_passes_xdp_untouched() {
    let Some((stage, _a, _servers)) = stage(Layout::routed(2).cards(), DIRECT, "native") else {
        return;
    };
    let own = stage.serve_on_node(1, "node01", 9090);
    let second = stage.network.node(1);
    let before = card::sent_back(second, "eth0") + card::redirected(second, "eth0");
    for address in addresses::node(1) {
        for protocol in Protocol::ALL {
            let answer = stage.ask_from_outside(protocol, (address, 9090).into());
            let client = answer.expect("the node's own server").client.ip();
            assert_eq!(client, addresses::of_family(addresses::outside(), client));
        }
    }
    assert!(own.iter().all(|server| server.requests() > 0));
    for target in stage.node_port(1) {
        let transfer = stage.network.outside().run(|| bulk::send(target, BYTES)).expect("whole");
        transfer.assert_smooth(BYTES, "to a pod of the node");
    }
    let after = card::sent_back(second, "eth0") + card::redirected(second, "eth0");
    assert_eq!(after, before, "packets for the node's own pods left it");
}
