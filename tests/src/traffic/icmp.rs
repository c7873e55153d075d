//! Ping, on a raw socket, so that the answer can be told from an error and from silence.

use std::{
    collections::BTreeSet,
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

use crate::netns::{NetNamespace, refuse_the_machine};

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
    /// Somebody said that it had passed too many routers.
    Expired {
        /// Who.
        from: IpAddr,
    },
    /// Nothing came within a second.
    Silence,
}

/// What an echo request carries, and nothing else.
const TOKEN: &[u8; 8] = b"shuntpin";

/// How many routers a packet may pass where nothing else is asked for.
const HOPS: u8 = 64;

/// Sends one echo request from the namespace of the calling thread.
pub fn echo(target: IpAddr) -> EchoOutcome {
    send_echo(target, TOKEN.len(), HOPS)
}

/// The same with so many bytes of payload, an even number from eight on. The kernel cuts what is
/// too long for the link.
pub fn echo_of(target: IpAddr, bytes: usize) -> EchoOutcome {
    send_echo(target, bytes, HOPS)
}

/// The same with so many routers that it may pass, and one.
pub fn echo_with_hop_limit(target: IpAddr, hops: u8) -> EchoOutcome {
    send_echo(target, TOKEN.len(), hops)
}

fn send_echo(target: IpAddr, bytes: usize, hops: u8) -> EchoOutcome {
    refuse_the_machine();
    // Type, code, checksum, identifier, sequence number.
    let mut request = vec![8, 0, 0, 0, 0x73, 0x68, 0, 1];
    request.extend(TOKEN);
    request.resize(request.len() + bytes - TOKEN.len(), b'.');
    match target {
        IpAddr::V4(target) => {
            let checksum = checksum(&request).to_be_bytes();
            request[2..4].copy_from_slice(&checksum);
            let socket = open(AddressFamily::Inet, SockProtocol::Icmp);
            setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(hops)).expect("setting a hop limit");
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(target, 0));
            send(&socket, &request, &to);
            listen(
                &socket,
                TOKEN,
                |socket, buffer| {
                    let (length, from) = recvfrom::<SockaddrIn>(socket.as_raw_fd(), buffer)?;
                    // The kernel hands over the IP header too; its length is in its first byte.
                    let header = usize::from(buffer[0] & 0xf) * 4;
                    buffer.copy_within(header..length, 0);
                    let from = from.map_or(Ipv4Addr::UNSPECIFIED, |from| from.ip());
                    Ok((length - header, from.into()))
                },
                Types { reply: 0, unreachable: 3, expired: 11 },
            )
        }
        IpAddr::V6(target) => {
            // The kernel fills in the checksum, which covers addresses that it chooses.
            request[0] = 128;
            let socket = open(AddressFamily::Inet6, SockProtocol::IcmpV6);
            setsockopt(&socket, sockopt::Ipv6Ttl, &i32::from(hops)).expect("setting a hop limit");
            let to = SockaddrIn6::from(std::net::SocketAddrV6::new(target, 0, 0, 0));
            send(&socket, &request, &to);
            listen(
                &socket,
                TOKEN,
                |socket, buffer| {
                    let (length, from) = recvfrom::<SockaddrIn6>(socket.as_raw_fd(), buffer)?;
                    let from = from.map_or(Ipv6Addr::UNSPECIFIED, |from| from.ip());
                    Ok((length, from.into()))
                },
                Types { reply: 129, unreachable: 1, expired: 3 },
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
    match sendto(socket.as_fd().as_raw_fd(), request, to, MsgFlags::empty()) {
        // The sender's own kernel dropped it: silence follows.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => panic!("sending an echo request: {error}"),
    }
}

/// The types of messages that an echo request may lead to.
#[derive(Clone, Copy)]
struct Types {
    reply: u8,
    unreachable: u8,
    expired: u8,
}

/// Reads messages until one carries `token`: as an echo reply, or inside an error about the
/// request.
fn listen(
    socket: &OwnedFd,
    token: &[u8],
    receive: impl Fn(&OwnedFd, &mut [u8]) -> Result<(usize, IpAddr), Errno>,
    types: Types,
) -> EchoOutcome {
    let start = Instant::now();
    let mut buffer = vec![0; 65536];
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
        match message[0] {
            reply if reply == types.reply => return EchoOutcome::Reply,
            error if error == types.unreachable => {
                return EchoOutcome::Unreachable { from, code: message[1] };
            }
            error if error == types.expired => return EchoOutcome::Expired { from },
            _ => {}
        }
    }
    EchoOutcome::Silence
}

/// Notes from which addresses echo requests of this module come into a namespace, while `work` runs
/// somewhere else.
pub fn sources_of_requests(
    namespace: &NetNamespace,
    family: AddressFamily,
    work: impl FnOnce(),
) -> BTreeSet<IpAddr> {
    let socket = namespace.run(|| {
        refuse_the_machine();
        match family {
            AddressFamily::Inet => open(family, SockProtocol::Icmp),
            _ => open(family, SockProtocol::IcmpV6),
        }
    });
    work();
    let mut sources = BTreeSet::new();
    let mut buffer = vec![0; 65536];
    loop {
        let received = match family {
            AddressFamily::Inet => recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut buffer)
                .map(|(length, from)| (length, from.map(|from| IpAddr::V4(from.ip())))),
            _ => recvfrom::<SockaddrIn6>(socket.as_raw_fd(), &mut buffer)
                .map(|(length, from)| (length, from.map(|from| IpAddr::V6(from.ip())))),
        };
        let Ok((length, from)) = received else { return sources };
        let header =
            if family == AddressFamily::Inet { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
        let is_request = matches!(buffer.get(header), Some(8 | 128));
        if is_request && buffer[..length].windows(TOKEN.len()).any(|window| window == TOKEN) {
            sources.extend(from);
        }
    }
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
