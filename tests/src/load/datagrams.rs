//! As many small datagrams as arrive.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::{COUNT, Tally, server::Server};
use crate::netns::refuse_the_machine;

/// What a datagram carries, in bytes: with its headers it is the shortest frame of Ethernet.
const LENGTH: usize = 18;
/// How often the clock is read: once for so many datagrams.
const BATCH: u64 = 64;
/// What is under way has arrived when nothing did for this time.
const QUIET: Duration = Duration::from_millis(3);

/// How sending went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many were sent.
    pub sent: u64,
    /// How many of them arrived, in the time that sending took.
    pub received: Tally,
}

/// Sends from one socket for this time. `servers` are all that they may reach.
pub fn send(target: SocketAddr, servers: &[Server], time: Duration) -> io::Result<Sent> {
    refuse_the_machine();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    let arrived = || servers.iter().map(Server::datagrams).sum::<u64>();
    let datagram = [COUNT; LENGTH];
    // The flow is known everywhere then.
    socket.send(&datagram)?;
    settle(&arrived);
    let before = arrived();
    let begun = Instant::now();
    let mut sent = 0;
    let passed = loop {
        for _ in 0..BATCH {
            socket.send(&datagram)?;
        }
        sent += BATCH;
        let passed = begun.elapsed();
        if passed >= time {
            break passed;
        }
    };
    settle(&arrived);
    Ok(Sent { sent, received: Tally { count: arrived() - before, time: passed } })
}

fn settle(arrived: &impl Fn() -> u64) {
    let mut last = arrived();
    loop {
        thread::sleep(QUIET);
        let now = arrived();
        if now == last {
            return;
        }
        last = now;
    }
}
