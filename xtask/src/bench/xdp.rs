//! `xdp_ingress`, packet by packet, in a network namespace of its own.
//!
//! A run's time is the kernel's (`BPF_PROG_TEST_RUN`), less that of a program that lets everything
//! pass, run in turns with it. A run that is repeated finds the packet as the run before has left
//! it. Where that is another packet each measurement is of one run, and its clock is a good part of
//! what is subtracted; else it is of two flows whose packets become each other's, and lives as long as
//! its hop limit.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, bail};
use datapath::testing::packet::Packet;
use maps_schema::address::Family;
use ::tests::{
    packets::{
        uplink::{INGRESS, PASS, Uplink, XdpAction},
        uplink_world::{Backend, client, datagram, from_outside, mirrored_packet, on_link, request, syn},
    },
    sandbox::Sandbox,
};

use super::table::{Row, lay_out};

/// Runs on one packet: its hop limit allows one more.
const RUNS: u32 = 250;
const HOP_LIMIT: u8 = 255;

/// What is measured.
struct Case {
    name: String,
    kind: Kind,
    /// The packet with its client's port.
    packet: Box<dyn Fn(u16) -> Packet>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One packet, so many runs.
    Repeated(XdpAction),
    /// The packet that opens a flow.
    First,
    /// The second packet of a flow.
    Second,
    /// So many packets in a row from the driver, sent back out.
    Live,
}

/// Measures everything; a table.
pub(super) fn measure(quick: bool) -> Result<String> {
    // The sandbox takes a thread for good.
    let work = move || {
        let Some(_sandbox) = Sandbox::enter() else {
            bail!("measuring programs needs root: run it with sudo");
        };
        let mut uplink = Uplink::new();
        let rounds = if quick { 60 } else { 300 };
        let mut rows = Vec::new();
        for case in cases() {
            rows.push(measure_case(&mut uplink, &case, rounds)?);
        }
        let heading = Row {
            name: "case".to_owned(),
            cells: ["ns", "empty", "net ns", "p10", "p90", "Mpps"].map(str::to_owned).to_vec(),
        };
        Ok(lay_out(&heading, &rows))
    };
    thread::spawn(work).join().map_err(|_| anyhow!("measuring panicked; what is above says why"))?
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut add = |name: &str, kind, packet: Box<dyn Fn(u16) -> Packet>| {
            cases.push(Case { name: format!("{family:?} {name}"), kind, packet });
        };
        let sent = Kind::Repeated(XdpAction::Tx);
        let passes = Kind::Repeated(XdpAction::Pass);
        add("established, direct", sent, Box::new(move |_| mirrored_packet(family)));
        add("established, direct, from the driver", Kind::Live, Box::new(move |_| mirrored_packet(family)));
        let other = move |port| from_outside(client(family), on_link(family, 99), datagram(port, 18));
        add("pass: not ours", passes, Box::new(other));
        let local = move |port| request(family, Backend::Local, syn(port));
        add("pass: new, to a pod here", passes, Box::new(local));
        for (way, backend) in [("direct", Backend::Routed), ("VXLAN", Backend::Tunnelled)] {
            let ask = move |port| request(family, backend, syn(port));
            add(&format!("first packet, {way}"), Kind::First, Box::new(ask));
            add(&format!("second packet, {way}"), Kind::Second, Box::new(ask));
        }
    }
    cases
}

fn measure_case(uplink: &mut Uplink, case: &Case, rounds: u32) -> Result<Row> {
    uplink.mirror();
    let (mut ours, mut empty) = (Vec::new(), Vec::new());
    // The first tenth is to fill caches.
    let skipped = rounds / 10;
    // A round of few runs is short.
    let rounds = match case.kind {
        Kind::Repeated(_) => rounds,
        Kind::First | Kind::Second => rounds * 10,
        Kind::Live => rounds / 10,
    };
    for round in 0..skipped + rounds {
        let port = 1024 + u16::try_from(round % 60_000).unwrap_or(0);
        let mut packet = (case.packet)(port);
        packet.hop_limit = HOP_LIMIT;
        let frame = packet.bytes();
        let (own, base) = match case.kind {
            Kind::Repeated(wanted) => {
                require(case, uplink.run(INGRESS, &frame).0, wanted)?;
                (uplink.time(INGRESS, &frame, RUNS), uplink.time(PASS, &frame, RUNS))
            }
            Kind::First => (uplink.time(INGRESS, &frame, 1), uplink.time(PASS, &frame, 1)),
            Kind::Second => {
                require(case, uplink.run(INGRESS, &frame).0, XdpAction::Tx)?;
                (uplink.time(INGRESS, &frame, 1), uplink.time(PASS, &frame, 1))
            }
            Kind::Live => {
                let frames = RUNS / 2 * 64;
                (uplink.receive(INGRESS, &frame, frames), Duration::ZERO)
            }
        };
        if round >= skipped {
            ours.push(own.as_nanos());
            empty.push(base.as_nanos());
        }
    }
    ours.sort_unstable();
    empty.sort_unstable();
    let (own, base) = (part(&ours, 50), part(&empty, 50));
    let net = own.saturating_sub(base);
    let cell = |value: u128| value.to_string();
    let cells = vec![
        cell(own),
        cell(base),
        cell(net),
        cell(part(&ours, 10)),
        cell(part(&ours, 90)),
        millions_per_second(own),
    ];
    Ok(Row { name: case.name.clone(), cells })
}

fn require(case: &Case, action: XdpAction, wanted: XdpAction) -> Result<()> {
    if action != wanted {
        bail!("{}: the program returned {action:?}, not {wanted:?}", case.name);
    }
    Ok(())
}

/// The value below which so many of a hundred are.
fn part(sorted: &[u128], percent: usize) -> u128 {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or(0)
}

fn millions_per_second(nanoseconds: u128) -> String {
    match nanoseconds {
        0 => "-".to_owned(),
        nanoseconds => format!("{}.{:02}", 1000 / nanoseconds, 100_000 / nanoseconds % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_sorted_values() {
        let values: Vec<u128> = (0..=100).collect();
        assert_eq!([part(&values, 10), part(&values, 50), part(&values, 90)], [10, 50, 90]);
        assert_eq!(part(&[], 50), 0);
    }

    #[test]
    fn packets_per_second_follow_from_their_time() {
        assert_eq!(millions_per_second(80), "12.50");
        assert_eq!(millions_per_second(1000), "1.00");
    }
}
