//! The node's own sockets, with the programs attached to their cgroup: whom they reach by the
//! address that they have.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use aya::programs::CgroupAttachMode;
use datapath::testing::node::Node;
use maps_schema::{
    address::{AddressPair, Family, Port, Protocol},
    service::{Audience, ClientAddress, FrontendKey},
    socket::SocketNamespace,
};
use tests::{
    cgroup::{cgroup2, netns_cookie},
    packets::{
        fixture::Memory,
        kernel::KernelMachine,
        machine::Machine as _,
        world::{
            BACKEND, NO_SERVICE, OTHER_BACKEND, PORT, RESTRICTED_SERVICE, STICKY_SERVICE,
            TARGET_PORT, group, node, outside, pod, service,
        },
    },
    process::{mortal_command, must},
    sandbox::Sandbox,
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The node's address: the restricted service serves it.
const NODE: u8 = 1;
/// Another of its addresses, which that does not serve.
const OTHER_NODE: u8 = 200;

const PROGRAMS: [&str; 6] = [
    "socket_connect4",
    "socket_connect6",
    "socket_sendmsg4",
    "socket_sendmsg6",
    "socket_recvmsg4",
    "socket_recvmsg6",
];

/// Both backends of the sticky service, in the namespace of the clients.
struct Backends(Vec<(u8, TcpListener, UdpSocket)>);

impl Backends {
    fn listen(family: Family) -> Self {
        let listen = |number| {
            let address = SocketAddr::new(pod(family, number), TARGET_PORT);
            let (tcp, udp) = (TcpListener::bind(address), UdpSocket::bind(address));
            let (tcp, udp) = (tcp.expect("a port is free"), udp.expect("a port is free"));
            tcp.set_nonblocking(true).expect("setting a mode");
            udp.set_nonblocking(true).expect("setting a mode");
            (number, tcp, udp)
        };
        Self([BACKEND, OTHER_BACKEND].map(listen).into())
    }

    /// Which one a client has reached, if it has.
    fn reached(&self, by: io::Result<()>) -> Result<u8, ErrorKind> {
        by.map_err(|error| error.kind())?;
        let has_heard = |(_, tcp, udp): &&(u8, TcpListener, UdpSocket)| {
            tcp.accept().is_ok() || udp.recv(&mut [0; 16]).is_ok()
        };
        self.0.iter().find(has_heard).map(|(number, ..)| *number).ok_or(ErrorKind::NotFound)
    }
}

/// Connects over TCP, from the address that the kernel chooses.
fn connect(to: SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(&to, Duration::from_secs(1)).map(drop)
}

/// Sends a datagram from an address, connected before or not.
fn send(from: IpAddr, to: SocketAddr, connected: bool) -> io::Result<()> {
    let socket = UdpSocket::bind((from, 0)).expect("an own address");
    if connected {
        socket.connect(to)?;
        socket.send(b"anybody?").map(drop)
    } else {
        socket.send_to(b"anybody?", to).map(drop)
    }
}

/// Gives the calling thread's namespace the addresses of everybody; its cookie.
fn make_addresses() -> u64 {
    must(mortal_command("ip").args(["link", "set", "lo", "up"]));
    for family in FAMILIES {
        let own = [pod(family, BACKEND), pod(family, OTHER_BACKEND)];
        for address in own.into_iter().chain([NODE, OTHER_NODE].map(|one| outside(family, one))) {
            let address = address.to_string();
            must(mortal_command("ip").args(["address", "add", &address, "dev", "lo"]));
        }
    }
    netns_cookie()
}

/// Loads the programs, and attaches them; what they know is of `node`.
fn attach(node: &Node) -> KernelMachine {
    let mut machine = KernelMachine::open(node);
    let cgroup = cgroup2();
    for name in PROGRAMS {
        let program = machine.socket_program(name);
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        program.attach(&cgroup, CgroupAttachMode::Single).expect("attaching");
    }
    machine
}

fn of(owner: u32) -> SocketNamespace {
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (outside(Family::V4, NODE), outside(Family::V6, NODE))
    else {
        unreachable!("asked for both");
    };
    SocketNamespace { addresses: AddressPair { v4: v4.into(), v6: v6.into() }, owner }
}

#[test]
#[ignore = "needs root"]
fn sockets_stay_with_the_backend_of_their_address() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let cookie = make_addresses();
    let mut machine = attach(&node(100));
    machine.add_socket_namespace(cookie, of(SocketNamespace::NODE));
    for family in FAMILIES {
        let backends = Backends::listen(family);
        let vip = SocketAddr::new(service(family, STICKY_SERVICE), PORT);
        for (client, backend) in [(NODE, OTHER_BACKEND), (OTHER_NODE, BACKEND)] {
            for protocol in [Protocol::TCP, Protocol::UDP] {
                machine.remember(&Memory {
                    client: outside(family, client),
                    group: group(protocol),
                    endpoint: (pod(family, backend), TARGET_PORT).into(),
                    age: Duration::from_secs(100),
                });
            }
        }
        let any = if family == Family::V4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        for _ in 0..8 {
            assert_eq!(backends.reached(connect(vip)), Ok(OTHER_BACKEND), "{family:?}");
            for connected in [true, false] {
                for (from, backend) in
                    [(any, OTHER_BACKEND), (outside(family, OTHER_NODE), BACKEND)]
                {
                    let sent = send(from, vip, connected);
                    assert_eq!(backends.reached(sent), Ok(backend), "{from} {connected}");
                }
            }
        }
        let IpAddr::V4(v4) = vip.ip() else { continue };
        let mapped = SocketAddr::new(v4.to_ipv6_mapped().into(), PORT);
        for connected in [true, false] {
            let sent = send(Ipv6Addr::UNSPECIFIED.into(), mapped, connected);
            assert_eq!(backends.reached(sent), Ok(OTHER_BACKEND), "mapped, {connected}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn sockets_that_are_not_served_are_told_at_once() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let cookie = make_addresses();
    let mut machine = attach(&node(100));
    machine.add_socket_namespace(cookie, of(SocketNamespace::NODE));
    let unreachable = Err(ErrorKind::HostUnreachable);
    for family in FAMILIES {
        let backends = Backends::listen(family);
        let vip = SocketAddr::new(service(family, RESTRICTED_SERVICE), PORT);
        assert_eq!(backends.reached(connect(vip)), Ok(BACKEND), "{family:?}");
        for connected in [true, false] {
            let sent = send(outside(family, NODE), vip, connected);
            assert_eq!(backends.reached(sent), Ok(BACKEND), "{family:?} {connected}");
            let sent = send(outside(family, OTHER_NODE), vip, connected);
            assert_eq!(backends.reached(sent), unreachable, "{family:?} {connected}");
        }
        let nobody = SocketAddr::new(service(family, NO_SERVICE), PORT);
        assert_eq!(backends.reached(connect(nobody)), unreachable, "{family:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn node_ports_on_loopback_addresses_are_for_the_nodes_namespace() {
    const NODE_PORT: u16 = 30080;
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    let cookie = make_addresses();
    let mut node = node(100);
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let IpAddr::V4(vip) = service(Family::V4, STICKY_SERVICE) else { unreachable!("asked for it") };
    let key = FrontendKey::new(vip.into(), Port::new(PORT), Protocol::TCP, Audience::Inside);
    let sticky = node.v4.frontends[&key].service();
    node.lead(loopback, NODE_PORT, Protocol::TCP, (Audience::Node, ClientAddress::Kept), sticky);
    let mut machine = attach(&node);
    let backends = Backends::listen(Family::V4);
    let to = SocketAddr::new(loopback, NODE_PORT);
    machine.add_socket_namespace(cookie, of(SocketNamespace::POD));
    assert_eq!(backends.reached(connect(to)), Err(ErrorKind::ConnectionRefused));
    machine.add_socket_namespace(cookie, of(SocketNamespace::NODE));
    assert!(backends.reached(connect(to)).is_ok());
}
