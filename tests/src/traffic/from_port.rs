//! Clients that choose their own port, and so the one that translation starts from.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
            sockopt,
        },
        time::TimeVal,
    },
};

use super::{Answer, Protocol, SOCKET_TIMEOUT, client};
use crate::netns::refuse_the_machine;

/// Asks once from this port.
pub fn ask(protocol: Protocol, port: u16, target: SocketAddr) -> io::Result<Answer> {
    match protocol {
        Protocol::Tcp => ask_on_stream(&stream(port, target)?),
        Protocol::Udp => client::ask_on(&datagrams(port, target)?, "who"),
    }
}

/// A connection from this port, with timeouts set. The port may have been used before.
pub fn stream(port: u16, target: SocketAddr) -> io::Result<TcpStream> {
    stream_within(port, target, SOCKET_TIMEOUT)
}

/// The same with another timeout for each step.
pub fn stream_within(port: u16, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    refuse_the_machine();
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    let timeout = TimeVal::new(timeout.as_secs().try_into().map_err(io::Error::other)?, 0);
    setsockopt(&fd, sockopt::SendTimeout, &timeout)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &timeout)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any(target), port)))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(target)).map_err(|error| match error {
        // What the kernel calls it when a blocking socket has waited long enough.
        Errno::EINPROGRESS => io::Error::from(io::ErrorKind::TimedOut),
        error => error.into(),
    })?;
    Ok(TcpStream::from(fd))
}

/// Asks on a connection, which stays open.
pub fn ask_on_stream(stream: &TcpStream) -> io::Result<Answer> {
    let mut writer = stream;
    writer.write_all(b"who\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    line.parse().map_err(io::Error::other)
}

/// A UDP socket connected from this port, with timeouts set.
pub fn datagrams(port: u16, target: SocketAddr) -> io::Result<UdpSocket> {
    refuse_the_machine();
    let socket = bind_again(target, port)?;
    socket.set_read_timeout(Some(SOCKET_TIMEOUT))?;
    socket.connect(target)?;
    Ok(socket)
}

/// A process that another test forks holds all sockets until it begins another program: a port is
/// free a moment after its socket is closed.
fn bind_again(target: SocketAddr, port: u16) -> io::Result<UdpSocket> {
    const ATTEMPTS: u32 = 50;
    for _ in 0..ATTEMPTS {
        match UdpSocket::bind((any(target), port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(Duration::from_millis(20));
            }
            bound => return bound,
        }
    }
    UdpSocket::bind((any(target), port))
}

fn any(target: SocketAddr) -> IpAddr {
    match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
