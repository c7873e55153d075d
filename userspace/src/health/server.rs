//! One listener and its connections.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::answer::Subject;

/// How many connections are open at once: whoever can reach the node can reach this, and shall not
/// take the agent's files. The next ones wait for one of them to end.
const MAX_CONNECTIONS: usize = 64;
/// How long is waited where no connection can be taken, for want of files mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A listener. It ends when dropped, and so do its connections.
#[derive(Debug)]
pub(super) struct Server {
    subject: Arc<Subject>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on an address of this node. A connection that has not sent a request after
    /// `patience` is closed. To be called within the runtime.
    pub(super) fn listen(
        address: SocketAddr,
        subject: Subject,
        patience: Duration,
    ) -> io::Result<Self> {
        let listener = bind(address)?;
        let subject = Arc::new(subject);
        let task = tokio::spawn(accept(listener, Arc::clone(&subject), patience));
        Ok(Self { subject, task })
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Ends it, and returns when the address is free.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        // That it was aborted is no news.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // Sets SO_REUSEADDR, so that connections that have just ended do not keep a listener away.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accept(listener: TcpListener, subject: Arc<Subject>, patience: Duration) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(talk(stream, Arc::clone(&subject), patience));
                }
                Err(error) => {
                    log::warn!("service={} health check not taken: {error}", subject.service);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn talk(stream: TcpStream, subject: Arc<Subject>, patience: Duration) {
    let answer = service_fn(|_| {
        let answer = subject.answer();
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        log::trace!("service={} health check: {error}", subject.service);
    }
}
