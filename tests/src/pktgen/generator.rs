//! The kernel's packet generator: UDP packets, made and sent by a thread of the kernel.
//!
//! Each network namespace has its own, below `/proc/net/pktgen`.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use crate::{netns::NetNamespace, process};

/// How many bytes a frame has: the least that IPv6 and the generator's own header leave room for.
const FRAME: u32 = 84;

/// Packets to make.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    /// Who sends them.
    pub(super) source: IpAddr,
    /// Where to.
    pub(super) destination: SocketAddr,
    /// The hardware address that they are sent to.
    pub(super) next_hop: String,
    /// From which ports: one after the other.
    pub(super) source_ports: std::ops::Range<u16>,
}

/// Loads the generator. What has not is not Linux as Debian builds it.
pub(super) fn load() {
    process::must(process::mortal_command("modprobe").arg("pktgen"));
}

/// Sends so many packets from a namespace's `eth0`, and returns how many nanoseconds that took.
pub(super) fn send(from: &NetNamespace, packets: &Packets, count: u32) -> u64 {
    from.run(|| {
        let Packets { source, destination, next_hop, source_ports } = packets;
        let six = if source.is_ipv6() { "6" } else { "" };
        order("kpktgend_0", "rem_device_all");
        order("kpktgend_0", "add_device eth0");
        for line in [
            format!("count {count}"),
            "clone_skb 0".to_owned(),
            "delay 0".to_owned(),
            format!("pkt_size {FRAME}"),
            format!("dst_mac {next_hop}"),
            format!("dst{six} {}", destination.ip()),
            // The range's end is excluded, unless it is a single port.
            format!("udp_src_min {}", source_ports.start),
            format!("udp_src_max {}", source_ports.end),
            format!("udp_dst_min {}", destination.port()),
            format!("udp_dst_max {}", destination.port()),
            "flag UDPCSUM".to_owned(),
        ] {
            order("eth0", &line);
        }
        match source {
            IpAddr::V4(source) => {
                order("eth0", &format!("src_min {source}"));
                order("eth0", &format!("src_max {source}"));
            }
            IpAddr::V6(source) => order("eth0", &format!("src6 {source}")),
        }
        order("pgctrl", "start");
        let result = fs::read_to_string(path("eth0")).expect("the generator says how it went");
        order("kpktgend_0", "rem_device_all");
        elapsed(&result, count).unwrap_or_else(|| panic!("the generator failed: {result}"))
    })
}

fn order(file: &str, line: &str) {
    fs::write(path(file), format!("{line}\n"))
        .unwrap_or_else(|error| panic!("pktgen, {file}: {line}: {error}"));
}

fn path(file: &str) -> String {
    format!("/proc/thread-self/net/pktgen/{file}")
}

/// The time in `Result: OK: 1234(c1200+d34) usec, 4000 (84byte,0frags)`, where all were sent.
fn elapsed(result: &str, count: u32) -> Option<u64> {
    let line = result.lines().find_map(|line| line.strip_prefix("Result: OK: "))?;
    let (microseconds, rest) = line.split_once('(')?;
    let sent = rest.split_once("usec, ")?.1.split_whitespace().next()?;
    if sent != count.to_string() {
        return None;
    }
    microseconds.parse::<u64>().ok().map(|microseconds| microseconds * 1000)
}

#[test]
fn the_time_is_that_of_a_run_that_sent_everything() {
    let said = "Params: count 4000\nResult: OK: 1234(c1200+d34) usec, 4000 (84byte,0frags)\n  1pps";
    assert_eq!(elapsed(said, 4000), Some(1_234_000));
    assert_eq!(elapsed(said, 5000), None);
    assert_eq!(elapsed("Result: Idle", 1), None);
}
