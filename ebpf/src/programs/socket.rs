//! The cgroup hooks, for the node's own processes: a socket that asks for a service's address is
//! given a backend's, and is shown the service's address wherever it asks whom it talks to.

use aya_ebpf::{bindings::bpf_sock_addr, macros::cgroup_sock_addr, programs::SockAddrContext};
use datapath::socket::{Socket, SocketVerdict, decide_socket};
use maps_schema::{
    address::{Address, Family, Ipv6Wire, Port, Protocol},
    counters::Program,
    socket::{SocketNamespace, SocketPeer, SocketPeerKey},
};

use crate::{
    count::{count_connection, count_drop},
    helpers::{self, fail_with},
    maps::{SOCKET_NAMESPACES, SOCKET_PEERS},
    sockaddr::{Bindable, V4, V6},
    tables::{Kernel, Mapped, Maps},
};

const ALLOW: i32 = 1;
const REJECT: i32 = 0;

const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// `connect(2)`, IPv4.
#[cgroup_sock_addr(connect4)]
pub(crate) fn socket_connect4(ctx: SockAddrContext) -> i32 {
    to_backend_v4(&ctx, Choice::New)
}

/// `connect(2)`, IPv6.
#[cgroup_sock_addr(connect6)]
pub(crate) fn socket_connect6(ctx: SockAddrContext) -> i32 {
    to_backend_v6(&ctx, Choice::New)
}

/// `sendto(2)` and `sendmsg(2)` of an unconnected UDP socket, IPv4.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn socket_sendmsg4(ctx: SockAddrContext) -> i32 {
    to_backend_v4(&ctx, Choice::Remembered)
}

/// `sendto(2)` and `sendmsg(2)` of an unconnected UDP socket, IPv6.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn socket_sendmsg6(ctx: SockAddrContext) -> i32 {
    to_backend_v6(&ctx, Choice::Remembered)
}

/// `recvfrom(2)` and `recvmsg(2)` of a UDP socket, IPv4.
#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn socket_recvmsg4(ctx: SockAddrContext) -> i32 {
    from_backend_v4(&ctx)
}

/// `recvfrom(2)` and `recvmsg(2)` of a UDP socket, IPv6.
#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn socket_recvmsg6(ctx: SockAddrContext) -> i32 {
    from_backend_v6(&ctx)
}

/// `getpeername(2)`, IPv4. Linux 5.8.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn socket_getpeername4(ctx: SockAddrContext) -> i32 {
    from_backend_v4(&ctx)
}

/// `getpeername(2)`, IPv6. Linux 5.8.
#[cgroup_sock_addr(getpeername6)]
pub(crate) fn socket_getpeername6(ctx: SockAddrContext) -> i32 {
    from_backend_v6(&ctx)
}

/// Whether a socket keeps the backend that it was given for this service before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// A connection: chosen anew.
    New,
    /// A datagram: as the one before, so that a server sees all of an exchange.
    Remembered,
}

#[inline(always)]
fn to_backend_v4(ctx: &SockAddrContext, choice: Choice) -> i32 {
    let socket = V4::new(ctx.sock_addr);
    match to_backend(ctx.sock_addr, socket.address(), socket.port(), choice) {
        Ok(Some((address, port))) => socket.set(address, port),
        Ok(None) => {}
        Err(errno) => return reject(errno),
    }
    ALLOW
}

/// Dual-stack sockets ask for IPv4 peers by IPv4-mapped addresses.
#[inline(always)]
fn to_backend_v6(ctx: &SockAddrContext, choice: Choice) -> i32 {
    let socket = V6::new(ctx.sock_addr);
    let address = socket.address();
    let backend = match address.mapped_v4() {
        Some(address) => to_backend(ctx.sock_addr, address, socket.port(), choice)
            .map(|backend| backend.map(|(v4, port)| (Ipv6Wire::from_mapped_v4(v4), port))),
        None => to_backend(ctx.sock_addr, address, socket.port(), choice),
    };
    match backend {
        Ok(Some((address, port))) => socket.set(address, port),
        Ok(None) => {}
        Err(errno) => return reject(errno),
    }
    ALLOW
}

#[inline(always)]
fn from_backend_v4(ctx: &SockAddrContext) -> i32 {
    let socket = V4::new(ctx.sock_addr);
    if let Some((address, port)) =
        other_side(ctx.sock_addr, socket.address(), socket.port(), SocketPeerKey::BACKEND)
    {
        socket.set(address, port);
    }
    ALLOW
}

