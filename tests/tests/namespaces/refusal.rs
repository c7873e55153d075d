//! What a ClusterIP does not serve, it refuses at once, by the program itself.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tests::{
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{NODE, OneNode, WEB, WEB_PORT, web, web_service},
    traffic::{
        Protocol, client,
        icmp::{EchoOutcome, echo},
    },
};

/// A refusal is no timeout: below the second after which TCP would ask again.
const AT_ONCE: Duration = Duration::from_millis(900);

fn assert_refused(namespace: &NetNamespace, protocol: Protocol, target: SocketAddr) {
    let start = Instant::now();
    let error = namespace.run(|| client::ask(protocol, target)).expect_err("it must be refused");
    let took = start.elapsed();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}: {error}");
    assert!(took < AT_ONCE, "{protocol:?} {target}: refused after {took:?}");
}

fn without_endpoints(manifests: &ManifestDir) {
    manifests.write("web.yaml", &[web_service()]);
    manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
}

#[test]
#[ignore = "needs root"]
fn a_service_without_endpoints_refuses_tcp_and_udp() {
    let Some(stage) = OneNode::start(without_endpoints) else {
        return;
    };
    let pod = stage.pod("client");
    for protocol in Protocol::ALL {
        for target in web() {
            assert_refused(&pod, protocol, target);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_that_is_not_in_the_service_is_refused() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let pod = stage.pod("client");
    for protocol in Protocol::ALL {
        for target in web() {
            pod.run(|| client::ask(protocol, target)).expect("the port in the service works");
            assert_refused(&pod, protocol, SocketAddr::new(target.ip(), 81));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_port_of_the_other_protocol_is_refused() {
    let tcp_only = |manifests: &ManifestDir| {
        manifests
            .write("web.yaml", &[manifests::service("web", &WEB, &[("http", "TCP", 80, 8080)])]);
        manifests.write("a.yaml", &[manifests::pod("a", NODE, "web", &[])]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
    };
    let Some(stage) = OneNode::start(tcp_only) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    for target in web() {
        stage.pod("client").run(|| client::ask_tcp(target)).expect("TCP is served");
        assert_refused(&stage.pod("client"), Protocol::Udp, target);
    }
}

#[test]
#[ignore = "needs root"]
fn a_ping_of_a_cluster_ip_is_told_unreachable() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    for target in web() {
        let outcome = stage.pod("client").run(|| echo(target.ip()));
        assert!(matches!(outcome, EchoOutcome::Unreachable { .. }), "{target}: {outcome:?}");
    }
    for address in stage.pod_ips("a") {
        assert_eq!(stage.pod("client").run(|| echo(address)), EchoOutcome::Reply, "{address}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_refused_port_is_counted_with_its_reason() {
    let Some(stage) = OneNode::start(without_endpoints) else {
        return;
    };
    let total =
        || -> u64 { stage.agent.get("drops").iter().filter_map(|row| row["count"].as_u64()).sum() };
    let before = total();
    for target in web() {
        assert_refused(&stage.pod("client"), Protocol::Tcp, target);
    }
    assert!(total() >= before + 2, "{:?}", stage.agent.get("drops"));
}

#[test]
#[ignore = "needs root"]
fn a_service_starts_to_serve_and_stops_again_with_its_endpoints() {
    let Some(stage) = OneNode::start(without_endpoints) else {
        return;
    };
    let pod = stage.pod("client");
    stage.manifests.write("a.yaml", &[manifests::pod("a", NODE, "web", &[])]);
    let _servers = stage.serve(&["a"]);
    let ips: Vec<String> = stage.pod_ips("a").iter().map(ToString::to_string).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    stage.agent.wait_for_endpoints("web", WEB_PORT, "TCP", &ips);
    for protocol in Protocol::ALL {
        for target in web() {
            pod.run(|| client::ask(protocol, target)).expect("it is served now");
        }
    }
    stage.manifests.remove("a.yaml");
    stage.agent.wait_for_endpoints("web", WEB_PORT, "TCP", &[]);
    for protocol in Protocol::ALL {
        for target in web() {
            assert_refused(&pod, protocol, target);
        }
    }
}
