//! Cluster DNS on two nodes: asked from the other one, and itself asking the outside; and the API
//! server by its name.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    dns::{Elsewhere, dig, external_name, in_namespace, in_pod, kube_dns, servers},
    manifests,
    netns::NetNamespace,
    one_node, process,
    topology::{DIRECT, Layout, Pod, Topology, VXLAN, addresses},
    traffic::{server::Server, tls::Identity},
};

/// Two nodes with a client each, and the pod that names are answered from on the first.
fn cluster(arguments: &[&str]) -> Option<(Topology, [Pod; 2])> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let ips = addresses::pod_segment(0).host(53).map(|address| address.to_string());
    let ips = ips.each_ref().map(String::as_str);
    let mut pod = manifests::pod("coredns", stage.node(0).name(), "dns", &ips);
    pod["metadata"]["labels"] = json!({"k8s-app": "kube-dns"});
    stage.manifests.write("dns.yaml", &[in_namespace(pod, "kube-system"), kube_dns()]);
    let outward = external_name("outward", "www.example.com");
    stage.manifests.write("outward.yaml", &[outward]);
    let clients = [0, 1].map(|node| stage.add_pod(&format!("client-{node}"), node, "client"));
    stage.write_web(|service| service);
    let _ = stage.add_pod("a", 1, "web");
    stage.network.announce_pods();
    stage.start(&[&["--dns"], arguments].concat());
    Some((stage, clients))
}

fn name_of(pod: &Pod) -> String {
    format!("default.{}", pod.name)
}

fn assert_answered_on_both_nodes(routing: [&str; 2]) {
    let Some((stage, clients)) = cluster(&routing) else { return };
    let server = one_node::pod("default", "a");
    let _server = Server::tcp(&server, "a", one_node::TARGET_PORT);
    for pod in &clients {
        for at in servers() {
            let at = format!("@{}", at.ip());
            for transport in ["+notcp", "+tcp"] {
                let web = "web.default.svc.cluster.local";
                let dug = dig(&name_of(pod), &[&at, transport, web]);
                assert_eq!(dug.answers.len(), 1, "{at} {transport}\n{}", dug.text);
            }
        }
        let finished = in_pod(&name_of(pod), &["curl", "-sS", "-m", "5", "http://web"]);
        assert!(finished.stdout.starts_with("a "), "{finished:?}");
    }
    // Node processes reach it too, though they have other servers by themselves.
    for node in [0, 1] {
        let mut command = stage.node(node).netns().command("dig");
        let arguments = ["@10.96.0.10", "+short", "web.default.svc.cluster.local"];
        assert_eq!(process::must(command.args(arguments)).trim(), one_node::WEB[0]);
    }
    for node in [0, 1] {
        assert!(stage.agent(node).source_errors().is_empty());
    }
}

#[test]
#[ignore = "needs root"]
fn names_are_answered_on_both_nodes_with_the_overlay() {
    assert_answered_on_both_nodes(VXLAN);
}

#[test]
#[ignore = "needs root"]
fn names_are_answered_on_both_nodes_with_direct_routes() {
    assert_answered_on_both_nodes(DIRECT);
}

