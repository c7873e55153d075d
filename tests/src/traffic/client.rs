//! Clients that ask once. Each runs in the namespace of the thread that calls it:
//! [`NetNamespace::run`] brings it there.
//!
//! [`NetNamespace::run`]: crate::netns::NetNamespace::run

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use super::{Answer, Protocol, SOCKET_TIMEOUT, canonical};
use crate::netns::refuse_the_machine;

/// Asks over a new connection (TCP), or a new connected socket (UDP).
pub fn ask(protocol: Protocol, target: SocketAddr) -> io::Result<Answer> {
    ask_within(protocol, target, SOCKET_TIMEOUT)
}

/// The same with another timeout for each step.
pub fn ask_within(protocol: Protocol, target: SocketAddr, timeout: Duration) -> io::Result<Answer> {
    match protocol {
        Protocol::Tcp => ask_tcp_within(target, timeout),
        Protocol::Udp => ask_udp_within(target, timeout),
    }
}

/// Connects, asks, reads the answer, closes. Fails also where the socket does not call its peer
/// what was connected to.
pub fn ask_tcp(target: SocketAddr) -> io::Result<Answer> {
    ask_tcp_within(target, SOCKET_TIMEOUT)
}

fn ask_tcp_within(target: SocketAddr, timeout: Duration) -> io::Result<Answer> {
    let mut stream = connect_within(target, timeout)?;
    same(target, stream.peer_addr()?)?;
    stream.write_all(b"who\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    answer(&line, "who")
}

/// Connects, with timeouts set.
pub fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    connect_within(target, SOCKET_TIMEOUT)
}

fn connect_within(target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    refuse_the_machine();
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks over a connected UDP socket.
pub fn ask_udp_connected(target: SocketAddr) -> io::Result<Answer> {
    ask_udp_within(target, SOCKET_TIMEOUT)
}

fn ask_udp_within(target: SocketAddr, timeout: Duration) -> io::Result<Answer> {
    let socket = connect_udp(target)?;
    socket.set_read_timeout(Some(timeout))?;
    same(target, socket.peer_addr()?)?;
    ask_on(&socket, "who")
}

/// Asks over an unconnected UDP socket. Fails also where the reply is not from the address that was
/// asked.
pub fn ask_udp_unconnected(target: SocketAddr) -> io::Result<Answer> {
    let socket = bind_udp(target)?;
    socket.send_to(b"who", target)?;
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer)?;
    same(target, from)?;
    answer(&String::from_utf8_lossy(&buffer[..length]), "who")
}

/// A UDP socket connected to `target`, with timeouts set.
pub fn connect_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bind_udp(target)?;
    socket.connect(target)?;
    Ok(socket)
}

/// Asks on a connected UDP socket.
pub fn ask_on(socket: &UdpSocket, line: &str) -> io::Result<Answer> {
    socket.send(line.as_bytes())?;
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer)?;
    answer(&String::from_utf8_lossy(&buffer[..length]), line)
}

/// Sends one datagram of so many bytes over a connected UDP socket; the answer, which is longer,
/// must hold all of them.
pub fn ask_udp_of(target: SocketAddr, bytes: usize) -> io::Result<Answer> {
    let letters = "shunt-fragments.";
    let line: String = letters.chars().cycle().take(bytes).collect();
    ask_on(&connect_udp(target)?, &line)
}

/// Sends `bytes` over one connection into a server's sink; returns the answer, whose line is the
/// count that arrived.
pub fn pour(target: SocketAddr, bytes: u64) -> io::Result<Answer> {
    let mut stream = connect(target)?;
    stream.write_all(b"sink\n")?;
    let block = vec![0x5a; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..length])?;
        left -= length as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    answer(&line, &bytes.to_string())
}

pub(super) fn bind_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    refuse_the_machine();
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    Ok(socket)
}

fn answer(text: &str, asked: &str) -> io::Result<Answer> {
    let answer: Answer = text.parse().map_err(io::Error::other)?;
    if answer.line == asked {
        Ok(answer)
    } else {
        Err(io::Error::other(format!("asked {asked:?}, but the answer is {answer:?}")))
    }
}

fn same(target: SocketAddr, seen: SocketAddr) -> io::Result<()> {
    if canonical(target) == canonical(seen) {
        Ok(())
    } else {
        Err(io::Error::other(format!("talks to {target}, but the socket says {seen}")))
    }
}
