//! SCTP services: real packets, made and checked by Scapy, because this kernel has no SCTP socket.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    manifests::{self, ip},
    netns::NetNamespace,
    process::{Process, finish},
    topology::{DIRECT, Layout, Pod, Topology, VXLAN, addresses, bridge, outside_at},
};

const SERVER: &str = include_str!("sctp/server.py");
const CLIENT: &str = include_str!("sctp/client.py");

/// The addresses of Service `signal`.
const SIGNAL: [&str; 2] = ["10.96.1.20", "fd00:10:96::1:20"];
/// Its ports, their endpoints' ports, and its node ports; the third keeps its number.
const PORTS: [u16; 3] = [2905, 2906, 3868];
const TARGET_PORTS: [u16; 3] = [12905, 12906, 3868];
const NODE_PORTS: [u16; 3] = [30905, 30906, 30868];

const CLIENT_PORT: u16 = 45_678;

/// Long enough for a packet that is answered.
const PATIENCE: f64 = 5.0;

fn signal_service() -> Value {
    let ports: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(PORTS.into_iter().zip(TARGET_PORTS))
        .map(|(name, (port, target))| (name, "SCTP", u32::from(port), u32::from(target)))
        .collect();
    let service = manifests::service("signal", &SIGNAL, &ports);
    manifests::with_node_ports(service, &NODE_PORTS)
}

fn signal(port: u16) -> [SocketAddr; 2] {
    SIGNAL.map(|address| SocketAddr::new(ip(address), port))
}

fn serve(netns: &NetNamespace, name: &str) -> Process {
    Process::start(netns.command("/usr/bin/python3").args(["-c", SERVER, name]), "ready")
}

/// Sends chunks one after the other; what came back for each.
fn send(from: &NetNamespace, target: SocketAddr, patience: f64, chunks: &[&str]) -> Vec<Value> {
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let mut python = from.command("/usr/bin/python3");
    python.args(["-c", CLIENT, &address, &port, &CLIENT_PORT.to_string(), &patience.to_string()]);
    let finished = finish(python.args(chunks), Duration::from_secs(40));
    assert_eq!(finished.code, 0, "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"))
}

/// Whether an answer is this chunk, from where it was asked, and whole.
fn assert_is(answer: &Value, chunk: &str, target: SocketAddr) {
    let what = format!("{chunk} of {target}: {answer}");
    assert_eq!(answer["chunk"], chunk, "{what}");
    assert_eq!(answer["from"], json!(target.ip()), "{what}");
    assert_eq!(answer["port"], json!(target.port()), "{what}");
    assert_eq!(answer["checksum_is_right"], true, "{what}");
}

/// An association with `a`, from its beginning to its end. `seen` is the client's address as the
/// server shall see it.
fn assert_associates(from: &NetNamespace, target: SocketAddr, target_port: u16, seen: IpAddr) {
    let answers = send(from, target, PATIENCE, &["INIT", "COOKIE-ECHO", "DATA", "SHUTDOWN"]);
    for (answer, chunk) in answers.iter().zip(["InitAck", "CookieAck", "SACK", "ShutdownAck"]) {
        assert_is(answer, chunk, target);
    }
    let init = &answers[0]["seen"];
    let wanted =
        json!({"server": "a", "port": target_port, "client": seen, "client_port": CLIENT_PORT});
    assert_eq!(*init, wanted, "{target}");
}

/// The nodes with their agents, and a pod `a` of Service `signal` on one of them.
struct Cluster {
    stage: Topology,
    a: Pod,
    client: Pod,
    _server: Process,
}

fn cluster(backend: usize, routing: [&str; 2]) -> Option<Cluster> {
    let mut stage = Topology::new(Layout::routed(2))?;
    let (a, client) = (stage.add_pod("a", backend, "signal"), stage.add_pod("client", 0, "client"));
    stage.manifests.write("signal.yaml", &[signal_service()]);
    stage.network.announce_pods();
    stage.start(&routing);
    wait_for_signal(&stage, &a.addresses);
    let server = serve(&a.netns(), "a");
    Some(Cluster { stage, a, client, _server: server })
}

fn wait_for_signal(stage: &Topology, addresses: &[IpAddr]) {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    for node in 0..2 {
        stage.agent(node).wait_for_endpoints("signal", PORTS[0], "SCTP", &addresses);
    }
}

