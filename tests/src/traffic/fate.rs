//! What becomes of all that is sent to some addresses: one fate for both protocols and, where both
//! families are asked, for both of them.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use super::{Answer, Protocol, SOCKET_TIMEOUT, client, from_port};
use crate::netns::NetNamespace;

/// How often each address is asked by each protocol, so that no server of two is missed: with two
/// families, one time in two thousand million.
const ROUNDS: usize = 8;
/// How long is waited for what shall not come.
const SILENCE: Duration = Duration::from_millis(150);

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// These servers answer, each of them at least once.
    Answered(BTreeSet<String>),
    /// It is refused.
    Refused,
    /// Nobody answers, and nobody refuses.
    Nothing,
}

/// These servers answer.
pub fn by(servers: &[&str]) -> Fate {
    Fate::Answered(servers.iter().map(ToString::to_string).collect())
}

/// Panics unless that becomes of what is asked over TCP and UDP from a namespace.
pub fn assert_fate(what: &str, from: &NetNamespace, targets: &[SocketAddr], expected: &Fate) {
    assert_fate_of(what, from, targets, &Protocol::ALL, expected);
}

/// The same for these protocols.
pub fn assert_fate_of(
    what: &str,
    from: &NetNamespace,
    targets: &[SocketAddr],
    protocols: &[Protocol],
    expected: &Fate,
) {
    let (rounds, patience) = match expected {
        Fate::Answered(_) => (ROUNDS, SOCKET_TIMEOUT),
        Fate::Refused => (1, SOCKET_TIMEOUT),
        Fate::Nothing => (1, SILENCE),
    };
    let mut servers = BTreeSet::new();
    for &target in targets {
        for &protocol in protocols {
            let what = format!("{what}: {protocol:?} from {} to {target}", from.name());
            let answers = from
                .run(|| (0..rounds).map(|_| ask(protocol, target, patience)).collect::<Vec<_>>());
            for answer in answers {
                let found = match answer {
                    Ok(answer) => {
                        servers.insert(answer.server.clone());
                        by(&[&answer.server])
                    }
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => Fate::Refused,
                    Err(_) if *expected == Fate::Nothing => Fate::Nothing,
                    Err(error) => panic!("{what}: {error}, expected {expected:?}"),
                };
                let is_among = match (&found, expected) {
                    (Fate::Answered(one), Fate::Answered(all)) => one.is_subset(all),
                    _ => found == *expected,
                };
                assert!(is_among, "{what}: {found:?}, expected {expected:?}");
            }
        }
    }
    if let Fate::Answered(all) = expected {
        assert_eq!(servers, *all, "{what}: from {} to {targets:?}", from.name());
    }
}

/// Asks once. A UDP flow goes on where it went while its client uses its port again, so that each
/// asks from a port of its own, below those that the kernel gives away.
pub fn ask(protocol: Protocol, target: SocketAddr, patience: Duration) -> io::Result<Answer> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    match protocol {
        Protocol::Tcp => client::ask_within(protocol, target, patience),
        Protocol::Udp => {
            let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let socket = from_port::datagrams(port, target)?;
            socket.set_read_timeout(Some(patience))?;
            client::ask_on(&socket, "who")
        }
    }
}
