//! As many bytes as go through one connection, or through several at once.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use super::{SWALLOW, Tally};
use crate::netns::refuse_the_machine;

/// What is written at once.
const BLOCK: usize = 128 << 10;
/// How long the last bytes may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends through so many connections at once, to these targets in turns, for this time. Counted are
/// the bytes that arrived, as the servers say, until the last of them did.
pub fn send(targets: &[SocketAddr], connections: usize, time: Duration) -> io::Result<Tally> {
    refuse_the_machine();
    let together = Barrier::new(connections);
    thread::scope(|scope| {
        let targets = targets.iter().cycle().take(connections);
        let senders: Vec<_> =
            targets.map(|target| scope.spawn(|| send_one(*target, &together, time))).collect();
        let mut all = Tally { count: 0, time: Duration::ZERO };
        for sender in senders {
            let one = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.count += one.count;
            all.time = all.time.max(one.time);
        }
        Ok(all)
    })
}

fn send_one(target: SocketAddr, together: &Barrier, time: Duration) -> io::Result<Tally> {
    let connected = TcpStream::connect(target).and_then(|mut stream| {
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[SWALLOW])?;
        Ok(stream)
    });
    // Also without a connection: the others wait.
    together.wait();
    let mut stream = connected?;
    let begun = Instant::now();
    let block = vec![0x5a; BLOCK];
    while begun.elapsed() < time {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(Tally { count: u64::from_be_bytes(count), time: begun.elapsed() })
}
