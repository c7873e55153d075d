//! Which port of which pod a Service's port leads to.

use serde_json::{Value, json};
use tests::{
    manifests::{self, ManifestDir, ip},
    one_node::{NODE, OneNode, WEB, WEB_PORT, addresses_at, pod_at, web, web_service},
    traffic::{
        Protocol,
        fate::{Fate, assert_fate, assert_fate_of, by},
        server::Server,
    },
    wait,
};

/// A pod whose ports `http` and `ask` have this number.
fn with_named_ports(mut pod: Value, number: u16) -> Value {
    pod["spec"]["containers"][0]["ports"] = json!([
        {"name": "http", "containerPort": number},
        {"name": "ask", "containerPort": number, "protocol": "UDP"},
    ]);
    pod
}

fn client(manifests: &ManifestDir) {
    manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
}

fn serve(stage: &OneNode, pod: &str, port: u16) -> [Server; 2] {
    let netns = stage.pod(pod);
    [Server::tcp(&netns, pod, port), Server::udp(&netns, pod, port)]
}

#[test]
#[ignore = "needs root"]
fn a_named_target_port_is_each_pods_own() {
    let named = |mut service: Value| {
        service["spec"]["ports"][0]["targetPort"] = json!("http");
        service["spec"]["ports"][1]["targetPort"] = json!("ask");
        service
    };
    let fill = |manifests: &ManifestDir| {
        client(manifests);
        manifests.write("web.yaml", &[named(web_service())]);
        for (name, number, port) in [("a", 11, 8080), ("b", 12, 9090)] {
            let pod = with_named_ports(pod_at(name, number), port);
            manifests.write(&format!("{name}.yaml"), &[pod]);
        }
        // It has no such port, and is no endpoint.
        manifests.write("c.yaml", &[pod_at("c", 13)]);
    };
    let Some(stage) = OneNode::start(fill) else { return };
    let _servers = [serve(&stage, "a", 8080), serve(&stage, "b", 9090), serve(&stage, "c", 8080)];
    for from in [&stage.pod("client"), stage.node.netns()] {
        assert_fate("named ports", from, &web(), &by(&["a", "b"]));
    }
    // A pod whose port gets another number is found there.
    let _moved = serve(&stage, "b", 9091);
    stage.manifests.write("b.yaml", &[with_named_ports(pod_at("b", 12), 9091)]);
    wait::until("the other number", wait::PATIENCE, || {
        let rows = stage.agent.get("endpoints");
        let moved = rows.iter().filter(|row| row["port"] == 9091).count();
        if moved == 4 { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    assert_fate("another number", &stage.pod("client"), &web(), &by(&["a", "b"]));
}

#[test]
#[ignore = "needs root"]
fn slices_say_the_port_and_its_name_says_whose() {
    let fill = |manifests: &ManifestDir| {
        client(manifests);
        let ports = [("http", "TCP", 80, 1), ("admin", "TCP", 81, 1)];
        manifests.write("web.yaml", &[manifests::service("web", &WEB, &ports)]);
        for (name, number) in [("a", 11), ("b", 12)] {
            manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
        }
        let slice = |name: &str, number: u8, family: usize, http: u16| {
            let ports = [("http", "TCP", http), ("admin", "TCP", 7070), ("ask", "UDP", 8080)];
            let address = &addresses_at(number)[family];
            manifests::slice(&format!("{name}-{family}"), "web", NODE, &[address], &ports)
        };
        let both = |family| [slice("a", 11, family, 8080), slice("b", 12, family, 9090)];
        manifests.write("slices.yaml", &[both(0), both(1)].concat());
    };
    let Some(stage) = OneNode::start(fill) else { return };
    let _servers = [serve(&stage, "a", 8080), serve(&stage, "b", 9090)];
    let admin = [("a", "admin-a"), ("b", "admin-b")]
        .map(|(pod, name)| Server::tcp(&stage.pod(pod), name, 7070));
    let pod = stage.pod("client");
    assert_fate_of("http", &pod, &web(), &[Protocol::Tcp], &by(&["a", "b"]));
    let targets = web().map(|it| (it.ip(), 81).into());
    assert_fate_of("admin", &pod, &targets, &[Protocol::Tcp], &by(&["admin-a", "admin-b"]));
    // The slices have a port that the Service has not.
    assert_fate_of("UDP", &pod, &web(), &[Protocol::Udp], &Fate::Refused);
    drop(admin);
}

#[test]
#[ignore = "needs root"]
fn one_port_leads_elsewhere_for_each_protocol() {
    let fill = |manifests: &ManifestDir| {
        client(manifests);
        let ports = [("tcp", "TCP", 53, 8053), ("udp", "UDP", 53, 9053)];
        let service = manifests::service("web", &WEB, &ports);
        manifests.write("web.yaml", &[manifests::with_node_ports(service, &[30053, 30053])]);
        manifests.write("a.yaml", &[pod_at("a", 11)]);
    };
    let Some(stage) = OneNode::start(fill) else { return };
    let netns = stage.pod("a");
    let _servers = [Server::tcp(&netns, "tcp", 8053), Server::udp(&netns, "udp", 9053)];
    let _others = [Server::udp(&netns, "wrong", 8053), Server::tcp(&netns, "wrong", 9053)];
    let cluster_ip = WEB.map(|address| (ip(address), 53).into());
    let node_port = tests::one_node::NODE_ADDRESSES.map(|address| (ip(address), 30053).into());
    for targets in [cluster_ip, node_port] {
        for from in [&stage.pod("client"), stage.node.netns()] {
            assert_fate_of("TCP", from, &targets, &[Protocol::Tcp], &by(&["tcp"]));
            assert_fate_of("UDP", from, &targets, &[Protocol::Udp], &by(&["udp"]));
        }
    }
    assert_eq!(stage.agent.source_errors(), [] as [Value; 0]);
}

#[test]
#[ignore = "needs root"]
fn pods_that_are_not_ready_are_reached_where_the_service_publishes_them() {
    let publishing = |publishes: bool| {
        let mut service = web_service();
        service["spec"]["publishNotReadyAddresses"] = json!(publishes);
        service
    };
    let unready = || {
        let mut pod = pod_at("a", 11);
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
        pod
    };
    let fill = |manifests: &ManifestDir| {
        client(manifests);
        manifests.write("web.yaml", &[publishing(true)]);
        manifests.write("a.yaml", &[unready()]);
    };
    let Some(stage) = OneNode::start(fill) else { return };
    let _servers = serve(&stage, "a", 8080);
    let pod = stage.pod("client");
    let all = addresses_at(11);
    let wait_for = |addresses: &[&str]| {
        for protocol in ["TCP", "UDP"] {
            stage.agent.wait_for_endpoints("web", WEB_PORT, protocol, addresses);
        }
    };
    wait_for(&all.each_ref().map(String::as_str));
    assert_fate("not ready, published", &pod, &web(), &by(&["a"]));
    // On its way out, and published all the same.
    stage.manifests.write("a.yaml", &[manifests::terminating(pod_at("a", 11))]);
    wait::until("the end's beginning", wait::PATIENCE, || {
        let rows = stage.agent.get("endpoints");
        if rows.iter().all(|row| row["terminating"] == true) {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    });
    assert_fate("terminating, published", &pod, &web(), &by(&["a"]));
    stage.manifests.write("a.yaml", &[unready()]);
    stage.manifests.write("web.yaml", &[publishing(false)]);
    wait_for(&[]);
    assert_fate("not ready", &pod, &web(), &Fate::Refused);
}
