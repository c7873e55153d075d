//! The node's own processes are not left talking to a backend that is gone: unconnected sockets are
//! led elsewhere, connected ones are ended, and nobody else's are touched.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use tests::{
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{NODE, OneNode, TARGET_PORT, addresses_at, pod_at, web, web_service, write_slices},
    traffic::client,
};

/// How soon after the change of a manifest a socket is led elsewhere or ended.
const SOON: Duration = Duration::from_secs(4);

/// Pods `a` (11) and `b` (12), of which only `a` is behind the service, and `client`.
fn fill(manifests: &ManifestDir) {
    manifests.write("web.yaml", &[web_service()]);
    for (name, number) in [("a", 11), ("b", 12)] {
        manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
    }
    manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
    write_slices(manifests, &[11]);
}

/// An IPv4 address as a dual-stack socket writes it.
fn mapped(address: SocketAddr) -> SocketAddr {
    let IpAddr::V4(v4) = address.ip() else { panic!("{address} is not IPv4") };
    SocketAddr::new(v4.to_ipv6_mapped().into(), address.port())
}

/// Both families, and IPv4 as a dual-stack socket asks for it.
fn with_mapped([v4, v6]: [SocketAddr; 2]) -> [SocketAddr; 3] {
    [v4, v6, mapped(v4)]
}

/// The service.
fn service() -> [SocketAddr; 3] {
    with_mapped(web())
}

/// Pod `a` itself.
fn pod_a() -> [SocketAddr; 3] {
    with_mapped(addresses_at(11).map(|ip| SocketAddr::new(ip.parse().unwrap(), TARGET_PORT)))
}

/// A socket that is connected to one server.
enum Conversation {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Conversation {
    fn tcp(target: SocketAddr) -> Self {
        Self::Tcp(client::connect(target).expect("connecting"))
    }

    fn udp(target: SocketAddr) -> Self {
        Self::Udp(client::connect_udp(target).expect("connecting"))
    }

    fn hear(&mut self, patience: Duration) -> io::Result<String> {
        let mut buffer = [0; 200];
        let length = match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.read(&mut buffer)?
            }
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.recv(&mut buffer)?
            }
        };
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Ok(answer.split(' ').next().unwrap_or_default().to_owned())
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Udp(socket) => socket.peer_addr(),
        }
    }

    /// The name of the server.
    fn ask(&mut self) -> io::Result<String> {
        match self {
            Self::Tcp(stream) => stream.write_all(b"stay\n")?,
            Self::Udp(socket) => drop(socket.send(b"stay")?),
        }
        self.hear(SOON)
    }
}

/// Conversations with pod `a`, made in a namespace.
fn conversations(
    namespace: &NetNamespace,
    start: fn(SocketAddr) -> Conversation,
    targets: [SocketAddr; 3],
) -> Vec<Conversation> {
    let mut conversations: Vec<_> =
        namespace.run(|| targets.into_iter().map(start).collect::<Vec<_>>());
    assert_answered(&mut conversations, "a");
    for (conversation, target) in conversations.iter().zip(targets) {
        assert_eq!(conversation.peer().expect("getpeername"), target);
    }
    conversations
}

/// A process that only listens is told, too.
fn assert_ended(conversations: &mut [Conversation], since: Instant, soon: Duration) {
    for (number, conversation) in conversations.iter_mut().enumerate() {
        let error = conversation.hear(soon).expect_err("nobody says anything");
        let took = since.elapsed();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{number}: {error} in {took:?}");
        assert!(took < soon, "{number}: {took:?}");
    }
}

fn assert_untouched(conversations: &mut [Conversation]) {
    for (number, conversation) in conversations.iter_mut().enumerate() {
        let error = conversation.hear(Duration::from_millis(100)).expect_err("nobody speaks");
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{number}: {error}");
    }
}

fn assert_answered(conversations: &mut [Conversation], by: &str) {
    for conversation in conversations {
        assert_eq!(conversation.ask().expect("an answer"), by);
    }
}

#[test]
#[ignore = "needs root"]
fn unconnected_udp_moves_to_the_backend_that_serves() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let mut sockets: Vec<(UdpSocket, SocketAddr)> = stage.node.netns().run(|| {
        let bind = |target: SocketAddr| {
            let any: IpAddr = if target.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            (UdpSocket::bind((any, 0)).expect("binding"), target)
        };
        service().into_iter().map(bind).collect()
    });
    let ask = |(socket, target): &mut (UdpSocket, SocketAddr)| {
        socket.set_read_timeout(Some(SOON)).expect("setting a timeout");
        socket.send_to(b"who", *target).expect("sending");
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).expect("a reply");
        assert_eq!(from, *target);
        String::from_utf8_lossy(&buffer[..length]).split(' ').next().unwrap().to_owned()
    };
    for socket in &mut sockets {
        assert_eq!(ask(socket), "a");
    }
    // The one that was asked before still runs, and would answer.
    write_slices(&stage.manifests, &[12]);
    let changed = Instant::now();
    for socket in &mut sockets {
        while ask(socket) != "b" {
            assert!(changed.elapsed() < SOON, "{} still goes to pod a", socket.1);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for socket in &mut sockets {
        assert_eq!(ask(socket), "b");
    }
}

#[test]
#[ignore = "needs root"]
fn connected_udp_is_ended_when_its_endpoint_no_longer_serves() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns();
    let mut conversations_with_service = conversations(node, Conversation::udp, service());
    let mut direct = conversations(node, Conversation::udp, pod_a());
    write_slices(&stage.manifests, &[12]);
    assert_ended(&mut conversations_with_service, Instant::now(), SOON);
    assert_answered(&mut direct, "a");
    for (conversation, target) in conversations_with_service.iter_mut().zip(service()) {
        let Conversation::Udp(socket) = conversation else { panic!("it is UDP") };
        node.run(|| socket.connect(target)).expect("connecting again");
        assert_eq!(conversation.ask().expect("an answer"), "b");
    }
}

