//! Clients that choose their address and port, and tell apart being answered, refused and ignored.

use std::{
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
            sockopt,
        },
        time::TimeVal,
    },
};

use super::cluster::Transport;
use crate::netns::refuse_the_machine;

/// What became of one connection, or of one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody answered.
    Answered {
        /// The address and port that the server has.
        by: SocketAddr,
        /// The client, as the server sees it.
        seen: SocketAddr,
        /// The client, as it sees itself.
        own: SocketAddr,
    },
    /// An answer came that is none of our servers'.
    AnsweredByStranger,
    /// A reset, or an ICMP error that says so, came back.
    Refused,
    /// Nothing came back in time, or the client's own kernel did not let it go out.
    Silence,
    /// Something else.
    Failed(String),
}

/// Asks once, from the namespace of the calling thread, from `from`; an unspecified address leaves
/// the choice to the kernel.
pub fn ask(transport: Transport, from: SocketAddr, to: SocketAddr, patience: Duration) -> Outcome {
    refuse_the_machine();
    let answer = match transport {
        Transport::Tcp => ask_tcp(from, to, patience),
        Transport::Udp => ask_udp(from, to, patience),
        Transport::Sctp => Err(io::ErrorKind::Unsupported.into()),
    };
    match answer {
        Ok((own, line)) => read(&line, own),
        Err(error) => outcome_of(&error),
    }
}

fn ask_tcp(
    from: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<(SocketAddr, String)> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    let limit = TimeVal::new(
        patience.as_secs().try_into().map_err(io::Error::other)?,
        patience.subsec_micros().into(),
    );
    setsockopt(&fd, sockopt::SendTimeout, &limit)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &limit)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).map_err(|error| match error {
        // What the kernel calls it when a blocking socket has waited long enough.
        Errno::EINPROGRESS => io::Error::from(io::ErrorKind::TimedOut),
        error => error.into(),
    })?;
    let stream = TcpStream::from(fd);
    let own = stream.local_addr()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok((own, line))
}

fn ask_udp(
    from: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<(SocketAddr, String)> {
    let socket = UdpSocket::bind(from)?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    let own = socket.local_addr()?;
    match socket.send(b"who\n") {
        // A rule refused it or dropped it: what is waiting on the socket tells.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
        sent => drop(sent?),
    }
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    Ok((own, String::from_utf8_lossy(&buffer[..length]).into_owned()))
}

fn read(line: &str, own: SocketAddr) -> Outcome {
    let parts = line.trim_end().split_once(' ');
    let parsed = parts.and_then(|(by, seen)| Some((by.parse().ok()?, seen.parse().ok()?)));
    match parsed {
        Some((by, seen)) => Outcome::Answered { by, seen, own },
        None => Outcome::AnsweredByStranger,
    }
}

fn outcome_of(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::Silence,
        _ => match error.raw_os_error() {
            // A packet of the node's own that a rule drops, or that the socket hook does not let go.
            Some(libc::EPERM | libc::EHOSTUNREACH) => Outcome::Silence,
            _ => Outcome::Failed(error.to_string()),
        },
    }
}
