//! Connections, one after the other: open, one byte there and one back, close.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{ECHO, Tally};
use crate::netns::refuse_the_machine;

/// Connections before the clock starts, for each target.
const WARM: usize = 2;
/// From when on a connection was slow: a packet of it was lost and sent again.
const SLOW: Duration = Duration::from_millis(150);

/// How opening went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Connections from open to closed.
    pub tally: Tally,
    /// How long `connect` took for each of them, in nanoseconds: the first packet's way there and
    /// the answer's way back, in which no process takes part.
    pub first_packets: Vec<u64>,
    /// How many took so long that a packet of theirs must have been lost.
    pub slow: u64,
}

/// Opens connections to these targets in turns, for this time.
pub fn open(targets: &[SocketAddr], time: Duration) -> io::Result<Opened> {
    refuse_the_machine();
    for target in targets.iter().cycle().take(targets.len() * WARM) {
        open_one(*target)?;
    }
    let begun = Instant::now();
    let mut opened = Opened { tally: Tally { count: 0, time }, first_packets: Vec::new(), slow: 0 };
    for target in targets.iter().cycle() {
        let (first_packet, all) = open_one(*target)?;
        opened.tally.count += 1;
        opened.slow += u64::from(all > SLOW);
        opened.first_packets.push(u64::try_from(first_packet.as_nanos()).unwrap_or(u64::MAX));
        opened.tally.time = begun.elapsed();
        if opened.tally.time >= time {
            break;
        }
    }
    Ok(opened)
}

/// How long `connect` took, and how long all of it.
fn open_one(target: SocketAddr) -> io::Result<(Duration, Duration)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(target)?;
    let connected = begun.elapsed();
    let mut byte = [ECHO];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    stream.shutdown(Shutdown::Write)?;
    if stream.read(&mut byte)? != 0 {
        return Err(io::Error::other(format!("{target} goes on after the end")));
    }
    drop(stream);
    Ok((connected, begun.elapsed()))
}
