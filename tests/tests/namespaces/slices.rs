//! Slices as others write them: several for one Service, with endpoints twice, by hand, off the
//! cluster, with leading zeros.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{
    manifests::{self, ManifestDir, ip},
    one_node::{
        NODE, OneNode, TARGET_PORT, WEB_PORT, pod_at, slices, wait_for_slices, web, web_service,
    },
    topology::{Endpoint, Layout, Topology, VXLAN, addresses},
    traffic::{
        client,
        fate::{assert_fate, by},
    },
};

/// Pods a, b and c with numbers 11, 12 and 13, and Service `web` over these slices.
fn abc(slices: &[Value]) -> Option<OneNode> {
    OneNode::start(|manifests: &ManifestDir| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        for (name, number) in [("a", 11), ("b", 12), ("c", 13)] {
            manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
        }
        manifests.write("slices.yaml", slices);
    })
}

/// The same slices with another name.
fn renamed(slices: [Value; 2], name: &str) -> [Value; 2] {
    let mut number = 0;
    slices.map(|mut slice| {
        slice["metadata"]["name"] = json!(format!("{name}-{number}"));
        number += 1;
        slice
    })
}

#[test]
#[ignore = "needs root"]
fn several_slices_are_one_service_and_an_endpoint_in_two_counts_once() {
    let first = slices(&[11, 11, 12]);
    let second = renamed(slices(&[11]), "second");
    let Some(stage) = abc(&[first.clone(), second].concat()) else { return };
    let _servers = stage.serve(&["a", "b", "c"]);
    wait_for_slices(&stage.agent, &[11, 12]);
    let counts = stage.pod("client").run(|| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for target in web().into_iter().cycle().take(300) {
            let answer = client::ask_udp_connected(target).expect("an answer");
            *counts.entry(answer.server).or_default() += 1;
        }
        counts
    });
    // Three times as often as `b`, `a` would be there 225 times; a fair coin shows more than 200 of
    // 300 once in a hundred million.
    assert!(counts["a"] <= 200 && counts["b"] <= 200, "{counts:?}");
    // Another slice of the Service comes, and one goes.
    let third = renamed(slices(&[13]), "third");
    stage.manifests.write("more.yaml", &third);
    wait_for_slices(&stage.agent, &[11, 12, 13]);
    assert_fate("three slices", &stage.pod("client"), &web(), &by(&["a", "b", "c"]));
    stage.manifests.remove("slices.yaml");
    wait_for_slices(&stage.agent, &[13]);
    assert_fate("one slice", &stage.pod("client"), &web(), &by(&["c"]));
}

#[test]
#[ignore = "needs root"]
fn an_address_that_is_used_again_is_ready_though_its_former_pod_still_leaves() {
    let leaving = slices(&[11]).map(|mut slice| {
        slice["endpoints"][0]["conditions"] =
            json!({"ready": false, "serving": true, "terminating": true});
        slice
    });
    // Whichever slice is read first.
    let again = [renamed(slices(&[11]), "aaa"), renamed(slices(&[11]), "zzz")];
    for slices in again {
        let all = [leaving.clone(), slices].concat();
        std::thread::spawn(move || {
            let Some(stage) = abc(&all) else { return };
            let _servers = stage.serve(&["a"]);
            wait_for_slices(&stage.agent, &[11]);
            assert_fate("used again", &stage.pod("client"), &web(), &by(&["a"]));
        })
        .join()
        .expect("either order");
    }
}

#[test]
#[ignore = "needs root"]
fn leading_zeros_are_decimal_in_services_and_slices() {
    let mut service = web_service();
    service["spec"]["clusterIP"] = json!("010.096.001.010");
    service["spec"]["clusterIPs"][0] = json!("010.096.001.010");
    service["spec"]["externalIPs"] = json!(["172.029.000.020"]);
    let padded = slices(&[11]).map(|mut slice| {
        if slice["addressType"] == "IPv4" {
            slice["endpoints"][0]["addresses"] = json!(["010.244.001.011"]);
        }
        slice
    });
    let Some(stage) = abc(&padded) else { return };
    let _servers = stage.serve(&["a"]);
    assert_fate("as written", &stage.pod("client"), &web(), &by(&["a"]));
    stage.manifests.write("web.yaml", &[service]);
    let external = [(ip("172.29.0.20"), WEB_PORT).into()];
    tests::wait::until("the external address", tests::wait::PATIENCE, || {
        let shown = stage.agent.get("services");
        let is_there = shown[0]["externalIPs"][0] == "172.29.0.20";
        if is_there { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    wait_for_slices(&stage.agent, &[11]);
    for from in [&stage.pod("client"), stage.node.netns()] {
        assert_fate("with zeros", from, &web(), &by(&["a"]));
        assert_fate("with zeros", from, &external, &by(&["a"]));
    }
    assert_eq!(stage.agent.source_errors(), [] as [Value; 0]);
}

#[test]
#[ignore = "needs root"]
fn endpoints_off_the_cluster_are_reached_with_the_nodes_address() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let client = stage.add_pod("client", 0, "client");
    stage.write_web(|service| service);
    stage.start(&VXLAN);
    let _servers = stage.serve_outside(TARGET_PORT);
    stage.put_endpoints(&[Endpoint::at(addresses::outside(), None)]);
    for (target, seen) in web().into_iter().zip(addresses::node(0)) {
        for (from, netns) in [("pod", &client.netns()), ("node", stage.node(0).netns())] {
            for protocol in tests::traffic::Protocol::ALL {
                let what = format!("{protocol:?} from {from} to {target}");
                let answer = netns
                    .run(|| client::ask(protocol, target))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let expected = ("outside", seen);
                assert_eq!((answer.server.as_str(), answer.client.ip()), expected, "{what}");
            }
        }
    }
}
