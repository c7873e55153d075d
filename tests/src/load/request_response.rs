//! One byte there and one byte back, over and over on one connection or one connected socket.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use super::{ECHO, Tally};
use crate::netns::refuse_the_machine;

/// Exchanges before the clock starts: the flow is known everywhere then.
const WARM: u32 = 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Over TCP, for this time.
pub fn over_tcp(target: SocketAddr, time: Duration) -> io::Result<Tally> {
    refuse_the_machine();
    let mut stream = TcpStream::connect(target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    repeat(time, || {
        stream.write_all(&[ECHO])?;
        stream.read_exact(&mut [0])
    })
}

/// Over UDP, for this time. A lost datagram is an error.
pub fn over_udp(target: SocketAddr, time: Duration) -> io::Result<Tally> {
    refuse_the_machine();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    repeat(time, || {
        socket.send(&[ECHO])?;
        socket.recv(&mut [0]).map(|_| ())
    })
}

fn repeat(time: Duration, mut exchange: impl FnMut() -> io::Result<()>) -> io::Result<Tally> {
    for _ in 0..WARM {
        exchange()?;
    }
    let begun = Instant::now();
    let mut count = 0;
    loop {
        exchange()?;
        count += 1;
        let passed = begun.elapsed();
        if passed >= time {
            return Ok(Tally { count, time: passed });
        }
    }
}
