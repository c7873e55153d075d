//! Ping, on a raw socket, so that the answer can be told from an error and from silence.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
            recvfrom, sendto, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use crate::netns::refuse_the_machine;

/// What became of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EchoOutcome {
    /// The target answered.
    Reply,
    /// Somebody said that it cannot be reached.
    Unreachable {
        /// Who.
        from: IpAddr,
        /// The code of the destination-unreachable message.
        code: u8,
    },
    /// Nothing came within a second.
    Silence,
}

/// Sends one echo request from the namespace of the calling thread.
pub fn echo(target: IpAddr) -> EchoOutcome {
    refuse_the_machine();
    // Type, code, checksum, identifier, sequence number, and eight bytes that only this request
    // has.
    let mut request =
        [8, 0, 0, 0, 0x73, 0x68, 0, 1, 0x73, 0x68, 0x75, 0x6e, 0x74, 0x70, 0x69, 0x6e];
    match target {
        IpAddr::V4(target) => {
            let checksum = checksum(&request).to_be_bytes();
            request[2..4].copy_from_slice(&checksum);
            let socket = open(AddressFamily::Inet, SockProtocol::Icmp);
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(target, 0));
            send(&socket, &request, &to);
            listen(
                &socket,
                &request[8..],
                |socket, buffer| {
                    let (length, from) = recvfrom::<SockaddrIn>(socket.as_raw_fd(), buffer)?;
                    // The kernel hands over the IP header too; its length is in its first byte.
                    let header = usize::from(buffer[0] & 0xf) * 4;
                    buffer.copy_within(header..length, 0);
                    let from = from.map_or(Ipv4Addr::UNSPECIFIED, |from| from.ip());
                    Ok((length - header, from.into()))
                },
                0,
                3,
            )
        }
        IpAddr::V6(target) => {
            // The kernel fills in the checksum, which covers addresses that it chooses.
            request[0] = 128;
            let socket = open(AddressFamily::Inet6, SockProtocol::IcmpV6);
            let to = SockaddrIn6::from(std::net::SocketAddrV6::new(target, 0, 0, 0));
            send(&socket, &request, &to);
            listen(
                &socket,
                &request[8..],
                |socket, buffer| {
                    let (length, from) = recvfrom::<SockaddrIn6>(socket.as_raw_fd(), buffer)?;
                    let from = from.map_or(Ipv6Addr::UNSPECIFIED, |from| from.ip());
                    Ok((length, from.into()))
                },
                129,
                1,
            )
        }
    }
}

fn open(family: AddressFamily, protocol: SockProtocol) -> OwnedFd {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
        .expect("opening a raw socket");
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))
        .expect("setting a receive timeout");
    socket
}

fn send(socket: &impl AsFd, request: &[u8], to: &impl nix::sys::socket::SockaddrLike) {
    sendto(socket.as_fd().as_raw_fd(), request, to, MsgFlags::empty())
        .expect("sending an echo request");
}

/// Reads messages until one carries `token`: as an echo reply, or inside an error about the
/// request.
fn listen(
    socket: &OwnedFd,
    token: &[u8],
    receive: impl Fn(&OwnedFd, &mut [u8]) -> Result<(usize, IpAddr), Errno>,
    reply_type: u8,
    unreachable_type: u8,
) -> EchoOutcome {
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < Duration::from_secs(1) {
        let (length, from) = match receive(socket, &mut buffer) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(error) => panic!("receiving ICMP: {error}"),
        };
        let message = &buffer[..length];
        if !message.windows(token.len()).any(|window| window == token) {
            continue;
        }
        if message[0] == reply_type {
            return EchoOutcome::Reply;
        }
        if message[0] == unreachable_type {
            return EchoOutcome::Unreachable { from, code: message[1] };
        }
    }
    EchoOutcome::Silence
}

/// The Internet checksum (RFC 1071) of an even number of bytes, in host order.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
