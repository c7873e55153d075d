//! What a process of the node is told whose packets to a service would leave by the wire: by the
//! kernel's own stack, whatever that thinks of packets from addresses to which it has a route by
//! this very wire.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, TcpStream, UdpSocket},
    time::Duration,
};

use aya::programs::tc::{TcAttachType, qdisc_add_clsact};
use maps_schema::{
    address::Family,
    counters::{Program, drop_counter_index},
    drop_reason::DropReason,
};
use tests::{
    packets::{
        kernel::KernelMachine,
        machine::Machine as _,
        world::{NO_SERVICE, PORT, SERVICE, node, service},
    },
    process::{mortal_command, must},
    sandbox::Sandbox,
    traffic::icmp::{EchoOutcome, echo},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Makes an uplink with a router behind it that never answers.
fn make_uplink() {
    for arguments in [
        "link add eth0 type veth peer name wire",
        "link set lo up",
        "link set wire up",
        "link set eth0 up",
        "address add 172.18.0.2/24 dev eth0",
        "address add fd00:172:18::2/64 dev eth0 nodad",
        "neighbour replace 172.18.0.1 lladdr 02:00:00:00:03:02 dev eth0 nud permanent",
        "neighbour replace fd00:172:18::1 lladdr 02:00:00:00:03:02 dev eth0 nud permanent",
        "route add default via 172.18.0.1",
        "-6 route add default via fd00:172:18::1",
    ] {
        must(mortal_command("ip").args(arguments.split_whitespace()));
    }
    // Where there is no tcx.
    qdisc_add_clsact("eth0").expect("adding a qdisc");
}

/// Has the kernel check by this rule whether a packet's source would be reached by the way that the
/// packet came: 0 not at all, 1 strictly, 2 by any way.
fn check_sources(rule: u8) {
    for place in ["all", "eth0"] {
        fs::write(format!("/proc/sys/net/ipv4/conf/{place}/rp_filter"), rule.to_string())
            .expect("setting rp_filter");
    }
}

fn connect(address: IpAddr) -> Result<(), ErrorKind> {
    TcpStream::connect_timeout(&(address, PORT).into(), Duration::from_millis(500))
        .map(drop)
        .map_err(|error| error.kind())
}

fn ask(address: IpAddr) -> Result<(), ErrorKind> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("setting a timeout");
    socket.connect((address, PORT)).expect("there is a route");
    socket.send(b"anybody?").expect("there is room for a datagram");
    socket.recv(&mut [0; 16]).map(drop).map_err(|error| error.kind())
}

#[test]
#[ignore = "needs root"]
fn a_process_whose_packets_to_a_service_would_leave_by_the_wire_is_refused_at_once() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    make_uplink();
    let mut machine = KernelMachine::load(&node(1000));
    for (program, place) in [
        (Program::TcUplinkIngress, TcAttachType::Ingress),
        (Program::TcUplinkEgress, TcAttachType::Egress),
    ] {
        machine.program(program).attach("eth0", place).expect("attaching to the uplink");
    }
    for rule in 0..=2 {
        check_sources(rule);
        for family in FAMILIES {
            let vip = service(family, SERVICE);
            let code = if family == Family::V4 { 3 } else { 4 };
            assert_eq!(echo(vip), EchoOutcome::Unreachable { from: vip, code }, "rule {rule}");
            assert_eq!(connect(vip), Err(ErrorKind::ConnectionRefused), "rule {rule}, {vip}");
            assert_eq!(ask(vip), Err(ErrorKind::ConnectionRefused), "rule {rule}, {vip}");
        }
    }
    let drops = machine.drops();
    let counted = |reason| drops.get(&drop_counter_index(Program::TcUplinkEgress, reason)).copied();
    assert_eq!(counted(DropReason::UntranslatedService), Some(3 * 2 * 3));
}

#[test]
#[ignore = "needs root"]
fn a_process_that_asks_an_address_that_no_service_has_hears_nothing() {
    let Some(_sandbox) = Sandbox::enter() else {
        return;
    };
    make_uplink();
    let mut machine = KernelMachine::load(&node(1000));
    machine
        .program(Program::TcUplinkEgress)
        .attach("eth0", TcAttachType::Egress)
        .expect("attaching to the uplink");
    for family in FAMILIES {
        assert_eq!(connect(service(family, NO_SERVICE)), Err(ErrorKind::TimedOut), "{family:?}");
    }
    let index = drop_counter_index(Program::TcUplinkEgress, DropReason::UnallocatedServiceAddress);
    assert!(machine.drops().get(&index).is_some_and(|count| *count >= 2));
}
