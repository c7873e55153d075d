//! One client port, Services, and the backend of the Services itself: to the backend all look the
//! same, and all work.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;
use tests::{
    manifests::{self, ip},
    netns::NetNamespace,
    one_node::{TARGET_PORT, WEB_PORT, web},
    topology::{DIRECT, Layout, Pod, Topology, VXLAN},
    traffic::{Answer, client, from_port, server::Server},
};

/// Another Service with the backend of `web`.
const SECOND: [&str; 2] = ["10.96.1.20", "fd00:10:96::1:20"];

/// `client` on the first node, and `a`, the one backend of two Services.
struct Stage {
    client: NetNamespace,
    /// The two Services and the backend, by family.
    targets: [[SocketAddr; 3]; 2],
    _servers: [Server; 2],
    _topology: Topology,
}

impl Stage {
    fn new(backend_on: usize, routing: [&str; 2]) -> Option<Self> {
        let mut topology = Topology::new(Layout::one_link(2))?;
        let client = topology.add_pod("client", 0, "client");
        let backend = topology.add_pod("a", backend_on, "web");
        topology.write_web(|service| service);
        let (port, target) = (u32::from(WEB_PORT), u32::from(TARGET_PORT));
        let ports = [("http", "TCP", port, target), ("ask", "UDP", port, target)];
        let mut second = manifests::service("second", &SECOND, &ports);
        second["spec"]["selector"] = json!({"app": "web"});
        topology.manifests.write("second.yaml", &[second]);
        topology.start(&routing);
        topology.wait_for_web(&backend.addresses);
        for protocol in ["TCP", "UDP"] {
            let addresses = backend.addresses.map(|address| address.to_string());
            let addresses = addresses.each_ref().map(String::as_str);
            topology.agent(0).wait_for_endpoints("second", WEB_PORT, protocol, &addresses);
        }
        let servers = backend.serve();
        Some(Self {
            client: client.netns(),
            targets: targets(&backend),
            _servers: servers,
            _topology: topology,
        })
    }

    /// The targets of a family in every order.
    fn orders(&self) -> impl Iterator<Item = [SocketAddr; 3]> {
        const ORDERS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        self.targets
            .into_iter()
            .flat_map(|targets| ORDERS.map(|order| order.map(|index| targets[index])))
    }
}

fn targets(backend: &Pod) -> [[SocketAddr; 3]; 2] {
    let [web_v4, web_v6] = web();
    let [second_v4, second_v6] = SECOND.map(|address| SocketAddr::new(ip(address), WEB_PORT));
    let [direct_v4, direct_v6] = backend.at(TARGET_PORT);
    [[web_v4, second_v4, direct_v4], [web_v6, second_v6, direct_v6]]
}

/// Ports that no other flow of these tests has had.
struct Ports(u16);

impl Ports {
    fn next(&mut self) -> u16 {
        self.0 += 1;
        self.0
    }
}

fn connect(port: u16, target: SocketAddr, order: &[SocketAddr; 3]) -> TcpStream {
    from_port::stream(port, target)
        .unwrap_or_else(|error| panic!("{target} from port {port}, of {order:?}: {error}"))
}

fn assert_from_a(answer: io::Result<Answer>, target: SocketAddr, order: &[SocketAddr; 3]) {
    let answer = answer.unwrap_or_else(|error| panic!("{target}, of {order:?}: {error}"));
    assert_eq!(answer.server, "a");
}

fn reset(stream: &TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &at_once).expect("SO_LINGER");
}

/// All three live at once, and say something again when all are made.
fn tcp_at_once(stage: &Stage, ports: &mut Ports) {
    for order in stage.orders() {
        let port = ports.next();
        let streams = order.map(|target| {
            let stream = connect(port, target, &order);
            assert_from_a(from_port::ask_on_stream(&stream), target, &order);
            stream
        });
        for _ in 0..2 {
            for (stream, target) in streams.iter().zip(order) {
                assert_from_a(from_port::ask_on_stream(stream), target, &order);
                assert_eq!(stream.peer_addr().expect("a peer"), target);
            }
        }
    }
}

