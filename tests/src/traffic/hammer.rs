//! Clients that ask again and again while something happens, and report every failure.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Answer, Protocol, client};
use crate::{netns::NetNamespace, wait::patiently};

/// From when on an answer counts as slow: TCP sends a lost SYN again after one second, a lost
/// segment after 200 ms. Where instructions are translated, the verifier of a program that is loaded
/// holds the processor for as long.
const SLOW: Duration = Duration::from_millis(900);

/// How many requests a hammer makes at most.
const LIMIT: u64 = 30_000;

/// The pause between two requests; keeps one hammer to a small part of a processor, of one whose
/// instructions are translated, too.
const PAUSE: Duration = Duration::from_millis(2);

/// How a hammer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A new connection, or a new socket, for each request.
    NewEachTime,
    /// One connection, or one connected socket, for all; the first failure of a TCP connection ends
    /// it.
    OneConversation,
}

/// A client that asks until it is stopped.
#[derive(Debug)]
pub struct Hammer {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    newest: Arc<Mutex<Newest>>,
    thread: Option<JoinHandle<Report>>,
}

/// What a hammer saw last.
#[derive(Debug, Default)]
struct Newest {
    server: Option<String>,
    failure: Option<String>,
}

/// What a hammer saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many requests it made.
    pub requests: u64,
    /// What failed: when, since the start, and how.
    pub failures: Vec<(Duration, String)>,
    /// The answers that took longer than 900 ms.
    pub slow: Vec<(Duration, Duration)>,
    /// Answers by server.
    pub servers: BTreeMap<String, u64>,
    /// The server of the last answer.
    pub last_server: Option<String>,
}

impl Report {
    /// Panics unless every request got its answer, in time, and there were some.
    pub fn assert_flawless(&self, what: &str) {
        assert!(self.requests > 0, "{what}: nothing was asked");
        assert!(self.failures.is_empty() && self.slow.is_empty(), "{what}: {self:?}");
    }
}

/// Stops clients, and requires that none of their requests failed or was slow, and that each
/// conversation stayed with one server.
pub fn assert_flawless(new: Vec<Hammer>, conversations: Vec<Hammer>) {
    for hammer in new {
        hammer.stop().assert_flawless("new connections");
    }
    for hammer in conversations {
        let report = hammer.stop();
        report.assert_flawless("a conversation");
        assert_eq!(report.servers.len(), 1, "a conversation changed its server: {report:?}");
    }
}

impl Hammer {
    /// Starts asking `target` from a thread inside the namespace.
    pub fn start(
        namespace: &NetNamespace,
        protocol: Protocol,
        style: Style,
        target: SocketAddr,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let newest = Arc::new(Mutex::new(Newest::default()));
        let (stopped, count, seen) =
            (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&newest));
        let thread = namespace.spawn(move || {
            hammer(protocol, style, target, &stopped, |result| {
                let mut newest = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(answer) => {
                        newest.server = Some(answer.server.clone());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => newest.failure = Some(error.to_string()),
                }
            })
        });
        Self { stop, answered, newest, thread: Some(thread) }
    }

    /// Waits until `count` more answers have come, so that what follows happens in the middle of
    /// traffic. Panics after ten seconds.
    pub fn wait_for_answers(&self, count: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        crate::wait::until("a client's next answers", crate::wait::PATIENCE, || {
            let answered = self.answered.load(Ordering::Relaxed);
            if answered >= goal {
                Ok(())
            } else {
                Err(format!("{answered} of {goal} have come; {:?}", self.newest))
            }
        });
    }

    /// The server of the newest answer.
    pub fn server_now(&self) -> String {
        self.wait_for_answers(1);
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.server.clone().expect("an answer has come")
    }

    /// Waits until the hammer has ended by itself, as a conversation does that broke. Panics after
    /// ten seconds.
    pub fn wait_for_its_end(&self) {
        crate::wait::until("a client's end", crate::wait::PATIENCE, || {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if ended { Ok(()) } else { Err("its conversation goes on".to_owned()) }
        });
    }

    /// Ends it, and returns what it saw.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a hammer is stopped once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn hammer(
    protocol: Protocol,
    style: Style,
    target: SocketAddr,
    stop: &AtomicBool,
    on_result: impl Fn(&io::Result<Answer>),
) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    let mut conversation = None;
    while !stop.load(Ordering::Relaxed) && report.requests < LIMIT {
        report.requests += 1;
        let asked = Instant::now();
        let result = match style {
            Style::NewEachTime => client::ask(protocol, target),
            Style::OneConversation => Conversation::ask(&mut conversation, protocol, target),
        };
        let took = asked.elapsed();
        on_result(&result);
        match result {
            Ok(answer) => {
                if took > patiently(SLOW) {
                    report.slow.push((start.elapsed(), took));
                }
                *report.servers.entry(answer.server.clone()).or_default() += 1;
                report.last_server = Some(answer.server);
            }
            Err(error) => {
                report.failures.push((start.elapsed(), error.to_string()));
                if style == Style::OneConversation && protocol == Protocol::Tcp {
                    break;
                }
            }
        }
        thread::sleep(patiently(PAUSE));
    }
    report
}

enum Conversation {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

impl Conversation {
    fn ask(kept: &mut Option<Self>, protocol: Protocol, target: SocketAddr) -> io::Result<Answer> {
        let conversation = match kept {
            Some(conversation) => conversation,
            None => kept.insert(match protocol {
                Protocol::Tcp => Self::Tcp(BufReader::new(client::connect(target)?)),
                Protocol::Udp => Self::Udp(client::connect_udp(target)?),
            }),
        };
        match conversation {
            Self::Udp(socket) => client::ask_on(socket, "stay"),
            Self::Tcp(reader) => {
                reader.get_mut().write_all(b"stay\n")?;
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                line.parse().map_err(io::Error::other)
            }
        }
    }
}
