//! A client that sends datagrams at a constant rate, whether they are answered or not, and knows
//! what became of each.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Answer, client, server::make_room};
use crate::netns::NetNamespace;

/// Between two datagrams.
const INTERVAL: Duration = Duration::from_millis(1);
/// How many datagrams are sent at most.
const LIMIT: u64 = 60_000;
/// How long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
/// How long a client that asks one by one waits for an answer.
const ANSWER: Duration = Duration::from_millis(100);

/// How the client's socket asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Connected. Where the node ends it, it connects again.
    Connected,
    /// Likewise, and each question waits for the answer to the one before, up to [`ANSWER`]. When a
    /// socket is ended the answers on their way to it are nobody's: here that is one at most.
    OneByOne,
    /// Not connected: it names its target each time.
    Unconnected,
}

/// A client that sends until it is stopped.
#[derive(Debug)]
pub struct ConstantSender {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Report>>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of datagrams.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many were sent.
    pub sent: u64,
    /// Who answered which.
    pub answers: BTreeMap<u64, String>,
    /// How many were refused.
    pub refused: u64,
    /// How often the socket was ended, so that it had to connect again.
    pub ended: u64,
}

impl Report {
    /// How many were neither answered nor refused.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answers.len() as u64 + self.refused)
    }

    /// The runs of numbers that were not answered, for a failed test to show.
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = 0;
        for &number in self.answers.keys() {
            if number > next {
                gaps.push((next, number - 1));
            }
            next = number + 1;
        }
        if next < self.sent {
            gaps.push((next, self.sent - 1));
        }
        gaps
    }
}

impl ConstantSender {
    /// Starts sending 1000 datagrams a second, or fewer one by one, to `target` from a thread inside
    /// the namespace.
    pub fn start(namespace: &NetNamespace, style: Style, target: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Report::default()));
        let socket = namespace.run(|| match style {
            Style::Connected | Style::OneByOne => client::connect_udp(target),
            Style::Unconnected => client::bind_udp(target),
        });
        let socket = Arc::new(socket.expect("a socket"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        make_room(&*socket);
        let sender = {
            let (stop, seen, socket) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&socket));
            namespace.spawn(move || send(&socket, style, target, &stop, &seen))
        };
        let receiver = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            thread::spawn(move || receive(&socket, target, &stop, &seen))
        };
        Self { stop, seen, threads: vec![sender, receiver] }
    }

    /// What was seen so far.
    pub fn report(&self) -> Report {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this server answers what is sent from now on.
    pub fn wait_for_server(&self, name: &str) {
        let now = self.report().sent;
        self.wait(&format!("answers of {name}"), |report| {
            report.answers.range(now..).next_back().is_some_and(|(_, server)| server == name)
        });
    }

    /// Waits until datagrams are refused that are sent from now on.
    pub fn wait_for_refusals(&self) {
        let before = self.report().refused;
        self.wait("refusals", |report| report.refused > before + 20);
    }

    fn wait(&self, what: &str, is_there: impl Fn(&Report) -> bool) {
        crate::wait::until(what, crate::wait::PATIENCE, || {
            let report = self.report();
            if is_there(&report) {
                return Ok(());
            }
            let last = report.answers.last_key_value();
            Err(format!("last answer {last:?} of {}, {} refused", report.sent, report.refused))
        });
    }

    /// Ends it, and returns what it saw.
    pub fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        self.report()
    }
}

impl Drop for ConstantSender {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(
    socket: &UdpSocket,
    style: Style,
    target: SocketAddr,
    stop: &AtomicBool,
    seen: &Mutex<Report>,
) {
    let note = |change: fn(&mut Report)| {
        change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    };
    for number in 0..LIMIT {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let due = Instant::now() + INTERVAL;
        // Counted first: the answer may come before the call returns.
        note(|report| report.sent += 1);
        loop {
            let text = number.to_string();
            let sent = match style {
                Style::Connected | Style::OneByOne => socket.send(text.as_bytes()),
                Style::Unconnected => socket.send_to(text.as_bytes(), target),
            };
            match sent {
                Ok(_) => break,
                // A connected socket says so about the datagram before, and sends nothing; at the
                // node's own socket, this very call was refused.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    note(|report| report.refused += 1);
                    if style == Style::Unconnected {
                        break;
                    }
                }
                Err(error) if was_ended(&error) => reconnect(socket, target, stop, note),
                Err(error) => panic!("sending to {target}: {error}"),
            }
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if style == Style::OneByOne {
            wait_for_answer(number, seen);
        }
    }
}

fn wait_for_answer(number: u64, seen: &Mutex<Report>) {
    let asked = Instant::now();
    let is_answered =
        || seen.lock().unwrap_or_else(PoisonError::into_inner).answers.contains_key(&number);
    while !is_answered() && asked.elapsed() < ANSWER {
        thread::sleep(INTERVAL / 4);
    }
}

fn reconnect(
    socket: &UdpSocket,
    target: SocketAddr,
    stop: &AtomicBool,
    note: impl Fn(fn(&mut Report)),
) {
    note(|report| report.ended += 1);
    while !stop.load(Ordering::Relaxed) && socket.connect(target).is_err() {
        thread::sleep(INTERVAL);
    }
}

/// Whether the node has ended the socket: it says so once, and then has no peer.
fn was_ended(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::NotConnected)
        || error.raw_os_error() == Some(nix::libc::EDESTADDRREQ)
}

fn receive(socket: &UdpSocket, target: SocketAddr, stop: &AtomicBool, seen: &Mutex<Report>) {
    let mut buffer = [0; 2048];
    let mut last = None;
    while last.is_none_or(|last: Instant| last.elapsed() < LAST_ANSWERS) {
        if last.is_none() && stop.load(Ordering::Relaxed) {
            last = Some(Instant::now());
        }
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                assert_eq!(from, target, "who is asked answers");
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let answer: Answer = text.parse().expect("an answer");
                let number = answer.line.parse().expect("a number");
                let mut report = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let before = report.answers.insert(number, answer.server);
                assert_eq!(before, None, "{number} was answered twice");
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                seen.lock().unwrap_or_else(PoisonError::into_inner).refused += 1;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                    || was_ended(&error) => {}
            Err(error) => panic!("receiving from {target}: {error}"),
        }
    }
}