#[inline(always)]
fn from_backend_v6(ctx: &SockAddrContext) -> i32 {
    let socket = V6::new(ctx.sock_addr);
    let (address, port) = (socket.address(), socket.port());
    let service = match address.mapped_v4() {
        Some(address) => other_side(ctx.sock_addr, address, port, SocketPeerKey::BACKEND)
            .map(|(v4, port)| (Ipv6Wire::from_mapped_v4(v4), port)),
        None => other_side(ctx.sock_addr, address, port, SocketPeerKey::BACKEND),
    };
    if let Some((address, port)) = service {
        socket.set(address, port);
    }
    ALLOW
}

#[inline(always)]
fn reject(errno: i32) -> i32 {
    fail_with(errno);
    REJECT
}

/// The backend for a service's address; none where the address is no service's, or the socket not
/// one of ours.
#[inline(always)]
fn to_backend<A: Mapped + Bindable>(
    ctx: *mut bpf_sock_addr,
    address: A,
    port: Port,
    choice: Choice,
) -> Result<Option<(A, Port)>, i32> {
    let protocol = protocol(ctx);
    if protocol != Protocol::TCP && protocol != Protocol::UDP {
        return Ok(None);
    }
    // SAFETY: the value is copied out at once.
    let Some(namespace) = (unsafe { SOCKET_NAMESPACES.get(helpers::netns_cookie(ctx)) }).copied()
    else {
        return Ok(None);
    };
    if choice == Choice::Remembered
        && let Some(backend) = other_side(ctx, address, port, SocketPeerKey::SERVICE)
    {
        if other_side(ctx, backend.0, backend.1, SocketPeerKey::BACKEND).is_none() {
            remember(ctx, backend, (address, port), SocketPeerKey::BACKEND);
        }
        return Ok(Some(backend));
    }
    let socket = Socket {
        address: A::bound(ctx).unwrap_or_else(|| A::of_pair(&namespace.addresses)),
        protocol,
        is_nodes: namespace.owner == SocketNamespace::NODE,
    };
    match decide_socket(&socket, address, port, &Maps, &Kernel::of_socket(ctx)) {
        SocketVerdict::Pass => {
            // A socket that asks a backend itself, beside its service, is answered by the backend.
            // One that is connected is seen here with its backend's address when it sends to an
            // IPv4-mapped one: it asks nobody else.
            if choice == Choice::New || !helpers::is_connected(ctx) {
                let _ = SOCKET_PEERS.remove(key(ctx, address, port, SocketPeerKey::BACKEND));
            }
            Ok(None)
        }
        SocketVerdict::Refuse(reason) => {
            count_drop(Program::Socket, reason);
            Err(ECONNREFUSED)
        }
        SocketVerdict::Drop(reason) => {
            count_drop(Program::Socket, reason);
            Err(EHOSTUNREACH)
        }
        SocketVerdict::Translate { address: backend, port: backend_port, service } => {
            remember(ctx, (backend, backend_port), (address, port), SocketPeerKey::BACKEND);
            if choice == Choice::Remembered {
                remember(ctx, (address, port), (backend, backend_port), SocketPeerKey::SERVICE);
            }
            count_connection(service);
            Ok(Some((backend, backend_port)))
        }
    }
}

#[inline(always)]
fn protocol(ctx: *mut bpf_sock_addr) -> Protocol {
    // SAFETY: `ctx` is the program's context.
    let protocol = unsafe { (&raw const (*ctx).protocol).read_volatile() };
    Protocol::new(protocol as u8)
}

#[inline(always)]
fn key<A: Address>(ctx: *mut bpf_sock_addr, address: A, port: Port, side: u8) -> SocketPeerKey {
    SocketPeerKey {
        cookie: helpers::socket_cookie(ctx),
        address: address.to_slot(),
        port,
        protocol: protocol(ctx),
        ip_version: match A::FAMILY {
            Family::V4 => 4,
            Family::V6 => 6,
        },
        side,
        padding: [0; 3],
    }
}

#[inline(always)]
fn remember<A: Address>(
    ctx: *mut bpf_sock_addr,
    (address, port): (A, Port),
    (other_address, other_port): (A, Port),
    side: u8,
) {
    let peer = SocketPeer { address: other_address.to_slot(), port: other_port, padding: [0; 2] };
    // The table is an LRU: it is never full.
    let _ = SOCKET_PEERS.insert(key(ctx, address, port, side), peer, 0);
}

#[inline(always)]
fn other_side<A: Address>(
    ctx: *mut bpf_sock_addr,
    address: A,
    port: Port,
    side: u8,
) -> Option<(A, Port)> {
    // SAFETY: the value is copied out at once.
    let peer = unsafe { SOCKET_PEERS.get(key(ctx, address, port, side)) }.copied()?;
    Some((A::from_slot(peer.address), peer.port))
}
