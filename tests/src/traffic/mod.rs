//! Real clients and servers on real sockets, each on a thread inside a namespace.
//!
//! One protocol for all: the client sends a line, the server answers `<its name> <client's address
//! as it saw it> <the line>`. Over TCP `GET …` gets an HTTP answer with name and address, `GET
//! /NUMBER …` one with so many bytes, and `sink` swallows all that follows.

pub mod bulk;
pub mod client;
pub mod constant;
pub mod fate;
pub mod from_port;
pub mod hammer;
pub mod health;
pub mod icmp;
pub mod page;
pub mod server;
pub mod tls;

use std::{net::SocketAddr, str::FromStr, time::Duration};

/// How long a socket waits before that is a failure.
pub const SOCKET_TIMEOUT: Duration = Duration::from_secs(3);

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answers.
    pub server: String,
    /// The client as the server sees it; an IPv4-mapped address as IPv4.
    pub client: SocketAddr,
    /// The line that was asked.
    pub line: String,
}

impl FromStr for Answer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.trim_end().splitn(3, ' ');
        let mut next = || parts.next().ok_or_else(|| format!("not an answer: {text:?}"));
        Ok(Self {
            server: next()?.to_owned(),
            client: next()?.parse().map_err(|error| format!("{error} in {text:?}"))?,
            line: next()?.to_owned(),
        })
    }
}

/// An address with IPv4-mapped IPv6 written as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
