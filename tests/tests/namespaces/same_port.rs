//! One client port, a Service, and the Service's backend itself: to the backend both look the same.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use tests::{
    netns::NetNamespace,
    one_node::{OneNode, TARGET_PORT, web},
};

const CLIENT_PORT: u16 = 45678;
const PATIENCE: Duration = Duration::from_secs(5);

fn stream_from(port: u16, target: SocketAddr) -> TcpStream {
    let (family, any) = if target.is_ipv4() {
        (AddressFamily::Inet, SocketAddr::from(([0, 0, 0, 0], port)))
    } else {
        (AddressFamily::Inet6, SocketAddr::from(([0_u16; 8], port)))
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&fd, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(any)).expect("binding");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    connect(stream.as_raw_fd(), &SockaddrStorage::from(target))
        .unwrap_or_else(|error| panic!("connecting to {target} from port {port}: {error}"));
    stream
}

/// Both at once, then again the backend alone, when the Service's connection is over.
fn tcp(pod: &NetNamespace, service: SocketAddr, backend: SocketAddr) {
    pod.run(|| {
        let to_service = stream_from(CLIENT_PORT, service);
        let to_backend = stream_from(CLIENT_PORT, backend);
        ask(&to_backend);
        ask(&to_service);
        // A reset leaves the port free at once, and shunt's entries for a while.
        for stream in [&to_service, &to_backend] {
            let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(stream, sockopt::Linger, &at_once).expect("SO_LINGER");
        }
        drop((to_service, to_backend));
        let again = stream_from(CLIENT_PORT, backend);
        ask(&again);
    });
}

fn ask(stream: &TcpStream) {
    let mut line = String::new();
    let mut writer = stream;
    writer.write_all(b"who\n").expect("asking");
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    assert!(line.starts_with('a'), "{line}");
}

fn udp(pod: &NetNamespace, service: SocketAddr, backend: SocketAddr) {
    pod.run(|| {
        let any = if service.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any, CLIENT_PORT)).expect("binding");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for target in [service, backend, service, backend] {
            socket.send_to(b"who\n", target).expect("sending");
            let (_, from) = socket.recv_from(&mut [0; 200]).expect("an answer");
            assert_eq!(from, target, "who is asked answers");
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_service_and_its_backend_are_reached_from_one_port() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let pod = stage.pod("client");
    for service in web() {
        let ip = stage.pod_ips("a").into_iter().find(|ip| ip.is_ipv4() == service.is_ipv4());
        let backend = SocketAddr::new(ip.expect("an address of the family"), TARGET_PORT);
        tcp(&pod, service, backend);
        udp(&pod, service, backend);
    }
}
