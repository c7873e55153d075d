//! Many servers on one thread: each at one address and port, each saying who it is and whom it sees.
//!
//! Over TCP the answer comes unasked, and the connection ends; over UDP it follows each datagram. It
//! is one line: the server's address and port, and the client's.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cluster::Transport;
use crate::{
    netns::{NetNamespace, refuse_the_machine},
    traffic::canonical,
};

/// How often, in milliseconds, the thread looks whether it should end.
const LOOK: u16 = 50;

/// A server that waits for its thread.
#[derive(Debug)]
pub struct Server {
    name: SocketAddr,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Server {
    /// Binds a server in the namespace of the calling thread. The address must be there.
    pub fn bind(transport: Transport, at: SocketAddr) -> io::Result<Self> {
        refuse_the_machine();
        let socket = match transport {
            Transport::Tcp => {
                let listener = TcpListener::bind(at)?;
                listener.set_nonblocking(true)?;
                Socket::Tcp(listener)
            }
            Transport::Udp => {
                let socket = UdpSocket::bind(at)?;
                socket.set_nonblocking(true)?;
                Socket::Udp(socket)
            }
            Transport::Sctp => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { name: at, socket })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }

    /// Answers all who wait. A client that goes away, or an error about an earlier answer, is
    /// nothing to a server: the client tells.
    fn answer(&self) {
        match &self.socket {
            Socket::Tcp(listener) => {
                while let Ok((stream, client)) = listener.accept() {
                    let _ = self.talk(stream, client);
                }
            }
            Socket::Udp(socket) => {
                let mut buffer = [0; 64];
                while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(self.line(client).as_bytes(), client);
                }
            }
        }
    }

    fn talk(&self, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
        // A line always fits what a new connection may send.
        stream.write_all(self.line(client).as_bytes())
    }

    fn line(&self, client: SocketAddr) -> String {
        format!("{} {}\n", self.name, canonical(client))
    }
}

/// Servers that run, until this is dropped.
#[derive(Debug)]
pub struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    /// Starts them.
    pub fn start(servers: Vec<Server>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                answer_once(&servers);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Servers that panicked have said so; the test fails for what its clients saw.
            let _ = thread.join();
        }
    }
}

fn answer_once(servers: &[Server]) {
    let mut waiting: Vec<PollFd> =
        servers.iter().map(|server| PollFd::new(server.fd(), PollFlags::POLLIN)).collect();
    if poll(&mut waiting, PollTimeout::from(LOOK)).is_err() {
        return;
    }
    for (server, state) in servers.iter().zip(&waiting) {
        if state.any() == Some(true) {
            server.answer();
        }
    }
}

/// Binds servers in a namespace; those that cannot be are returned with the reason.
pub fn bind_all(
    netns: &NetNamespace,
    wanted: &[(Transport, SocketAddr)],
) -> (Vec<Server>, Vec<(SocketAddr, io::Error)>) {
    netns.run(|| {
        let (mut servers, mut failed) = (Vec::new(), Vec::new());
        for (transport, at) in wanted {
            match Server::bind(*transport, *at) {
                Ok(server) => servers.push(server),
                Err(error) => failed.push((*at, error)),
            }
        }
        (servers, failed)
    })
}
