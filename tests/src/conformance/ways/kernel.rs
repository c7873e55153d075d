//! The same tables, and the programs in the kernel, loaded once for all scenarios.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use datapath::{packet::PacketRead as _, testing::frame::Frame};
use serde_json::Value;

use super::{
    Machine,
    agent::{self, UPLINK},
    native::{HOP_MAC, Handled, NativeMachine, OWN_MAC, SourcePorts, frame, hook, what_became},
    tables::SharedTables,
};
use crate::{
    conformance::{
        Cast, Config, Packet, Protocol, Side, Way, packet::Outcome, scenario::ObjectRef,
    },
    packets::{
        kernel::{KernelMachine, refill::Ages},
        machine::Code,
    },
    process::{mortal_command, must},
};

/// The programs, in a network namespace with a node's interfaces.
#[derive(Debug)]
pub struct ProgramMachine {
    /// What the agent writes, natively.
    written: NativeMachine,
    programs: KernelMachine,
    ports: SourcePorts,
    ages: Ages,
}

impl ProgramMachine {
    /// Makes the interfaces of a node of these casts, and loads the programs. The test is in a
    /// sandbox.
    pub fn new(casts: &[Cast]) -> Self {
        make_interfaces(casts);
        let tables = SharedTables::new(super::native::CONNECTIONS);
        tables.write(|written| {
            for cast in casts {
                match cast.bridge {
                    IpAddr::V4(address) => written.node.bridge.0 = address.into(),
                    IpAddr::V6(address) => written.node.bridge.1 = address.into(),
                }
            }
        });
        let programs = tables.read(|written| KernelMachine::load(&written.node));
        Self {
            written: NativeMachine::default(),
            programs,
            ports: SourcePorts::default(),
            ages: Ages::default(),
        }
    }

    fn refill(&mut self) {
        let Self { written, programs, .. } = self;
        written.tables().read(|written| {
            programs.refill(&written.node);
            for (id, peer) in &written.peers {
                programs.add_node(*id, *peer);
            }
            for (interface, pair) in &written.uplinks {
                programs.add_uplink(*interface, *pair);
            }
        });
    }
}

impl Machine for ProgramMachine {
    fn way(&self) -> Way {
        Way::Kernel
    }

    fn begin(&mut self, cast: &Cast, config: &Config) {
        self.written.begin(cast, config);
        self.refill();
        self.forget();
    }

    fn change(&mut self, set: &[Value], remove: &[ObjectRef]) {
        self.written.change(set, remove);
        // What is remembered of clients stays, as with an agent.
        self.refill();
    }

    fn forget(&mut self) {
        self.programs.forget();
        self.ages = Ages::default();
    }

    fn wait(&mut self, seconds: u32) {
        if seconds > 0 {
            self.programs.age_clients(&mut self.ages, Duration::from_secs(seconds.into()));
        }
    }

    fn cannot(&self, packet: &Packet) -> Option<&'static str> {
        let has_socket = matches!(packet.protocol, Protocol::Tcp | Protocol::Udp);
        (packet.side == Side::Node && has_socket)
            .then_some("programs at sockets have no test-run; real sockets are in tests/namespaces")
    }

    fn open(&mut self, packet: &Packet) -> Outcome {
        let (program, interface) = hook(packet);
        let before = frame(packet, self.ports.take());
        let (code, after) = self.programs.run_at(program, interface, &before);
        let handled = match code {
            Code::Shot => Handled::Dropped,
            Code::Ok | Code::Redirect if is_answer(packet, &after) => Handled::Answered,
            Code::Ok | Code::Redirect => Handled::SentOn,
        };
        what_became(packet, &before, &after, handled)
    }
}

/// Whether a frame is an answer to a packet: it goes to its sender, and is an error or from what the
/// packet was sent to. (A client may be its own backend, and a node's address stand for it there.)
fn is_answer(packet: &Packet, frame: &[u8]) -> bool {
    let frame = Frame::new(frame.to_vec());
    let (source, destination, protocol, transport) = if packet.source.is_ipv4() {
        let Some(bytes) = frame.load::<20>(14) else { return false };
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = bytes;
        (IpAddr::from([s0, s1, s2, s3]), IpAddr::from([d0, d1, d2, d3]), bytes[9], 34)
    } else {
        let (Some(source), Some(destination)) = (frame.load::<16>(22), frame.load::<16>(38)) else {
            return false;
        };
        let [protocol] = frame.load::<1>(20).unwrap_or_default();
        (IpAddr::from(source), IpAddr::from(destination), protocol, 54)
    };
    let is_error = matches!(protocol, 1 | 58);
    let port = u16::from_be_bytes(frame.load::<2>(transport).unwrap_or_default());
    destination == packet.source && (is_error || packet.destination == (source, port).into())
}

/// Interfaces with the numbers that tables name, which a program's context must have, and the routes
/// and neighbours that programs look up.
fn make_interfaces(casts: &[Cast]) {
    let mut batch = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| {
        writeln!(batch, "{line}").expect("a text has room");
    };
    let uplink = UPLINK.get();
    say(format_args!("link add eth0 index {uplink} type veth peer name wire0"));
    say(format_args!("link set eth0 address {} up", colons(OWN_MAC)));
    say(format_args!("link set wire0 up"));
    say(format_args!("link add eth1 type veth peer name wire1"));
    say(format_args!("link set eth1 up"));
    for cast in casts {
        let nodad = if cast.address.is_ipv6() { " nodad" } else { "" };
        let length = cast.node_network.prefix_len();
        say(format_args!("address add {}/{length} dev eth0{nodad}", cast.address));
        let length = cast.alternate_network.prefix_len();
        say(format_args!("address add {}/{length} dev eth1{nodad}", cast.alternate));
        let hop = colons(HOP_MAC);
        for neighbour in [cast.gateway, cast.other_node] {
            say(format_args!("neighbour replace {neighbour} lladdr {hop} dev eth0 nud permanent"));
        }
        say(format_args!("route add default via {}", cast.gateway));
    }
    let Some(cast) = casts.first() else { return };
    for (pod, _) in agent::pods(cast) {
        let index = agent::link(pod).interface.get();
        say(format_args!("link add pod{pod} index {index} type veth peer name end{pod}"));
        say(format_args!("link set pod{pod} up"));
    }
    let file = std::env::temp_dir().join(format!("shunt-interfaces-{}", std::process::id()));
    std::fs::write(&file, batch).expect("writing what interfaces to make");
    must(mortal_command("ip").arg("-batch").arg(&file));
    std::fs::remove_file(&file).expect("removing a temporary file");
    // As the agent does: without, no route leads from one interface to another.
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{file}"), "1").expect("turning on forwarding");
    }
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