fn assert_asked_outside(upstreams: &str) {
    let Some((stage, clients)) = cluster(&["--dns-upstream", upstreams]) else { return };
    let elsewhere = Elsewhere::start(stage.network.outside(), Ipv4Addr::new(192, 0, 2, 53));
    for pod in &clients {
        let pod = name_of(pod);
        let dug = dig(&pod, &["www.example.com"]);
        assert_eq!(dug.answers, ["www.example.com. IN A 192.0.2.53"], "{}", dug.text);
        assert!(dug.flags.contains("ra") && !dug.flags.contains("aa"), "{}", dug.text);
        let dug = dig(&pod, &["outward.default.svc.cluster.local"]);
        assert_eq!(
            dug.answers,
            [
                "outward.default.svc.cluster.local. IN CNAME www.example.com.",
                "www.example.com. IN A 192.0.2.53",
            ],
            "{}",
            dug.text
        );
        // Through three domains that are searched first.
        let finished = in_pod(&pod, &["getent", "ahostsv4", "www.example.com"]);
        assert!(finished.stdout.starts_with("192.0.2.53 "), "{finished:?}");
    }
    // Nothing of the cluster's own goes there.
    let before = elsewhere.asked();
    assert_eq!(dig(&name_of(&clients[0]), &["nothing.cluster.local"]).status, "NXDOMAIN");
    assert_eq!(elsewhere.asked(), before);
    drop(elsewhere);
    let begun = Instant::now();
    let dug = dig(&name_of(&clients[0]), &["+time=5", "www.example.com"]);
    assert_eq!(dug.status, "SERVFAIL", "{}", dug.text);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
#[ignore = "needs root"]
fn what_is_outside_of_the_cluster_is_asked_outside() {
    assert_asked_outside("172.31.0.2");
}

#[test]
#[ignore = "needs root"]
fn what_is_outside_of_the_cluster_is_asked_outside_over_ipv6() {
    assert_asked_outside("fd00:172:31::2");
}

#[test]
#[ignore = "needs root"]
fn the_second_server_is_asked_where_the_first_is_not_there() {
    // Nobody listens there: the router.
    assert_asked_outside("172.30.1.1:5353,[fd00:172:31::2]:53");
}

#[test]
#[ignore = "needs root"]
fn a_server_that_would_ask_itself_is_left_out() {
    let Some((stage, clients)) = cluster(&["--dns-upstream", "10.96.0.10"]) else { return };
    let dug = dig(&name_of(&clients[1]), &["www.example.com"]);
    assert_eq!(dug.status, "REFUSED", "{}", dug.text);
    let errors = stage.agent(0).source_errors();
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.contains("--dns-upstream 10.96.0.10:53"), "{errors:?}");
}

/// Service `kubernetes` and its slice, as the API server makes them: the node's own address and
/// port.
fn kubernetes() -> [Value; 2] {
    let mut service =
        manifests::service("kubernetes", &["10.96.0.1"], &[("https", "TCP", 443, 6443)]);
    service["spec"]["selector"] = Value::Null;
    let address = addresses::node(0)[0].to_string();
    let mut slice =
        manifests::slice("kubernetes", "kubernetes", "", &[&address], &[("https", "TCP", 6443)]);
    slice["endpoints"][0]["nodeName"] = Value::Null;
    [service, slice]
}

#[test]
#[ignore = "needs root"]
fn the_api_server_is_reached_by_its_name_over_tls() {
    let Some((stage, clients)) = cluster(&VXLAN) else { return };
    stage.manifests.write("kubernetes.yaml", &kubernetes());
    for node in [0, 1] {
        let agent = stage.agent(node);
        let address = addresses::node(0)[0].to_string();
        agent.wait_for_endpoints("kubernetes", 443, "TCP", &[&address]);
    }
    let names = "DNS:kubernetes.default.svc.cluster.local,DNS:kubernetes,IP:10.96.0.1";
    let identity = Identity::make(Path::new("/run/test"), names);
    let _server = Server::tls(stage.node(0).netns(), "api", 6443, &identity);
    let certificate = identity.certificate.display().to_string();
    let fetch =
        |url: &str| ["curl", "-sS", "-m", "5", "--cacert", &certificate, url].map(str::to_owned);
    let url = "https://kubernetes.default.svc.cluster.local/";
    // Off its own node a pod is seen with its node's address, as anywhere outside of the pods' network.
    let seen_as = [clients[0].at(443)[0].ip(), addresses::node(1)[0]];
    for (pod, seen_as) in clients.iter().zip(seen_as) {
        for url in [url, "https://kubernetes/", "https://10.96.0.1/"] {
            let command = fetch(url);
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let finished = in_pod(&name_of(pod), &command);
            let seen = format!("api {seen_as}:");
            assert!(finished.stdout.starts_with(&seen), "{} {url}: {finished:?}", pod.name);
        }
        // Its own loopback has nothing of the node's.
        let finished =
            in_pod(&name_of(pod), &["curl", "-sk", "-m", "5", "https://127.0.0.1:6443/"]);
        assert_eq!(finished.code, 7, "{finished:?}");
    }
    for node in [0, 1] {
        let netns: &NetNamespace = stage.node(node).netns();
        let command = fetch(url);
        let mut curl = netns.command("curl");
        curl.args(&command[1..])
            .args(["--resolve", "kubernetes.default.svc.cluster.local:443:10.96.0.1"]);
        let text = process::must(&mut curl);
        assert!(text.starts_with("api "), "{text}");
    }
}
