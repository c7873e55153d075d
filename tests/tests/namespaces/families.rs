//! A Service exists in the families in which it has a cluster IP, and in no other.

use std::net::SocketAddr;

use tests::{
    manifests,
    one_node::{TARGET_PORT, WEB, WEB_PORT, web},
    topology::{
        Layout, Topology, VXLAN,
        vips::{EXTERNAL, LOAD_BALANCER, exposed, targets},
    },
    traffic::fate::{Fate, assert_fate, by},
};

#[test]
#[ignore = "needs root"]
fn a_service_of_one_family_has_no_address_of_the_other() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let (a, client) = (stage.add_pod("a", 0, "web"), stage.add_pod("client", 0, "client"));
    let manifests = stage.manifests.clone();
    let write = |cluster_ips: &[&str]| {
        let (port, target) = (u32::from(WEB_PORT), u32::from(TARGET_PORT));
        let ports = [("http", "TCP", port, target), ("ask", "UDP", port, target)];
        let service = exposed(manifests::service("web", cluster_ips, &ports));
        manifests.write("web.yaml", &[service]);
    };
    write(&WEB);
    stage.start(&VXLAN);
    let _servers = a.serve();
    stage.route_to(LOAD_BALANCER, &[0]);
    stage.route_to(EXTERNAL, &[0]);
    let (pod, node) = (client.netns(), stage.node(0).netns());
    let outside = stage.network.outside();
    for (families, is_there) in
        [(&WEB[..1], [true, false]), (&WEB[1..], [false, true]), (&WEB, [true, true])]
    {
        write(families);
        let expected: Vec<String> =
            (0..2).filter(|it| is_there[*it]).map(|it| a.addresses[it].to_string()).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        stage.agent(0).wait_for_endpoints("web", WEB_PORT, "TCP", &expected);
        for family in [0, 1] {
            let vips = [targets(LOAD_BALANCER), targets(EXTERNAL)].map(|it| it[family]);
            let node_port = [stage.node_port(0)[family]];
            let what = format!("{families:?}");
            for from in [&pod, node, outside] {
                if is_there[family] {
                    assert_fate(&what, from, &vips, &by(&["a"]));
                    assert_fate(&what, from, &node_port, &by(&["a"]));
                } else {
                    // The node's own port then, and nobody listens there.
                    assert_fate(&what, from, &node_port, &Fate::Refused);
                }
            }
            for from in [&pod, node] {
                let cluster_ip: [SocketAddr; 1] = [web()[family]];
                let fate = if is_there[family] { by(&["a"]) } else { Fate::Nothing };
                assert_fate(&what, from, &cluster_ip, &fate);
            }
        }
    }
}
