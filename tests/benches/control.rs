//! What a cluster costs an agent: its start with everything, its memory, and one change.
//!
//! `cargo xtask bench control` runs it. The control plane is a double, or a real one where
//! `SHUNT_CONTROL_PLANE` names the folder of its programs. The client and the two servers that it
//! is sent to in turns are in the outside: what is measured last ends with a packet that came by
//! the uplink and left by it, translated.
#![expect(clippy::expect_used, reason = "what cannot be measured fails by panicking")]
#![expect(clippy::print_stdout, reason = "the table is data")]
#![expect(
    unused_crate_dependencies,
    reason = "the library beside this measurement uses more than it does"
)]

use std::{
    env, fs,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    agent::Agent,
    control_plane::{self, ControlPlane},
    manifests,
    topology::{Layout, NODE_PORT, Topology, VXLAN, addresses},
    traffic::server::Server,
};

const SERVICES: u32 = 5000;
const ENDPOINTS: u32 = 10;
/// The nodes that the endpoints are on.
const NODES: u32 = 200;
const ENDPOINTS_OF_A_NODE: u32 = SERVICES * ENDPOINTS / NODES;
/// The ports of the servers that the service which is changed leads to, in turns.
const PORTS: [u16; 2] = [8081, 8082];
/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_millis(50);
/// How long a change may take.
const LONGEST: Duration = Duration::from_secs(20);
/// Between two changes: what the agent does behind the first is done.
const PAUSE: Duration = Duration::from_millis(200);

fn main() {
    let changes = if env::args().any(|it| it == "--quick") { 20 } else { 100 };
    thread::spawn(move || measure(changes)).join().expect("measuring");
}

fn measure(changes: u32) {
    let Some(sandbox) = ControlPlane::sandbox() else { return };
    let topology = Topology::in_sandbox(sandbox, Layout::one_link(1));
    let control_plane = ControlPlane::start(topology.sandbox(), topology.node(0).netns());
    let outside = topology.network.outside();
    let _servers = PORTS.map(|port| Server::udp(outside, &port.to_string(), port));
    let mut objects: Vec<Value> = (0..NODES).map(node).collect();
    objects.push(topology.node_manifest(0));
    objects.extend([changed_service(), changed_slice(PORTS[0])]);
    objects.extend((0..SERVICES).flat_map(|number| [service(number), slice(number)]));
    control_plane.apply_all(&objects);
    drop(objects);

    let kubeconfig = control_plane.write_kubeconfig(topology.sandbox().root());
    let source = ["--kubeconfig", &kubeconfig.display().to_string()];
    let mut agent =
        Agent::of_source(topology.node(0), source, &[["--uplink", "eth0"], VXLAN].concat());
    let target = topology.node_port(0)[0];
    let mut lines = vec![
        ("control plane", if control_plane::is_real() { "real" } else { "double" }.to_owned()),
        ("Services, endpoints", format!("{SERVICES}, {}", SERVICES * ENDPOINTS)),
    ];
    for (what, sync) in [
        ("first start: all served after", "  of that, programs loaded, maps written"),
        ("start on what is there: after", "  of that, programs loaded, maps compared"),
    ] {
        let begun = Instant::now();
        agent.start();
        outside.run(|| until_served(target, PORTS[0], begun));
        agent.wait_ready();
        lines.push((what, milliseconds(begun.elapsed())));
        let status = agent.status();
        assert_eq!(status["source"]["errors"], serde_json::json!([]), "all is served");
        let micros = status["lastSync"]["durationMicros"].as_u64().expect("a duration");
        lines.push((sync, milliseconds(Duration::from_micros(micros))));
        lines.push(("  memory then, peak", memory(&agent)));
        if what.starts_with("first") {
            agent.sigterm();
        }
    }

    let mut taken = [Vec::new(), Vec::new()];
    for number in 1..=changes {
        thread::sleep(PAUSE);
        let port = PORTS[number as usize % 2];
        let begun = Instant::now();
        let written = thread::scope(|scope| {
            let watcher = scope.spawn(|| outside.run(|| until_served(target, port, begun)));
            control_plane.apply(&[changed_slice(port)]);
            let written = begun.elapsed();
            taken[0].push(watcher.join().expect("a client's answer"));
            written
        });
        taken[1].push(written);
    }
    for (what, times) in ["one change, until the first packet its way", "  of that, the write"]
        .into_iter()
        .zip(taken)
    {
        lines.push((what, spread(times)));
    }
    lines.push(("memory in the end, peak", memory(&agent)));
    let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    for (what, value) in lines {
        println!("{what:width$}  {value}");
    }
}

