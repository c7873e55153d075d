//! The server of every measurement: a thread for TCP and a thread for UDP.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use nix::{
    sys::socket::{Shutdown, shutdown},
    unistd::{Pid, gettid},
};

use super::{COUNT, ECHO, SWALLOW, processors};
use crate::netns::NetNamespace;

/// What one read of a stream takes at most.
const BLOCK: usize = 256 << 10;

/// A server in a namespace. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Server {
    at: SocketAddr,
    tcp: TcpListener,
    udp: UdpSocket,
    seen: Arc<Seen>,
    threads: [Pid; 2],
}

/// What a server has seen since it began.
#[derive(Debug, Default)]
struct Seen {
    connections: AtomicU64,
    datagrams: AtomicU64,
    client: Mutex<Option<IpAddr>>,
    over: AtomicBool,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, client: SocketAddr) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.ip());
    }
}

impl Server {
    /// Starts to serve both protocols at an address.
    pub fn start(namespace: &NetNamespace, at: SocketAddr) -> Self {
        let bind = || Ok::<_, io::Error>((TcpListener::bind(at)?, UdpSocket::bind(at)?));
        let (tcp, udp) =
            namespace.run(bind).unwrap_or_else(|error| panic!("a server at {at}: {error}"));
        let seen = Arc::new(Seen::default());
        let copies = || Ok::<_, io::Error>((tcp.try_clone()?, udp.try_clone()?));
        let (listener, socket) = copies().expect("second handles of a server's sockets");
        let (of_tcp, of_udp) = (Arc::clone(&seen), Arc::clone(&seen));
        let threads = [
            begin(namespace, move || accept(&listener, &of_tcp)),
            begin(namespace, move || answer(&socket, &of_udp)),
        ];
        Self { at, tcp, udp, seen, threads }
    }

    /// Has it run on one processor alone from now on, with what it starts.
    pub fn stay_on(&self, processor: usize) -> nix::Result<()> {
        self.threads.iter().try_for_each(|thread| processors::keep_on(*thread, processor))
    }

    /// Where it is.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// How many connections it has taken so far.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many datagrams have reached it so far.
    pub fn datagrams(&self) -> u64 {
        self.seen.datagrams.load(Ordering::Relaxed)
    }

    /// The address of its last client, as it saw it.
    pub fn last_client(&self) -> Option<IpAddr> {
        *self.seen.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        // Wakes the threads that wait on these sockets; there is nobody to tell if one is gone.
        let _ = shutdown(self.tcp.as_raw_fd(), Shutdown::Both);
        let _ = self.udp.send_to(&[], self.at);
    }
}

/// Starts a thread in a namespace; its number.
fn begin(namespace: &NetNamespace, work: impl FnOnce() + Send + 'static) -> Pid {
    let (tell, told) = mpsc::channel();
    namespace.spawn(move || {
        // Who started it waits for this.
        let _ = tell.send(gettid());
        work();
    });
    told.recv().expect("a server's thread starts")
}

fn accept(listener: &TcpListener, seen: &Seen) {
    while !seen.is_over() {
        if let Ok((stream, client)) = listener.accept() {
            seen.note(client);
            seen.connections.fetch_add(1, Ordering::Relaxed);
            // A client that breaks off is the client's to report.
            let _ = serve(stream);
        }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut byte = [0];
    if stream.read(&mut byte)? == 0 {
        return Ok(());
    }
    if byte == [SWALLOW] {
        // Several streams are under way at once; the thread is on this one's processor.
        thread::spawn(move || swallow(stream));
        return Ok(());
    }
    stream.set_nodelay(true)?;
    loop {
        stream.write_all(&[ECHO])?;
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
    }
}

fn swallow(mut stream: TcpStream) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut count = 0_u64;
    loop {
        match stream.read(&mut block)? {
            0 => return stream.write_all(&count.to_be_bytes()),
            length => count += length as u64,
        }
    }
}

fn answer(socket: &UdpSocket, seen: &Seen) {
    let mut buffer = [0; 64];
    while !seen.is_over() {
        if let Ok((length, client)) = socket.recv_from(&mut buffer)
            && length > 0
        {
            seen.datagrams.fetch_add(1, Ordering::Relaxed);
            if buffer[0] != COUNT {
                seen.note(client);
                // Who gets no answer will say so.
                let _ = socket.send_to(&[ECHO], client);
            }
        }
    }
}