/// Each begins when the one before has ended: closed by both sides, or reset.
fn tcp_one_after_the_other(stage: &Stage, ports: &mut Ports) {
    for is_reset in [false, true] {
        for order in stage.orders() {
            let port = ports.next();
            for target in order {
                let stream = connect(port, target, &order);
                assert_from_a(from_port::ask_on_stream(&stream), target, &order);
                if is_reset {
                    reset(&stream);
                }
            }
        }
    }
}

/// From one socket, in turn.
fn udp(stage: &Stage, ports: &mut Ports) {
    for order in stage.orders() {
        let any = if order[0].is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any, ports.next())).expect("binding");
        socket.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        for target in order.into_iter().cycle().take(9) {
            socket.send_to(b"who", target).expect("sending");
            let (_, from) = socket
                .recv_from(&mut [0; 200])
                .unwrap_or_else(|error| panic!("{target}, of {order:?}: {error}"));
            assert_eq!(from, target, "who is asked answers");
        }
    }
}

/// From sockets that come one after the other, each connected: what is not from its peer is lost.
fn udp_one_after_the_other(stage: &Stage, ports: &mut Ports) {
    for order in stage.orders() {
        let port = ports.next();
        for target in order {
            let socket = from_port::datagrams(port, target).expect("a socket");
            assert_from_a(client::ask_on(&socket, "who"), target, &order);
        }
    }
}

fn assert_all_work(stage: Option<Stage>) {
    let Some(stage) = stage else { return };
    let mut ports = Ports(45000);
    let client = stage.client.clone();
    client.run(|| {
        tcp_at_once(&stage, &mut ports);
        tcp_one_after_the_other(&stage, &mut ports);
        udp(&stage, &mut ports);
        udp_one_after_the_other(&stage, &mut ports);
    });
}

#[test]
#[ignore = "needs root"]
fn two_services_and_their_backend_are_reached_from_one_port_on_one_node() {
    assert_all_work(Stage::new(0, VXLAN));
}

#[test]
#[ignore = "needs root"]
fn two_services_and_their_backend_are_reached_from_one_port_through_the_overlay() {
    assert_all_work(Stage::new(1, VXLAN));
}

#[test]
#[ignore = "needs root"]
fn two_services_and_their_backend_are_reached_from_one_port_by_direct_routes() {
    assert_all_work(Stage::new(1, DIRECT));
}

#[test]
#[ignore = "needs root"]
fn a_pod_that_is_made_anew_is_reached_from_a_port_that_had_a_flow_to_the_old_one() {
    let Some(stage) = tests::one_node::OneNode::start(|manifests| {
        manifests.write("a.yaml", &[tests::one_node::pod_at("a", 11)]);
        let client = manifests::pod("client", tests::one_node::NODE, "client", &[]);
        manifests.write("client.yaml", &[client]);
    }) else {
        return;
    };
    let servers = stage.serve(&["a"]);
    let targets = stage.pod_ips("a").into_iter().map(|ip| SocketAddr::new(ip, TARGET_PORT));
    let targets: Vec<SocketAddr> = targets.collect();
    let client = stage.pod("client");
    let sockets: Vec<(UdpSocket, TcpStream)> = client.run(|| {
        let talk = |&target: &SocketAddr| {
            let socket = client::connect_udp(target).expect("a socket");
            assert_eq!(client::ask_on(&socket, "who").expect("an answer").server, "a");
            let stream = client::connect(target).expect("a connection");
            assert_eq!(from_port::ask_on_stream(&stream).expect("an answer").server, "a");
            (socket, stream)
        };
        targets.iter().map(talk).collect()
    });
    // Another pod gets the addresses, behind another interface.
    stage.manifests.write("a.yaml", &[tests::one_node::pod_at("b", 11)]);
    let _others = stage.serve(&["b"]);
    for (socket, stream) in &sockets {
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        tests::wait::until("the new pod's answer", tests::wait::PATIENCE, || match client::ask_on(
            socket, "who",
        ) {
            Ok(answer) if answer.server == "b" => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let error = from_port::ask_on_stream(stream).expect_err("nobody knows the connection");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    drop(servers);
}