fn node(number: u32) -> Value {
    let address = format!("172.29.{}.{}", number / 200, number % 200 + 1);
    manifests::node(&format!("far-{number}"), &[&format!("10.241.{number}.0/24")], &[&address])
}

fn service(number: u32) -> Value {
    let address = format!("10.97.{}.{}", number / 200, number % 200 + 1);
    manifests::service(&format!("s-{number}"), &[&address], &[("http", "TCP", 80, 8080)])
}

/// Its endpoints are on as many nodes.
fn slice(number: u32) -> Value {
    let name = format!("s-{number}");
    let place = |index: u32| {
        let endpoint = index * SERVICES + number;
        (endpoint / ENDPOINTS_OF_A_NODE, endpoint % ENDPOINTS_OF_A_NODE + 2)
    };
    let places: Vec<_> = (0..ENDPOINTS).map(place).collect();
    let addresses: Vec<String> =
        places.iter().map(|(node, host)| format!("10.241.{node}.{host}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let ports = [("http", "TCP", 8080)];
    let mut slice = manifests::slice(&format!("{name}-1"), &name, "", &addresses, &ports);
    for (index, (node, _)) in places.iter().enumerate() {
        slice["endpoints"][index]["nodeName"] = format!("far-{node}").into();
    }
    slice
}

fn changed_service() -> Value {
    let service = manifests::service("changed", &["10.96.1.10"], &[("ask", "UDP", 80, 8080)]);
    manifests::with_node_ports(service, &[NODE_PORT])
}

fn changed_slice(port: u16) -> Value {
    let outside = addresses::outside()[0].to_string();
    manifests::slice("changed-1", "changed", "outside", &[&outside], &[("ask", "UDP", port)])
}

/// Asks from ever new ports until the server answers that listens on a port; when that was asked.
fn until_served(target: SocketAddr, port: u16, begun: Instant) -> Duration {
    let wanted = port.to_string();
    loop {
        let asked = begun.elapsed();
        assert!(asked < LONGEST, "{target} does not lead to {port}");
        let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a client's socket");
        socket.connect(target).expect("a way to the node");
        socket.set_read_timeout(Some(ANSWER)).expect("a timeout");
        let mut buffer = [0; 512];
        let answer = socket.send(b"who").and_then(|_| socket.recv(&mut buffer));
        match answer {
            Ok(length) if String::from_utf8_lossy(&buffer[..length]).contains(&wanted) => {
                return asked;
            }
            Ok(_) => thread::sleep(Duration::from_micros(200)),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => {}
        }
    }
}

fn memory(agent: &Agent) -> String {
    let path = format!("/proc/{}/status", agent.pid());
    let status = fs::read_to_string(path).expect("what the kernel knows of the agent");
    let mebibytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        format!("{}.{} MiB", kibibytes / 1024, kibibytes % 1024 * 10 / 1024)
    };
    format!("{}, {}", mebibytes("VmRSS:"), mebibytes("VmHWM:"))
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let part = |percent: usize| times[(times.len() - 1) * percent / 100];
    let cells = [("p50", 50), ("p90", 90), ("p99", 99), ("most", 100)];
    let cells = cells.map(|(name, percent)| format!("{name} {}", milliseconds(part(percent))));
    cells.join(", ")
}

fn milliseconds(time: Duration) -> String {
    format!("{}.{:02} ms", time.as_millis(), time.subsec_micros() % 1000 / 10)
}
