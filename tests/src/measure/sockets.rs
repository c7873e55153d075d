//! What the programs of sockets cost. No test-run calls them, so sockets do, and the kernel's run
//! statistics tell the time: per call, less what they tell of a program that does nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use aya::{
    EbpfLoader,
    programs::{CgroupAttachMode, CgroupSockAddr},
    sys::{Stats, enable_stats},
};
use maps_schema::{
    address::{AddressPair, Family},
    socket::SocketNamespace,
};

use super::{
    replay::replay_object_path,
    world::{EMPTY, FIRST, PORT, TARGET_PORT, node},
};
use crate::{
    cgroup::{cgroup2, netns_cookie},
    packets::{
        kernel::KernelMachine,
        uplink_world::own,
        world::{pod, service},
    },
    process::{mortal_command, must},
};

const PROGRAMS: [&str; 4] =
    ["socket_connect", "socket_sendmsg", "socket_recvmsg", "socket_getpeername"];

/// What calls of one kind cost.
#[derive(Clone, Copy, Debug)]
pub struct SocketFigure {
    /// The program, without its family's number.
    pub program: &'static str,
    /// What a socket asked for.
    pub what: &'static str,
    /// The family.
    pub family: Family,
    /// The median of the rounds, in nanoseconds per call.
    pub nanoseconds: f64,
}

/// Sockets of a family, and whom they talk to.
struct Sockets {
    client: UdpSocket,
    server: UdpSocket,
    service: SocketAddr,
    empty: SocketAddr,
    nobody: SocketAddr,
}

/// The program that a call runs, what it is for, and the call.
type Call = (&'static str, &'static str, fn(&Sockets));

const CALLS: [Call; 6] = [
    ("socket_connect", "to a service", |sockets| {
        sockets.client.connect(sockets.service).expect("there is an endpoint");
    }),
    ("socket_connect", "refused, no endpoint", |sockets| {
        sockets.client.connect(sockets.empty).expect_err("there is no endpoint");
    }),
    ("socket_connect", "passed on, no service", |sockets| {
        sockets.client.connect(sockets.nobody).expect("a route");
    }),
    ("socket_sendmsg", "to a service, as before", exchange),
    ("socket_recvmsg", "from an endpoint", exchange),
    ("socket_getpeername", "of an endpoint", |sockets| {
        sockets.client.connect(sockets.service).expect("there is an endpoint");
        assert_eq!(sockets.client.peer_addr().expect("a peer"), sockets.service);
    }),
];

/// A datagram, and its answer.
fn exchange(sockets: &Sockets) {
    let mut byte = [0];
    sockets.client.send_to(&byte, sockets.service).expect("sending");
    let (_, client) = sockets.server.recv_from(&mut byte).expect("receiving");
    sockets.server.send_to(&byte, client).expect("answering");
    let (_, from) = sockets.client.recv_from(&mut byte).expect("receiving");
    assert_eq!(from, sockets.service, "the client sees the service");
}

/// Measures each kind of call so many times in each of so many rounds. The calling thread is in a
/// network namespace of its own.
pub fn measure_sockets(rounds: u32, calls: u32) -> Vec<SocketFigure> {
    must(mortal_command("ip").args(["link", "set", "lo", "up"]));
    let families = [Family::V4, Family::V6];
    for address in families.map(|family| [pod(family, FIRST), own(family)]).concat() {
        let address = address.to_string();
        must(mortal_command("ip").args(["address", "add", &address, "dev", "lo"]));
    }
    let mut machine = KernelMachine::open(&node(1 << 10));
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (own(Family::V4), own(Family::V6)) else {
        unreachable!("asked for both");
    };
    let addresses = AddressPair { v4: v4.into(), v6: v6.into() };
    let namespace = SocketNamespace { addresses, owner: SocketNamespace::NODE };
    machine.add_socket_namespace(netns_cookie(), namespace);
    let _statistics = enable_stats(Stats::RunTime).expect("Linux 5.8");
    let nothing = measure_nothing(rounds, calls);
    let cgroup = cgroup2();
    for name in PROGRAMS.map(|name| families.map(|family| named(name, family))).concat() {
        let program = machine.socket_program(&name);
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        program.attach(&cgroup, CgroupAttachMode::Single).expect("attaching to a cgroup");
    }
    let mut figures = Vec::new();
    for family in families {
        for (program, what, call) in CALLS {
            let sockets = Sockets::new(family);
            let attached = machine.socket_program(&named(program, family));
            let time = median(rounds, || time(attached, calls, &sockets, call));
            figures.push(SocketFigure { program, what, family, nanoseconds: time - nothing });
        }
    }
    figures
}

/// What the statistics tell of a program that does nothing.
fn measure_nothing(rounds: u32, calls: u32) -> f64 {
    let object = std::fs::read(replay_object_path()).expect("`cargo xtask build` makes it");
    let mut ebpf = EbpfLoader::new().load(&object).expect("loading the replay object");
    let program: &mut CgroupSockAddr = ebpf
        .program_mut("nothing_connect4")
        .and_then(|program| program.try_into().ok())
        .expect("the object has the program");
    program.load().expect("loading what does nothing");
    program.attach(cgroup2(), CgroupAttachMode::Single).expect("attaching to a cgroup");
    let sockets = Sockets::new(Family::V4);
    let call: fn(&Sockets) = |sockets| sockets.client.connect(sockets.nobody).expect("a route");
    median(rounds, || time(program, calls, &sockets, call))
}

/// The mean time of the program in so many calls.
fn time(program: &CgroupSockAddr, calls: u32, sockets: &Sockets, call: fn(&Sockets)) -> f64 {
    let info = || program.info().expect("the kernel tells of its programs");
    let before = info();
    for _ in 0..calls {
        call(sockets);
    }
    let after = info();
    let time = after.run_time().saturating_sub(before.run_time());
    let runs = u32::try_from(after.run_count() - before.run_count()).expect("not that many");
    assert!(runs >= calls, "the program ran {runs} times in {calls} calls");
    time.as_secs_f64() * 1e9 / f64::from(runs)
}

fn median(rounds: u32, mut measure: impl FnMut() -> f64) -> f64 {
    let mut times: Vec<f64> = (0..rounds.max(1)).map(|_| measure()).collect();
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn named(program: &str, family: Family) -> String {
    let number = if family == Family::V4 { 4 } else { 6 };
    format!("{program}{number}")
}

impl Sockets {
    fn new(family: Family) -> Self {
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let bind = |address, port| UdpSocket::bind((address, port)).expect("a port is free");
        Self {
            client: bind(any, 0),
            server: bind(pod(family, FIRST), TARGET_PORT),
            service: (service(family, FIRST), PORT).into(),
            empty: (service(family, EMPTY), PORT).into(),
            nobody: (own(family), PORT).into(),
        }
    }
}