fn assert_all_ports_of_a_cluster_ip_work(backend: usize, routing: [&str; 2]) {
    let Some(Cluster { stage, client, .. }) = &cluster(backend, routing) else { return };
    for (port, target_port) in PORTS.into_iter().zip(TARGET_PORTS) {
        for (target, own) in signal(port).into_iter().zip(client.addresses) {
            assert_associates(&client.netns(), target, target_port, own);
        }
    }
    for row in stage.agent(0).get("connections") {
        assert_eq!(row["protocol"], "SCTP", "{row}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_cluster_ip_reaches_a_backend_of_the_same_node_on_each_of_its_ports() {
    assert_all_ports_of_a_cluster_ip_work(0, VXLAN);
}

#[test]
#[ignore = "needs root"]
fn a_cluster_ip_reaches_a_backend_of_another_node_through_the_overlay() {
    assert_all_ports_of_a_cluster_ip_work(1, VXLAN);
}

#[test]
#[ignore = "needs root"]
fn a_cluster_ip_reaches_a_backend_of_another_node_by_direct_routes() {
    assert_all_ports_of_a_cluster_ip_work(1, DIRECT);
}

/// `masquerade` is what the backend sees when the first node was asked.
fn assert_node_ports_work(routing: [&str; 2], masquerade: [IpAddr; 2]) {
    let Some(Cluster { stage, .. }) = &cluster(1, routing) else { return };
    let outside = stage.network.outside();
    for (node, seen) in [masquerade, bridge(1)].into_iter().enumerate() {
        for (address, seen) in addresses::node(node).into_iter().zip(seen) {
            let target = SocketAddr::new(address, NODE_PORTS[0]);
            assert_associates(outside, target, TARGET_PORTS[0], seen);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_node_port_works_from_outside_on_each_node_through_the_overlay() {
    assert_node_ports_work(VXLAN, bridge(0));
}

#[test]
#[ignore = "needs root"]
fn a_node_port_works_from_outside_on_each_node_by_direct_routes() {
    assert_node_ports_work(DIRECT, addresses::node(0));
}

/// Whether an ICMP error says "port unreachable" about what was sent to the target, from it.
fn assert_refused(answer: &Value, target: SocketAddr) {
    let unreachable = if target.is_ipv4() { json!([3, 3]) } else { json!([1, 4]) };
    assert_eq!(answer["icmp"], unreachable, "{target}: {answer}");
    assert_eq!(answer["from"], json!(target.ip()), "{target}: {answer}");
    assert_eq!(answer["about"], json!({"to": target.ip(), "port": target.port()}));
}

#[test]
#[ignore = "needs root"]
fn without_endpoints_an_init_is_refused_and_an_abort_is_not_answered() {
    let Some(Cluster { stage, client, .. }) = &cluster(0, VXLAN) else { return };
    stage.remove_pod("a");
    wait_for_signal(stage, &[]);
    let node_ports = addresses::node(0).map(|address| SocketAddr::new(address, NODE_PORTS[0]));
    for (from, targets) in
        [(&client.netns(), signal(PORTS[0])), (stage.network.outside(), node_ports)]
    {
        for target in targets {
            assert_refused(&send(from, target, PATIENCE, &["INIT"])[0], target);
            assert_eq!(send(from, target, 0.5, &["ABORT"])[0], Value::Null, "{target}");
        }
    }
    for address in SIGNAL {
        let no_such_port = SocketAddr::new(ip(address), 9);
        assert_refused(&send(&client.netns(), no_such_port, PATIENCE, &["INIT"])[0], no_such_port);
    }
    assert!(stage.agent(0).drops("no-endpoints") >= 8);
}

#[test]
#[ignore = "needs root"]
fn a_backend_without_sctp_says_so_to_the_client_in_the_services_name() {
    let Some(Cluster { client, a, _server, .. }) = cluster(1, VXLAN) else { return };
    drop(_server); // The kernel answers by itself now: it does not know the protocol.
    for (target, own) in signal(PORTS[0]).into_iter().zip(a.addresses) {
        let answer = &send(&client.netns(), target, PATIENCE, &["INIT"])[0];
        let unknown = if target.is_ipv4() { json!([3, 2]) } else { json!([4, 1]) };
        assert_eq!(answer["icmp"], unknown, "{target}, {own}: {answer}");
        assert_eq!(answer["from"], json!(target.ip()), "{answer}");
        assert_eq!(answer["about"], json!({"to": target.ip(), "port": target.port()}));
    }
}

#[test]
#[ignore = "needs root"]
fn what_pods_send_off_the_cluster_is_masqueraded() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let client = stage.add_pod("client", 0, "client");
    stage.start(&VXLAN);
    let _server = serve(stage.network.outside(), "a");
    for (target, node) in outside_at(PORTS[0]).into_iter().zip(addresses::node(0)) {
        assert_associates(&client.netns(), target, PORTS[0], node);
    }
}
