//! One sample: a workload in a world, and whether its packets really took the way that is measured.

use std::{io, sync::mpsc, time::Duration};

use ::tests::{
    contenders::{Contender, World},
    load::{
        datagrams,
        opening::{self, Opened},
        processors::{Processors, stay_on},
        request_response,
        server::Server,
        stream,
    },
    oracle::cluster::Transport,
};
use anyhow::{Context as _, Result, bail, ensure};

use super::{
    metric::Metric,
    plan::{Path, Turns, Workload},
};

/// How long a sample may take beyond its time, before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// From how many connections on each of four servers must have had a fair share of them.
const MANY: u64 = 400;

/// So many connections may be slow, beside one in a thousand: a busy machine, not a lost packet.
const SLOW: u64 = 2;

/// The figures of a sample.
pub(super) type Figures = Vec<(Metric, f64)>;

/// What a client's thread gives back.
enum Done {
    Rate { per_second: f64, count: u64 },
    Opened(Opened),
}

/// Takes a sample.
pub(super) fn take(
    world: &World,
    path: Path,
    workload: Workload,
    time: Duration,
    processors: Processors,
) -> Result<Figures> {
    let way = path.way();
    let protocol = match workload {
        Workload::UdpExchanges | Workload::Datagrams => Transport::Udp,
        _ => Transport::Tcp,
    };
    let targets = world.targets(way, protocol);
    ensure!(!targets.is_empty(), "nobody to ask");
    let servers = world.servers(way);
    let processor = match workload.turns() {
        Turns::Alternating => processors.first,
        Turns::AtOnce => processors.second,
    };
    servers.iter().try_for_each(|server| server.stay_on(processor))?;
    let before = counts(servers, protocol);
    let client = world.client(way);
    let done = if workload == Workload::Datagrams {
        // Its count is the servers', which stay where they are.
        let sent = client.run(|| {
            stay_on(processors.first)?;
            datagrams::send(first(&targets)?, servers, time)
        })?;
        Done::Rate { per_second: sent.received.per_second(), count: sent.received.count }
    } else {
        let (give, take) = mpsc::channel();
        client.spawn(move || {
            // Who has given up takes nothing.
            let _ = give.send(work(&targets, workload, time, processors));
        });
        take.recv_timeout(time + PATIENCE).context("it hangs")??
    };
    let reached: Vec<u64> = counts(servers, protocol)
        .into_iter()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before))
        .collect();
    check(world, path, &done, workload, &reached)?;
    Ok(figures(done))
}

fn first(targets: &[std::net::SocketAddr]) -> io::Result<std::net::SocketAddr> {
    targets.first().copied().ok_or_else(|| io::Error::other("nobody to ask"))
}

fn work(
    targets: &[std::net::SocketAddr],
    workload: Workload,
    time: Duration,
    processors: Processors,
) -> io::Result<Done> {
    stay_on(processors.first)?;
    let rate = |tally: ::tests::load::Tally| Done::Rate {
        per_second: tally.per_second(),
        count: tally.count,
    };
    // A stream's bytes, as billions of bits.
    let bits = |tally: ::tests::load::Tally| Done::Rate {
        per_second: tally.per_second() * 8.0 / 1e9,
        count: tally.count,
    };
    match workload {
        Workload::TcpExchanges => request_response::over_tcp(first(targets)?, time).map(rate),
        Workload::UdpExchanges => request_response::over_udp(first(targets)?, time).map(rate),
        Workload::Connections => opening::open(targets, time).map(Done::Opened),
        Workload::OneStream => stream::send(targets, 1, time).map(bits),
        Workload::EightStreams => stream::send(targets, 8, time).map(bits),
        Workload::Datagrams => Err(io::Error::other("datagrams are counted by their servers")),
    }
}

/// What each server has had so far.
fn counts(servers: &[Server], protocol: Transport) -> Vec<u64> {
    let of = |server: &Server| match protocol {
        Transport::Udp => server.datagrams(),
        _ => server.connections(),
    };
    servers.iter().map(of).collect()
}

/// That the servers had what the client says, from whom they should, and by whom it should be.
fn check(
    world: &World,
    path: Path,
    done: &Done,
    workload: Workload,
    reached: &[u64],
) -> Result<()> {
    let all: u64 = reached.iter().sum();
    let expected = match (done, workload) {
        (Done::Rate { count, .. }, Workload::UdpExchanges | Workload::Datagrams) => *count,
        (Done::Rate { .. }, Workload::EightStreams) => 8,
        (Done::Rate { .. }, _) => 1,
        (Done::Opened(opened), _) => opened.tally.count,
    };
    ensure!(
        expected > 0 && all >= expected,
        "the client counts {expected}, its servers {reached:?}"
    );
    if let Done::Opened(opened) = done {
        let fair = all / reached.len().max(1) as u64;
        let unfair = reached.iter().find(|count| **count < fair / 2 || **count > fair * 2);
        if let (true, Some(count)) = (all > MANY, unfair) {
            bail!("connections are not spread over all servers: {count} of {reached:?}");
        }
        ensure!(
            opened.slow <= SLOW + opened.tally.count / 1000,
            "{} of {} connections lost packets",
            opened.slow,
            opened.tally.count
        );
    }
    let (setup, servers) = (world.setup(), world.servers(path.way()));
    if workload != Workload::Datagrams {
        for (server, _) in servers.iter().zip(reached).filter(|(_, count)| **count > 0) {
            let client = server.last_client().context("a client without an address")?;
            ensure!(
                world.may_show(path.way(), client),
                "a server of {} sees {client}",
                path.name()
            );
        }
    }
    let tracked = world.tracked();
    // The bridge's nodes and shunt's have no rule that would make the kernel track anything.
    let is_as_expected = (tracked > 0) == setup.contender.tracks();
    ensure!(
        setup.contender == Contender::Raw || is_as_expected,
        "the kernel tracks {tracked} connections of {}",
        setup.contender.name()
    );
    Ok(())
}

fn figures(done: Done) -> Figures {
    match done {
        Done::Rate { per_second, .. } => vec![(Metric::Rate, per_second)],
        Done::Opened(mut opened) => {
            opened.first_packets.sort_unstable();
            let part = |percent: usize| microseconds(&opened.first_packets, percent);
            vec![
                (Metric::Rate, opened.tally.per_second()),
                (Metric::FirstPacketMedian, part(50)),
                (Metric::FirstPacketTail, part(99)),
            ]
        }
    }
}

/// The value below which so many of a hundred are, of nanoseconds in order.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds are far below 2^52")]
fn microseconds(sorted: &[u64], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(f64::NAN, |value| *value as f64 / 1000.0)
}
