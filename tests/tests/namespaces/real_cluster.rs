//! What a real control plane printed, taken as it is: unknown fields and kinds, null, three nodes.

use std::{io::ErrorKind, net::SocketAddr, path::Path, time::Duration};

use serde_json::Value;
use tests::{
    agent::Agent,
    manifests::{ManifestDir, ip},
    netns::NetNamespace,
    node::{Node, Wire},
    one_node::pod,
    sandbox::Sandbox,
    traffic::{Protocol, client, server::Server},
};

/// A Service with endpoints on all nodes is asked this often until one of this node answers. With
/// one endpoint in three on this node, all miss it once in ten million runs.
const TRIES: usize = 40;

/// Endpoints of other nodes cannot be reached here, and do not deserve the usual patience.
const BRIEFLY: Duration = Duration::from_millis(300);

/// A node of the real cluster, with its agent.
struct RealNode {
    agent: Agent,
    node: Node,
}

/// Three nodes on a wire, each with the addresses that the fixtures give it. The sandbox comes
/// last.
struct RealCluster {
    nodes: Vec<RealNode>,
    _wire: Wire,
    _sandbox: Sandbox,
}

fn start(names: &[&str]) -> Option<RealCluster> {
    let sandbox = Sandbox::enter()?;
    let manifests = ManifestDir::create(&sandbox.root().join("manifests"));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/real-cluster");
    for file in ["nodes.yaml", "pods.yaml", "services.yaml", "endpointslices.yaml"] {
        let text = std::fs::read_to_string(fixtures.join(file)).expect("the fixtures are there");
        manifests.write_text(file, &text);
    }
    let wire = Wire::new("wire", &[]);
    let nodes = names
        .iter()
        .map(|name| {
            let node = Node::new(&sandbox, name);
            let number = name.strip_prefix("node").expect("nodes are numbered");
            let addresses =
                [format!("172.18.0.1{number}/16"), format!("fd00:172:18::1{number}/64")];
            wire.plug_in(&node, &addresses.each_ref().map(String::as_str));
            let agent = node.run_agent(&manifests, &[]);
            RealNode { agent, node }
        })
        .collect();
    let mut cluster = RealCluster { nodes, _wire: wire, _sandbox: sandbox };
    for real in &mut cluster.nodes {
        real.agent.wait_ready();
    }
    Some(cluster)
}

/// The pods of a node's own network: namespace, name, IPv4 and IPv6 address.
fn pods_of(node: &str) -> &'static [(&'static str, &'static str, &'static str, &'static str)] {
    match node {
        "node1" => &[
            ("kube-system", "coredns-9fcd48494-tr2qp", "10.244.0.2", "fd00:10:244::2"),
            ("default", "nginx-684c5d76d-tw2q8", "10.244.0.3", "fd00:10:244::3"),
            ("shop", "frontend-6d6bd6b477-hc49v", "10.244.0.4", "fd00:10:244::4"),
        ],
        "node2" => &[
            ("default", "nginx-684c5d76d-xxd5z", "10.244.1.2", "fd00:10:244:1::2"),
            ("shop", "cart-8656c4ccd7-549mq", "10.244.1.3", "fd00:10:244:1::3"),
            ("shop", "frontend-6d6bd6b477-8wc7b", "10.244.1.4", "fd00:10:244:1::4"),
        ],
        "node3" => &[
            ("default", "nginx-684c5d76d-2mjsk", "10.244.2.2", "fd00:10:244:2::2"),
            ("shop", "cart-8656c4ccd7-jvtzf", "10.244.2.3", "fd00:10:244:2::3"),
        ],
        other => panic!("no node {other}"),
    }
}

fn assert_pods_are_built(real: &RealNode) {
    let name = real.node.name();
    let shown = real.agent.get("pods");
    for (namespace, pod_name, v4, v6) in pods_of(name) {
        let netns = pod(namespace, pod_name);
        let addresses = netns.ip("-j address show dev eth0");
        for address in [v4, v6] {
            assert!(addresses.contains(&format!("\"{address}\"")), "{pod_name}: {addresses}");
        }
        let row =
            shown.iter().find(|row| row["name"] == *pod_name).expect("shunt get pods shows it");
        assert_eq!(
            (&row["namespace"], &row["node"]),
            (&Value::from(*namespace), &Value::from(name))
        );
        assert_eq!(row["podIPs"], serde_json::json!([v4, v6]));
        assert_eq!(row["netns"], format!("{namespace}.{pod_name}"));
    }
    let own: Vec<&Value> = shown.iter().filter(|row| row["netns"].is_string()).collect();
    assert_eq!(
        own.len(),
        pods_of(name).len(),
        "pods of the host network have no namespace: {shown:#?}"
    );
}

