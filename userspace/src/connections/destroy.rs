//! Ending sockets of other processes: their next call fails with `ECONNABORTED`, so that they
//! connect anew instead of talking to nobody.
//!
//! Over `sock_diag(7)`, as `ss --kill` does. The kernel needs `CONFIG_INET_DIAG_DESTROY`, and we
//! `CAP_NET_ADMIN`.

use std::{collections::BTreeSet, fs::File, io, net::SocketAddr, path::Path, thread};

use maps_schema::address::Protocol;
use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use nix::sched::{CloneFlags, setns};

/// A socket that talks to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ConnectedSocket {
    /// Its cookie (`SO_COOKIE`).
    pub(super) cookie: u64,
    /// TCP or UDP.
    pub(super) protocol: Protocol,
    /// Its peer as the kernel knows it, below any translation. IPv4 also for a peer that a
    /// dual-stack socket knows by its IPv4-mapped address.
    pub(super) peer: SocketAddr,
}

/// Why sockets could not be ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum DestroyError {
    /// The kernel did not list sockets.
    #[error("listing sockets (sock_diag, CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG): {0}")]
    List(#[source] io::Error),
    /// The kernel did not end a socket.
    #[error(
        "ending the socket {local} that talks to {peer} (SOCK_DESTROY, \
         CONFIG_INET_DIAG_DESTROY, CAP_NET_ADMIN): {error}"
    )]
    Destroy {
        /// Its own address.
        local: SocketAddr,
        /// Its peer.
        peer: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A network namespace could not be entered.
    #[error("entering network namespace {path}: {error}")]
    Enter {
        /// Where it is mounted.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The kernel's message makes no sense.
    #[error("reading a sock_diag message of the kernel: {0}")]
    Message(#[from] DecodeError),
}

/// Ends those sockets of the calling thread's network namespace that are in `sockets`; returns how
/// many there were.
pub(super) fn destroy(sockets: &BTreeSet<ConnectedSocket>) -> Result<usize, DestroyError> {
    if sockets.is_empty() {
        return Ok(0);
    }
    let mut netlink = Netlink::open().map_err(DestroyError::List)?;
    let mut destroyed = 0;
    // An IPv4 peer may be a dual-stack socket's, an IPv6 one only an IPv6 socket's.
    let lists: BTreeSet<(u8, Protocol, u16)> = sockets
        .iter()
        .flat_map(|socket| {
            let families: &[u8] =
                if socket.peer.is_ipv4() { &[AF_INET, AF_INET6] } else { &[AF_INET6] };
            families.iter().map(|&family| (family, socket.protocol, socket.peer.port()))
        })
        .collect();
    for (family, protocol, port) in lists {
        for found in netlink.list(family, protocol, port)? {
            if sockets.contains(&connected(protocol, &found.socket_id)) {
                destroyed += usize::from(netlink.destroy(protocol, found)?);
            }
        }
    }
    Ok(destroyed)
}

/// The same in another network namespace; none where it is gone.
pub(super) fn destroy_in(
    namespace: &Path,
    sockets: &BTreeSet<ConnectedSocket>,
) -> Result<usize, DestroyError> {
    let failed = |error| DestroyError::Enter { path: namespace.display().to_string(), error };
    let file = match File::open(namespace) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    // A thread of its own, which ends with the work, so that no other is led astray.
    let ended = thread::scope(|scope| {
        let work = move || {
            setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| failed(errno.into()))?;
            destroy(sockets)
        };
        scope.spawn(work).join()
    });
    ended.unwrap_or_else(|_| Err(failed(io::Error::other("the thread has panicked"))))
}

fn connected(protocol: Protocol, id: &SocketId) -> ConnectedSocket {
    // Two words in the machine's byte order, the low one first.
    let (words, _) = id.cookie.as_chunks::<4>();
    let cookie = words
        .iter()
        .rev()
        .fold(0, |cookie, word| cookie << 32 | u64::from(u32::from_ne_bytes(*word)));
    ConnectedSocket {
        cookie,
        protocol,
        peer: SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
    }
}

/// The states in which a socket has a peer that it may yet hear from.
fn live(protocol: Protocol) -> StateFlags {
    if protocol == Protocol::TCP {
        StateFlags::ESTABLISHED
            | StateFlags::SYN_SENT
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK
    } else {
        // What `connect(2)` makes of a UDP socket.
        StateFlags::ESTABLISHED
    }
}

/// A sock_diag socket. It speaks of the namespace that it was opened in.
struct Netlink(Socket);

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The sockets with a peer on this port.
    fn list(
        &mut self,
        family: u8,
        protocol: Protocol,
        port: u16,
    ) -> Result<Vec<InetResponseHeader>, DestroyError> {
        let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let request = InetRequest {
            family,
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: live(protocol),
            socket_id: SocketId { destination_port: port, ..any },
        };
        self.send(SockDiagMessage::InetRequest(request), NLM_F_DUMP).map_err(DestroyError::List)?;
        let mut found = Vec::new();
        loop {
            for message in self.receive::<SockDiagMessage>().map_err(DestroyError::List)? {
                match message?.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        found.push(response.header);
                    }
                    NetlinkPayload::Error(error) => return Err(DestroyError::List(error.to_io())),
                    NetlinkPayload::Done(_) => return Ok(found),
                    _ => {}
                }
            }
        }
    }

    /// Ends a socket that was listed; whether it was still there.
    fn destroy(
        &mut self,
        protocol: Protocol,
        found: InetResponseHeader,
    ) -> Result<bool, DestroyError> {
        let id = &found.socket_id;
        let local = SocketAddr::new(id.source_address, id.source_port);
        let peer = SocketAddr::new(id.destination_address, id.destination_port);
        let failed = |error| DestroyError::Destroy { local, peer, error };
        let request = InetRequest {
            family: found.family,
            protocol: protocol.number(),
            extensions: ExtensionFlags::empty(),
            states: live(protocol),
            // With the cookie, so that another socket that has come to these ports is left alone.
            socket_id: found.socket_id,
        };
        let request = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
        self.send(request, NLM_F_ACK).map_err(failed)?;
        loop {
            for message in self.receive::<SockDiagMessage>().map_err(failed)? {
                let NetlinkPayload::Error(answer) = message?.payload else {
                    continue;
                };
                if answer.code.is_none() {
                    return Ok(true);
                }
                let error = answer.to_io();
                return match error.raw_os_error() {
                    Some(libc::ENOENT) => Ok(false),
                    _ => Err(failed(error)),
                };
            }
        }
    }

    fn send<T>(&self, message: T, flags: u16) -> io::Result<()>
    where
        T: NetlinkSerializable + Into<NetlinkPayload<T>>,
    {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    /// The messages of the next datagram.
    fn receive<T: NetlinkDeserializable>(
        &self,
    ) -> io::Result<Vec<Result<NetlinkMessage<T>, DecodeError>>> {
        let (bytes, _) = self.0.recv_from_full()?;
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest);
            // Messages begin at multiples of four bytes.
            let length = match &message {
                Ok(message) => (message.header.length as usize).next_multiple_of(4),
                Err(_) => rest.len(),
            };
            messages.push(message);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_as_the_kernel_splits_it() {
        let [low, high] = [0x89ab_cdef_u32, 0x0123_4567].map(u32::to_ne_bytes);
        let cookie = [low, high].concat().try_into().unwrap();
        let id = SocketId { cookie, ..SocketId::new_v4() };
        assert_eq!(connected(Protocol::TCP, &id).cookie, 0x0123_4567_89ab_cdef);
    }

    #[test]
    fn a_mapped_peer_is_known_by_its_ipv4_address() {
        let id = SocketId {
            destination_address: "::ffff:10.244.1.11".parse().unwrap(),
            destination_port: 8080,
            ..SocketId::new_v6()
        };
        let peer = connected(Protocol::UDP, &id).peer;
        assert_eq!(peer, "10.244.1.11:8080".parse().unwrap());
    }

    #[test]
    fn nothing_is_asked_of_the_kernel_for_no_sockets() {
        assert_eq!(destroy(&BTreeSet::new()).unwrap(), 0);
    }
}
