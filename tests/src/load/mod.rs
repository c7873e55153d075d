//! Load for measurements: the same few system calls for whoever carries the packets.
//!
//! Sockets block. Every thread stays on one processor, so that no sample has more machine than the
//! next: where client and server only ever wait for each other they share it, as waking another one
//! costs more than all that is measured, the more so in a virtual machine; else each has its own.
//! `TCP_NODELAY` is set on connections that last; listeners have `SO_REUSEADDR`, as the standard
//! library sets it. A client that opens connections closes each of them in good order: it sends its
//! FIN, waits for the server's, and keeps the socket in TIME-WAIT, as most clients do. Nobody resets.
//!
//! The first byte of a connection or datagram says what the server has to do with the rest.

pub mod datagrams;
pub mod opening;
pub mod processors;
pub mod request_response;
pub mod server;
pub mod stream;

use std::time::Duration;

/// Echo one byte for each byte.
const ECHO: u8 = b'e';
/// Swallow everything, and say in the end how many bytes there were.
const SWALLOW: u8 = b's';
/// Count the datagram, and answer nothing.
const COUNT: u8 = b'c';

/// How often something was done, and in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// From the first time's beginning to the last one's end.
    pub time: Duration,
}

impl Tally {
    /// How often in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts of a second are far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}
