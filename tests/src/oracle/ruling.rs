//! Whether what connections saw is what the table says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

use super::client::Outcome;
use crate::conformance::{Expected, Fate, Packet};

/// How a case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// As the table says.
    Equal,
    /// As the table says that this mode of kube-proxy differs.
    DeliberatelyDifferent {
        /// Why.
        because: String,
    },
    /// It was not tried.
    Skipped {
        /// Why.
        because: String,
    },
    /// Otherwise.
    Wrong {
        /// How.
        how: String,
    },
}

/// How much must be seen of what may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// Whether each of several backends must be seen: not where a client stays with one.
    pub all_backends: bool,
    /// Whether the source port tells a masqueraded packet of the node from another: not where
    /// a socket's call is translated, which needs no masquerading.
    pub ports: bool,
}

/// Holds outcomes against what is expected.
///
/// # Errors
///
/// What is otherwise.
pub fn judge(
    packet: &Packet,
    expected: &Expected,
    outcomes: &[Outcome],
    strictness: Strictness,
) -> Result<(), String> {
    if outcomes.is_empty() {
        return Err("nothing was tried".to_owned());
    }
    for outcome in outcomes {
        let is_right = match (&expected.fate, outcome) {
            (Fate::Backends(backends), Outcome::Answered { by, seen, own }) => {
                // Who is sent to itself has to be: its answer would not leave it.
                let masquerade = expected.masquerade || by.ip() == packet.source;
                backends.contains(by)
                    && is_masqueraded(*own, *seen, strictness).is_none_or(|it| it == masquerade)
            }
            (Fate::Pass, Outcome::Answered { by, seen, own }) => {
                *by == packet.destination && seen == own
            }
            (Fate::Pass, Outcome::AnsweredByStranger)
            | (Fate::Refuse, Outcome::Refused)
            | (Fate::Drop, Outcome::Silence) => true,
            _ => false,
        };
        if !is_right {
            return Err(format!("{outcome}, but should be {}", Wanted(expected)));
        }
    }
    if let Fate::Backends(backends) = &expected.fate
        && strictness.all_backends
    {
        let seen = backends_seen(outcomes);
        if seen != *backends {
            let missing: Vec<String> =
                backends.difference(&seen).map(ToString::to_string).collect();
            let missing = missing.join(", ");
            return Err(format!("{} connections, and none to {missing}", outcomes.len()));
        }
    }
    Ok(())
}

/// The servers that answered.
pub fn backends_seen(outcomes: &[Outcome]) -> BTreeSet<SocketAddr> {
    outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Answered { by, .. } => Some(*by),
            _ => None,
        })
        .collect()
}

/// Whether a backend sees another than the client; none where that cannot be told.
fn is_masqueraded(own: SocketAddr, seen: SocketAddr, strictness: Strictness) -> Option<bool> {
    match (own.ip() == seen.ip(), own.port() == seen.port()) {
        (false, _) | (true, false) => Some(true),
        (true, true) if strictness.ports => Some(false),
        (true, true) => None,
    }
}

struct Wanted<'a>(&'a Expected);

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected { fate, masquerade } = self.0;
        write!(formatter, "{fate}{}", if *masquerade { ", masqueraded" } else { "" })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { by, seen, own } => {
                write!(formatter, "{by} answered, who saw {seen} where {own} asked")
            }
            Self::AnsweredByStranger => formatter.write_str("a server that is not ours answered"),
            Self::Refused => formatter.write_str("refused"),
            Self::Silence => formatter.write_str("nothing came back"),
            Self::Failed(error) => write!(formatter, "failed: {error}"),
        }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that came out as the table says.
    pub equal: usize,
    /// Those that came out as the table says of this mode, by the reason.
    pub different: BTreeMap<String, usize>,
    /// Those that were not tried, by the reason.
    pub skipped: BTreeMap<String, usize>,
    /// The others: case and what came of it.
    pub wrong: Vec<String>,
    /// How many connections were tried.
    pub connections: usize,
}

impl Report {
    /// Counts a case.
    pub fn count(&mut self, case: &str, ruling: Ruling) {
        match ruling {
            Ruling::Equal => self.equal += 1,
            Ruling::DeliberatelyDifferent { because } => {
                *self.different.entry(because).or_default() += 1;
            }
            Ruling::Skipped { because } => *self.skipped.entry(because).or_default() += 1,
            Ruling::Wrong { how } => self.wrong.push(format!("{case}: {how}")),
        }
    }

    /// How many cases were tried.
    pub fn compared(&self) -> usize {
        self.equal + self.different.values().sum::<usize>() + self.wrong.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} cases compared over {} connections: {} equal, {} deliberately different, {} wrong; \
             {} skipped",
            self.compared(),
            self.connections,
            self.equal,
            self.different.values().sum::<usize>(),
            self.wrong.len(),
            self.skipped.values().sum::<usize>()
        )?;
        for (reason, count) in &self.different {
            writeln!(formatter, "  {count:4} different: {reason}")?;
        }
        for (reason, count) in &self.skipped {
            writeln!(formatter, "  {count:4} skipped: {reason}")?;
        }
        for wrong in &self.wrong {
            writeln!(formatter, "  WRONG {wrong}")?;
        }
        Ok(())
    }
}
