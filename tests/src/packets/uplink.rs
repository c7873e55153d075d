//! `xdp_ingress` in the kernel, on a card of the node of [`super::uplink_world`], run on frames that
//! nobody sent.

use std::fs;

use aya::{TestRun as _, TestRunOptions, programs::xdp::XdpMode};
use datapath::testing::node::Node;
use maps_schema::address::{Family, IfIndex};

use super::{
    kernel::KernelMachine,
    uplink_world::{HOP_MAC, OWN_MAC, SECOND_MAC, node, on_link, own, own_pair, peers, routes},
};
use crate::process::{mortal_command, must};

/// What an XDP program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAction {
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// `XDP_TX`.
    Tx,
    /// `XDP_REDIRECT`.
    Redirect,
}

/// The program that handles packets.
pub const INGRESS: &str = "xdp_ingress";
/// The program that does nothing.
pub const PASS: &str = "xdp_pass";
const DROP: &str = "xdp_drop";

/// The card, and the programs.
#[derive(Debug)]
pub struct Uplink {
    /// The programs and their maps.
    pub machine: KernelMachine,
    interface: u32,
}

impl Uplink {
    /// Makes the card with its neighbours and routes in the calling thread's network namespace,
    /// which is the caller's own, and loads the programs.
    pub fn new() -> Self {
        Self::of(&node())
    }

    /// The same for a node that knows more than [`node`] does.
    pub fn of(node: &Node) -> Self {
        for (name, mac) in [("eth0", OWN_MAC), ("eth1", SECOND_MAC), ("eth2", [2, 0, 0, 0, 5, 1])] {
            let (wire, mac) = (format!("{name}-wire"), colons(mac));
            ip(&format!("link add {name} address {mac} type veth peer name {wire}"));
            ip(&format!("link set {wire} up"));
            ip(&format!("link set {name} up"));
        }
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("turning on forwarding");
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").expect("turning on forwarding");
        for family in [Family::V4, Family::V6] {
            let (length, more) = if family == Family::V4 { (24, "") } else { (64, "nodad") };
            ip(&format!("address add {}/{length} dev eth0 {more}", own(family)));
            for neighbour in [1, 3, 9] {
                neighbour_of("eth0", &on_link(family, neighbour).to_string(), HOP_MAC);
            }
            for (network, via, device) in routes(family) {
                let via = via.map_or(String::new(), |via| format!("via {via}"));
                ip(&format!("-{} route add {network} {via} dev {device}", number(family)));
            }
        }
        for device in ["eth1", "eth2"] {
            for backend in ["172.19.0.9", "172.20.0.9", "fd00:172:113::9", "fd00:172:114::9"] {
                neighbour_of(device, backend, HOP_MAC);
            }
        }
        let mut machine = KernelMachine::open(node);
        for (number, peer) in peers() {
            machine.add_node(number, peer);
        }
        for name in ["eth0", "eth1"] {
            machine.add_uplink(IfIndex::new(index(name)), own_pair());
        }
        for program in [INGRESS, PASS, DROP] {
            machine.xdp(program).load().unwrap_or_else(|error| panic!("{program}: {error}"));
        }
        // A veth's queues take XDP frames once it has a program.
        for (program, interface) in [(PASS, "eth0"), (DROP, "eth0-wire")] {
            machine.xdp(program).attach(interface, XdpMode::Driver).expect("veth knows XDP");
        }
        Self { machine, interface: index("eth0") }
    }

    /// Runs a program on a frame; what it returns, and what the frame has become.
    pub fn run(&mut self, program: &str, frame: &[u8]) -> (XdpAction, Vec<u8>) {
        let mut output = vec![0; 4096];
        let context = self.context(frame.len());
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = self.machine.xdp(program).test_run(options).expect("running the program");
        output.truncate(result.data_size_out as usize);
        let action = match result.return_value {
            1 => XdpAction::Drop,
            2 => XdpAction::Pass,
            3 => XdpAction::Tx,
            4 => XdpAction::Redirect,
            other => panic!("the program returned {other}"),
        };
        (action, output)
    }

    /// The number of the card.
    pub const fn interface(&self) -> u32 {
        self.interface
    }

    /// `struct xdp_md`: where the frame is, and by which interface it came.
    pub fn context(&self, length: usize) -> [u8; 24] {
        let mut context = [0; 24];
        let end = u32::try_from(length).expect("a frame is short");
        context[4..8].copy_from_slice(&end.to_ne_bytes());
        context[12..16].copy_from_slice(&self.interface.to_ne_bytes());
        context
    }
}

impl Default for Uplink {
    fn default() -> Self {
        Self::new()
    }
}

fn neighbour_of(device: &str, address: &str, mac: [u8; 6]) {
    let mac = colons(mac);
    ip(&format!("neighbour replace {address} lladdr {mac} dev {device} nud permanent"));
}

fn ip(arguments: &str) {
    must(mortal_command("ip").args(arguments.split_whitespace()));
}

fn index(name: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}"))
        .expect("an interface has IPv6 statistics");
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("an index")
}

const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