#[test]
#[ignore = "needs root"]
fn a_socket_that_left_the_service_for_the_pod_is_not_ended() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns();
    let mut moved = conversations(node, Conversation::udp, service());
    let mut stayed = conversations(node, Conversation::udp, service());
    for (conversation, target) in moved.iter_mut().zip(pod_a()) {
        let Conversation::Udp(socket) = conversation else { panic!("it is UDP") };
        node.run(|| socket.connect(target)).expect("connecting to the pod");
        assert_eq!(conversation.peer().expect("getpeername"), target);
    }
    write_slices(&stage.manifests, &[12]);
    assert_ended(&mut stayed, Instant::now(), SOON);
    assert_answered(&mut moved, "a");
}

#[test]
#[ignore = "needs root"]
fn tcp_lives_on_when_its_pod_left_the_slice_and_runs() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns();
    let mut tcp = conversations(node, Conversation::tcp, service());
    let mut udp = conversations(node, Conversation::udp, service());
    write_slices(&stage.manifests, &[12]);
    // The end of these tells that sockets were looked at.
    assert_ended(&mut udp, Instant::now(), SOON);
    assert_answered(&mut tcp, "a");
}

#[test]
#[ignore = "needs root"]
fn tcp_and_udp_are_ended_when_their_pod_is_gone() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns();
    let mut ended = conversations(node, Conversation::tcp, service());
    ended.extend(conversations(node, Conversation::udp, service()));
    let mut direct = conversations(node, Conversation::tcp, pod_a());
    direct.extend(conversations(node, Conversation::udp, pod_a()));
    write_slices(&stage.manifests, &[12]);
    stage.manifests.remove("a.yaml");
    assert_ended(&mut ended, Instant::now(), SOON);
    assert_untouched(&mut direct);
    let mut anew: Vec<_> = node.run(|| service().into_iter().map(Conversation::tcp).collect());
    assert_answered(&mut anew, "b");
}

#[test]
#[ignore = "needs root"]
fn tcp_is_ended_when_its_address_has_become_another_pods() {
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let node = stage.node.netns();
    let mut tcp = conversations(node, Conversation::tcp, service());
    let mut direct = conversations(node, Conversation::tcp, pod_a());
    stage.manifests.write("a.yaml", &[pod_at("other", 11)]);
    assert_ended(&mut tcp, Instant::now(), 2 * SOON);
    assert_untouched(&mut direct);
}

#[test]
#[ignore = "needs root"]
fn tcp_is_ended_when_its_pod_has_gone_while_the_agent_was_away() {
    let Some(mut stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let node = stage.node.netns().clone();
    let mut tcp = conversations(&node, Conversation::tcp, service());
    let mut udp = conversations(&node, Conversation::udp, service());
    stage.agent.kill9();
    stage.manifests.remove("a.yaml");
    write_slices(&stage.manifests, &[12]);
    assert_answered(&mut tcp, "a");
    stage.agent.start();
    stage.agent.wait_ready();
    assert_ended(&mut tcp, Instant::now(), SOON);
    assert_ended(&mut udp, Instant::now(), SOON);
}

#[test]
#[ignore = "needs root"]
fn sockets_of_pods_are_ended_where_they_are_translated() {
    let Some(mut stage) = OneNode::prepare(fill) else {
        return;
    };
    stage.agent = stage.node.run_agent(&stage.manifests, &["--socket-lb", "all"]);
    stage.agent.wait_ready();
    let _servers = stage.serve(&["a", "b"]);
    let pod = stage.pod("client");
    let mut tcp = conversations(&pod, Conversation::tcp, service());
    let mut udp = conversations(&pod, Conversation::udp, service());
    let mut direct = conversations(&pod, Conversation::udp, pod_a());
    write_slices(&stage.manifests, &[12]);
    assert_ended(&mut udp, Instant::now(), SOON);
    assert_answered(&mut tcp, "a");
    assert_answered(&mut direct, "a");
    stage.manifests.remove("a.yaml");
    assert_ended(&mut tcp, Instant::now(), SOON);
}