/// Serves in a pod, and asks a Service from another one until this pod answers.
fn assert_served(
    server: &NetNamespace,
    target_port: u16,
    client: &NetNamespace,
    service: &str,
    protocol: Protocol,
) {
    let target: SocketAddr = service.parse().expect("a socket address");
    let _server = match protocol {
        Protocol::Tcp => Server::tcp(server, "local", target_port),
        Protocol::Udp => Server::udp(server, "local", target_port),
    };
    let answered =
        client.run(|| (0..TRIES).any(|_| client::ask_within(protocol, target, BRIEFLY).is_ok()));
    assert!(answered, "{service} never reached {}", server.name());
}

#[test]
#[ignore = "needs root"]
fn three_nodes_build_the_pods_that_the_control_plane_gave_them() {
    let Some(cluster) = start(&["node1", "node2", "node3"]) else {
        return;
    };
    for real in &cluster.nodes {
        assert_pods_are_built(real);
        let errors = real.agent.source_errors();
        assert!(errors.is_empty(), "{}: {errors:#?}", real.node.name());
        let services = real.agent.get("services");
        for name in [
            "kubernetes",
            "nginx-service",
            "kube-dns",
            "node-probe",
            "cart",
            "frontend-external",
            "legacy-db",
            "no-endpoints",
        ] {
            assert!(services.iter().any(|service| service["name"] == name), "{name} is not shown");
        }
        let names: Vec<Value> =
            real.agent.get("nodes").iter().map(|node| node["name"].clone()).collect();
        assert_eq!(names, ["node1", "node2", "node3"]);
    }
}

#[test]
#[ignore = "needs root"]
fn node1_serves_dns_the_api_server_and_a_website() {
    let Some(cluster) = start(&["node1"]) else {
        return;
    };
    let [dns, nginx, frontend] = pods_of("node1") else { panic!("node1 has three pods") };
    let [dns, nginx, frontend] =
        [dns, nginx, frontend].map(|(namespace, name, ..)| pod(namespace, name));
    assert_served(&dns, 53, &nginx, "10.96.0.10:53", Protocol::Udp);
    assert_served(&dns, 53, &nginx, "10.96.0.10:53", Protocol::Tcp);
    assert_served(&dns, 9153, &frontend, "10.96.0.10:9153", Protocol::Tcp);
    assert_served(&dns, 53, cluster.nodes[0].node.netns(), "10.96.0.10:53", Protocol::Udp);
    assert_served(&nginx, 80, &frontend, "10.96.187.105:80", Protocol::Tcp);
    assert_served(&nginx, 80, &frontend, "[fd00:10:96::996f]:80", Protocol::Tcp);
    assert_served(&frontend, 8080, &dns, "10.96.41.239:80", Protocol::Tcp);
    assert_served(&frontend, 8080, &dns, "[fd00:10:96::52ac]:80", Protocol::Tcp);
    // The API server is a process of the node, at the node's own address.
    assert_served(cluster.nodes[0].node.netns(), 6443, &nginx, "10.96.0.1:443", Protocol::Tcp);
    assert_served(
        cluster.nodes[0].node.netns(),
        6443,
        cluster.nodes[0].node.netns(),
        "10.96.0.1:443",
        Protocol::Tcp,
    );
    // internalTrafficPolicy: Local, and the local endpoint is a pod of the host network.
    assert_served(cluster.nodes[0].node.netns(), 9100, &nginx, "10.96.251.235:9100", Protocol::Tcp);
}

#[test]
#[ignore = "needs root"]
fn the_other_nodes_serve_their_own_endpoints() {
    let Some(cluster) = start(&["node2", "node3"]) else {
        return;
    };
    for real in &cluster.nodes {
        let pods = pods_of(real.node.name());
        let (nginx, cart) = (pod(pods[0].0, pods[0].1), pod(pods[1].0, pods[1].1));
        assert_served(&nginx, 80, &cart, "10.96.187.105:80", Protocol::Tcp);
        assert_served(&nginx, 80, &cart, "[fd00:10:96::996f]:80", Protocol::Tcp);
    }
}

#[test]
#[ignore = "needs root"]
fn a_real_service_without_endpoints_refuses() {
    let Some(_cluster) = start(&["node2"]) else {
        return;
    };
    let (namespace, name, ..) = pods_of("node2")[0];
    let target = SocketAddr::new(ip("10.96.244.52"), 9999);
    let error = pod(namespace, name).run(|| client::ask_tcp(target)).expect_err("nobody serves");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
