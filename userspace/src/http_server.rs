//! HTTP for whoever can reach the node: one listener, and as many connections as do no harm.
//!
//! Requests have no bodies that matter and answers are short, so there is no framework in between.
//! The unix socket, which only root opens, has one: [`crate::api`].

use std::{
    convert::Infallible,
    fmt::Display,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd as _,
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt, socket,
        sockopt::{Ipv6V6Only, ReuseAddr},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// A whole answer.
pub(crate) type Answer = Response<Full<hyper::body::Bytes>>;

/// How many connections are open at once: whoever can reach the node can reach this, and shall not
/// take the agent's files. The next ones wait for one of them to end.
const MAX_CONNECTIONS: usize = 64;
/// How long is waited where no connection can be taken, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// How many connections may wait to be taken.
const BACKLOG: i32 = 128;

/// Who knows the answers. What it displays is named where a connection fails.
pub(crate) trait Answers: Display + Send + Sync + 'static {
    /// The answer at this moment.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A listener. It ends when dropped, and so do its connections.
#[derive(Debug)]
pub(crate) struct HttpServer<A> {
    answers: Arc<A>,
    task: JoinHandle<()>,
}

impl<A: Answers> HttpServer<A> {
    /// Listens on an address of this node; on the unspecified one of either family, on all
    /// addresses of both. A connection that has not sent a request after `patience` is closed. To
    /// be called within the runtime.
    pub(crate) fn listen(
        address: SocketAddr,
        answers: Arc<A>,
        patience: Duration,
    ) -> io::Result<Self> {
        let listener = listener(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(listener, Arc::clone(&answers), patience));
        Ok(Self { answers, task })
    }

    pub(crate) fn answers(&self) -> &A {
        &self.answers
    }

    /// Ends it, and returns when the address is free.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // That it was aborted is no news.
        let _ = (&mut self.task).await;
    }
}

impl<A> Drop for HttpServer<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    if !address.ip().is_unspecified() {
        // Sets SO_REUSEADDR, so that connections that have just ended do not keep it away.
        return std::net::TcpListener::bind(address);
    }
    let port = address.port();
    match of_both_families(port) {
        // A kernel without IPv6 has one family.
        Err(Errno::EAFNOSUPPORT) => std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        listener => listener.map_err(io::Error::from),
    }
}

/// Whatever `net.ipv6.bindv6only` says, which the standard library leaves to decide.
fn of_both_families(port: u16) -> Result<std::net::TcpListener, Errno> {
    let socket = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    setsockopt(&socket, Ipv6V6Only, &false)?;
    let all = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &all)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

async fn accept<A: Answers>(listener: TcpListener, answers: Arc<A>, patience: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(talk(stream, Arc::clone(&answers), patience));
                }
                Err(error) => {
                    log::warn!("{answers}: a connection was not taken: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn talk<A: Answers>(stream: TcpStream, answers: Arc<A>, patience: Duration) {
    let answer = service_fn(|request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        log::trace!("{answers}: {error}");
    }
}
