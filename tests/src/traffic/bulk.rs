//! Much at once over one TCP connection, with an eye on pauses: a sender that does not learn what
//! fits the path stands still until it gives up.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant},
};

use super::client;

/// What is written or read at once: little against what sockets hold, so that a pause shows.
const BLOCK: usize = 16 << 10;

/// How a transfer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How many bytes arrived, as the end that received them says.
    pub bytes: u64,
    /// The longest time in which nothing went on, as the client saw it.
    pub longest_pause: Duration,
}

impl Transfer {
    /// Panics unless all bytes arrived and there was no pause as long as a retransmission takes
    /// that has given up on the first one: 900 ms.
    pub fn assert_smooth(&self, bytes: u64, what: &str) {
        assert_eq!(self.bytes, bytes, "{what}");
        assert!(self.longest_pause < Duration::from_millis(900), "{what}: {self:?}");
    }
}

/// Sends `bytes` into a server's sink, from the namespace of the calling thread.
pub fn send(target: SocketAddr, bytes: u64) -> io::Result<Transfer> {
    let mut stream = client::connect(target)?;
    stream.write_all(b"sink\n")?;
    let mut pauses = Pauses::default();
    let block = [0x5a; BLOCK];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        pauses.around(|| stream.write_all(&block[..length]))?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    pauses.around(|| stream.read_to_string(&mut text))?;
    let answer: super::Answer = text.parse().map_err(io::Error::other)?;
    let bytes = answer.line.parse().map_err(io::Error::other)?;
    Ok(Transfer { bytes, longest_pause: pauses.longest })
}

/// Has a server send `bytes`, to the namespace of the calling thread.
pub fn fetch(target: SocketAddr, bytes: u64) -> io::Result<Transfer> {
    let mut stream = client::connect(target)?;
    stream.write_all(format!("GET /{bytes} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut pauses = Pauses::default();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        pauses.around(|| stream.read_exact(&mut byte))?;
        head.push(byte[0]);
    }
    let mut block = [0; BLOCK];
    let mut received = 0;
    loop {
        match pauses.around(|| stream.read(&mut block))? {
            0 => return Ok(Transfer { bytes: received, longest_pause: pauses.longest }),
            length => received += length as u64,
        }
    }
}

#[derive(Default)]
struct Pauses {
    longest: Duration,
}

impl Pauses {
    fn around<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = step();
        self.longest = self.longest.max(start.elapsed());
        result
    }
}
