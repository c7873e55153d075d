//! veth wires that behave as wires between network cards.
//!
//! A veth hands packets over as they are: unfinished checksums and segments that nobody has cut. An
//! XDP program that sends such a packet on sends it broken. And what XDP sends into a veth is
//! dropped unless the other end polls (NAPI), which it does with GRO on. What it sends back into the
//! one that it came by (`XDP_TX`) waits there until something else comes, unless the other end has an
//! XDP program itself (`veth_xdp_flush`, until Linux 6.18 at least).

use aya::programs::xdp::XdpMode;
use datapath::testing::node::Node;

use crate::{
    netns::NetNamespace,
    packets::{kernel::KernelMachine, uplink},
    process::{self, installed},
};

/// Has an interface send finished packets, and poll for what it receives.
pub fn behave(netns: &NetNamespace, interface: &str) {
    assert!(installed("ethtool"), "this test needs ethtool: run `cargo xtask setup`");
    for (feature, state) in [("tx", "off"), ("gro", "on")] {
        process::must(netns.command("ethtool").args(["-K", interface, feature, state]));
    }
}

/// Has an interface that is up take at once what an XDP program at its other end sends back.
pub fn receive_what_is_sent_back(netns: &NetNamespace, interface: &str) {
    netns.run(|| {
        let mut machine = KernelMachine::open(&Node::new(1));
        let program = machine.xdp(uplink::PASS);
        program.load().expect("a program that does nothing is loaded");
        program.attach(interface, XdpMode::Driver).expect("veth knows XDP");
        // The link is to be there as long as the interface, which goes with its namespace, and this
        // with the process at the latest.
        std::mem::forget(machine);
    });
}

/// How many packets an XDP program of a veth has sent back out of it (`XDP_TX`), as the driver
/// counts them.
pub fn sent_back(netns: &NetNamespace, interface: &str) -> u64 {
    statistic(netns, interface, "xdp_tx")
}

/// How many packets an XDP program of a veth has redirected, as the driver counts them.
pub fn redirected(netns: &NetNamespace, interface: &str) -> u64 {
    statistic(netns, interface, "xdp_redirect")
}

fn statistic(netns: &NetNamespace, interface: &str, name: &str) -> u64 {
    let text = process::must(netns.command("ethtool").args(["-S", interface]));
    let ending = format!("_{name}");
    text.lines()
        .filter_map(|line| line.trim().split_once(": "))
        .filter(|(counter, _)| counter.starts_with("rx_queue_") && counter.ends_with(&ending))
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}
