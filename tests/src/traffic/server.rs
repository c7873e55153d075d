//! Servers.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use nix::sys::{socket::sockopt, time::TimeVal};

use super::{
    canonical,
    tls::{self, Identity},
};
use crate::netns::{NetNamespace, refuse_the_machine};

/// How long a connection may be silent before the server gives it up.
const IDLE: Duration = Duration::from_mins(1);

/// A server for both families on one TCP or UDP port of a namespace; it ends, and so do its
/// connections, when dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a TCP server that calls itself `name`.
    pub fn tcp(namespace: &NetNamespace, name: &str, port: u16) -> Self {
        let listener = listen(namespace, port);
        Self::start(namespace, name, move |server, name| {
            server.accept(&listener, name, Worker::talk);
        })
    }

    /// Starts a server of HTTP over TLS that calls itself `name`, and proves who it is by
    /// `identity`.
    pub fn tls(namespace: &NetNamespace, name: &str, port: u16, identity: &Identity) -> Self {
        let listener = listen(namespace, port);
        let settings = identity.settings();
        Self::start(namespace, name, move |server, name| {
            server.accept(&listener, name, move |worker, stream, prefix| {
                let mut conversation = BufReader::new(tls::accept(stream, &settings)?);
                let mut request = String::new();
                conversation.read_line(&mut request)?;
                worker.requests.fetch_add(1, Ordering::Relaxed);
                answer_http(&mut conversation, &request, prefix)?;
                tls::close(conversation.get_mut())
            });
        })
    }

    /// Starts a UDP server that calls itself `name`.
    pub fn udp(namespace: &NetNamespace, name: &str, port: u16) -> Self {
        let socket = namespace.run(|| {
            refuse_the_machine();
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
                .unwrap_or_else(|error| panic!("binding UDP port {port}: {error}"))
        });
        wake_up_regularly(&socket);
        make_room(&socket);
        Self::start(namespace, name, move |server, name| {
            server.receive(&socket, name);
        })
    }

    /// How many requests it answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn start(
        namespace: &NetNamespace,
        name: &str,
        serve: impl FnOnce(&Worker, &str) + Send + 'static,
    ) -> Self {
        let worker = Worker::default();
        let (stop, requests) = (Arc::clone(&worker.stop), Arc::clone(&worker.requests));
        let connections = Arc::clone(&worker.connections);
        let name = name.to_owned();
        let thread = namespace.spawn(move || serve(&worker, &name));
        Self { stop, requests, connections, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so; the test fails for what its clients saw.
            let _ = thread.join();
        }
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..)
        {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// What the threads of one server share with its owner.
#[derive(Clone, Debug, Default)]
struct Worker {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Worker {
    /// Takes connections, each on a thread of its own, and has `talk` answer with a prefix: the
    /// server's name, and the client's address.
    fn accept(
        &self,
        listener: &TcpListener,
        name: &str,
        talk: impl Fn(&Self, TcpStream, &str) -> io::Result<()> + Clone + Send + 'static,
    ) {
        while !self.stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let (worker, talk) = (self.clone(), talk.clone());
                    let prefix = format!("{name} {}", canonical(peer));
                    std::thread::spawn(move || {
                        // A client that goes away is its own business, and its report says so if it
                        // is not.
                        let _ = set_limits(&stream).and_then(|()| talk(&worker, stream, &prefix));
                    });
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => panic!("{name}: accepting: {error}"),
            }
        }
    }

    fn talk(&self, stream: TcpStream, prefix: &str) -> io::Result<()> {
        let mut conversation = BufReader::new(stream);
        let mut line = String::new();
        let mut kept = false;
        loop {
            line.clear();
            if conversation.read_line(&mut line)? == 0 {
                return Ok(());
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            if line.starts_with("GET ") {
                return answer_http(&mut conversation, &line, prefix);
            }
            if line == "sink\n" {
                let bytes = swallow(&mut conversation)?;
                return conversation.get_mut().write_all(format!("{prefix} {bytes}\n").as_bytes());
            }
            conversation.get_mut().write_all(format!("{prefix} {line}").as_bytes())?;
            if !kept {
                // Only long conversations are kept, so that ten thousand short ones do not fill the
                // file table.
                kept = line.starts_with("stay");
                if kept {
                    let mut connections =
                        self.connections.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.push(conversation.get_ref().try_clone()?);
                }
            }
        }
    }

    fn receive(&self, socket: &UdpSocket, name: &str) {
        let mut buffer = vec![0; 65536];
        while !self.stop.load(Ordering::Relaxed) {
            match socket.recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    self.requests.fetch_add(1, Ordering::Relaxed);
                    let mut answer = format!("{name} {} ", canonical(peer)).into_bytes();
                    answer.extend_from_slice(&buffer[..length]);
                    // A client that is gone is its own business.
                    let _ = socket.send_to(&answer, peer);
                }
                // An ICMP error about an earlier answer is reported here once, and means nothing to
                // a server.
                Err(error)
                    if is_timeout(&error) || error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{name}: receiving: {error}"),
            }
        }
    }
}

/// A listener for both families.
fn listen(namespace: &NetNamespace, port: u16) -> TcpListener {
    let listener = namespace.run(|| {
        refuse_the_machine();
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .unwrap_or_else(|error| panic!("listening on TCP port {port}: {error}"))
    });
    wake_up_regularly(&listener);
    listener
}

fn set_limits(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)
}

/// Answers an HTTP request: `GET /NUMBER` with so many bytes, any other with name and address.
fn answer_http<S: Read + Write>(
    conversation: &mut BufReader<S>,
    request: &str,
    prefix: &str,
) -> io::Result<()> {
    let mut header = String::new();
    while conversation.read_line(&mut header)? > 2 {
        header.clear();
    }
    let stream = conversation.get_mut();
    let size: Option<u64> =
        request.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse().ok());
    let body = format!("{prefix}\n");
    let length = size.unwrap_or(body.len() as u64);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    match size {
        Some(size) => io::copy(&mut io::repeat(b'x').take(size), stream).map(|_| ()),
        None => stream.write_all(body.as_bytes()),
    }
}

fn swallow(reader: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += length as u64,
        }
    }
}

/// Gives a socket room for all that comes while its thread waits for a processor.
pub(super) fn make_room(socket: &impl AsFd) {
    nix::sys::socket::setsockopt(socket, sockopt::RcvBufForce, &(8 << 20))
        .expect("setting a receive buffer");
}

/// Lets a blocked `accept` or `recv` return often enough to see that it should stop.
fn wake_up_regularly(socket: &impl AsFd) {
    nix::sys::socket::setsockopt(socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))
        .expect("setting a receive timeout");
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
