//! The thread that stays in the pod's network namespace: its sockets, and what they bring.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Semaphore, oneshot, watch},
    time::sleep,
};

use super::{
    answer::{Recursion, Reply, Transport, answer, failure},
    tcp, upstream,
    zone::Zone,
};
use crate::podnet::{self, enter_netns};

/// The port of DNS.
const PORT: u16 = 53;
/// How many bytes of queries wait for their turn: tens of thousands of them, while an agent starts
/// or its machine is busy.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The longest query that is read: what a datagram that is answered may be.
const LONGEST_DATAGRAM: usize = 4096;
/// How many questions to others wait for their answers at once, each with a socket of its own.
const MAX_FORWARDED: usize = 256;
/// How long is waited after an error of the socket.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

static FORWARDED: Semaphore = Semaphore::const_new(MAX_FORWARDED);

/// Why names are not answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The pod's network namespace cannot be entered.
    #[error("the DNS server cannot enter its pod: {0}")]
    Enter(#[from] podnet::Error),
    /// A socket is not to be had.
    #[error("the DNS server cannot listen on {transport} port {PORT} of its pod: {source}")]
    Listen {
        /// UDP or TCP.
        transport: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no thread to be had, or it has ended.
    #[error("the thread of the DNS server: {0}")]
    Thread(io::Error),
}

/// A network namespace.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) cookie: u64,
}

/// What is answered from.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) zone: Arc<RwLock<Zone>>,
    pub(super) whole: watch::Receiver<bool>,
    pub(super) upstreams: watch::Receiver<Arc<[SocketAddr]>>,
}

/// A thread that serves. It ends when dropped.
#[derive(Debug)]
pub(super) struct Running {
    cookie: u64,
    thread: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// Starts a thread, and returns when it has its sockets.
    pub(super) async fn start(place: Place, service: Service) -> Result<Self, ServeError> {
        let cookie = place.cookie;
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = oneshot::channel();
        let work = move || run(&place, service, listening, stopped);
        let thread = thread::Builder::new()
            .name("shunt-dns".to_owned())
            .spawn(work)
            .map_err(ServeError::Thread)?;
        match listens.await {
            Ok(result) => result.map(|()| Self { cookie, thread, _stop: stop }),
            Err(_) => Err(ServeError::Thread(io::Error::other("it has panicked"))),
        }
    }

    /// Whether it serves in the namespace with this cookie.
    pub(super) fn is_at(&self, cookie: u64) -> bool {
        self.cookie == cookie && !self.thread.is_finished()
    }
}

/// What the thread does.
fn run(
    place: &Place,
    service: Service,
    listening: oneshot::Sender<Result<(), ServeError>>,
    stopped: oneshot::Receiver<()>,
) {
    let prepared =
        enter_netns(&place.path, place.cookie).map_err(ServeError::Enter).and_then(|()| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(ServeError::Thread)
        });
    let runtime = match prepared {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = listening.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let sockets = Sockets::open().await;
        let (sockets, told) = match sockets {
            Ok(sockets) => (Some(sockets), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let _ = listening.send(told);
        if let Some(Sockets { udp, tcp }) = sockets {
            tokio::select! {
                () = serve(udp, tcp, service) => {}
                // Whoever started it has forgotten it.
                _ = stopped => {}
            }
        }
    });
}

struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    async fn open() -> Result<Self, ServeError> {
        let failed = |transport| move |source| ServeError::Listen { transport, source };
        // One socket for both families; for IPv4 alone where the kernel has no other.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let (udp, tcp) = match UdpSocket::bind(both).await {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                (UdpSocket::bind(v4).await, TcpListener::bind(v4).await)
            }
            udp => (udp, TcpListener::bind(both).await),
        };
        let udp = udp.map_err(failed("UDP"))?;
        setsockopt(&udp, RcvBufForce, &RECEIVE_BUFFER)
            .map_err(|errno| failed("UDP")(errno.into()))?;
        Ok(Self { udp, tcp: tcp.map_err(failed("TCP"))? })
    }
}

async fn serve(udp: UdpSocket, listener: TcpListener, mut service: Service) {
    // What comes until the zone is whole waits in the sockets: that there is no such name would be
    // said too soon, and remembered.
    if service.whole.wait_for(|is_whole| *is_whole).await.is_err() {
        return;
    }
    tokio::join!(serve_datagrams(Arc::new(udp), service.clone()), tcp::serve(listener, service));
}

async fn serve_datagrams(socket: Arc<UdpSocket>, service: Service) {
    let mut buffer = [0; LONGEST_DATAGRAM];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                log::debug!("no query was received: {error}");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let request = buffer.get(..length).unwrap_or_default();
        match service.answer_at_once(request, Transport::Udp) {
            Ok(answer) => send(&socket, answer, client).await,
            Err(pending) => {
                let (socket, service) = (Arc::clone(&socket), service.clone());
                let request = request.to_owned();
                tokio::spawn(async move {
                    let answer = service.finish(pending, &request, Transport::Udp).await;
                    send(&socket, Some(answer), client).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: Option<Vec<u8>>, client: SocketAddr) {
    if let Some(answer) = answer
        && let Err(error) = socket.send_to(&answer, client).await
    {
        log::debug!("client={client} not answered: {error}");
    }
}

/// What waits for others.
#[derive(Debug)]
enum Pending {
    Forward,
    Chase(Box<super::answer::Chase>),
}

impl Service {
    /// The answer to a message, if it gets one.
    pub(super) async fn answer(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.answer_at_once(request, transport) {
            Ok(answer) => answer,
            Err(pending) => Some(self.finish(pending, request, transport).await),
        }
    }

    fn answer_at_once(
        &self,
        request: &[u8],
        transport: Transport,
    ) -> Result<Option<Vec<u8>>, Pending> {
        let recursion = if self.upstreams.borrow().is_empty() {
            Recursion::Unavailable
        } else {
            Recursion::Available
        };
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        match answer(&zone, request, transport, recursion) {
            Reply::Nothing => Ok(None),
            Reply::Message(message) => Ok(Some(message)),
            Reply::Forward => Err(Pending::Forward),
            Reply::Chase(chase) => Err(Pending::Chase(chase)),
        }
    }

    async fn finish(&self, pending: Pending, request: &[u8], transport: Transport) -> Vec<u8> {
        let upstreams = Arc::clone(&self.upstreams.borrow());
        // Where too many wait already, nobody else is made to.
        let turn = FORWARDED.try_acquire();
        match pending {
            Pending::Forward => {
                let answer = match turn {
                    Ok(_turn) => upstream::forward(&upstreams, request, transport).await,
                    Err(_) => None,
                };
                answer.unwrap_or_else(|| failure(request, transport))
            }
            Pending::Chase(chase) => {
                let rest = match turn {
                    Ok(_turn) => upstream::resolve(&upstreams, &chase.question).await,
                    Err(_) => None,
                };
                chase.finish(rest)
            }
        }
    }
}
