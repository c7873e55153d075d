//! What the programs cost, packet by packet.
//!
//! A packet is handed to the program that is measured by another one, which makes it anew at each
//! run of a test-run that is repeated (`BPF_PROG_TEST_RUN`), and which differs from the one before by
//! its flow. What that costs by itself is measured in turns with it, and subtracted.
//!
//! Under a virtual machine whose clock counts instructions, the same figures are instructions.

pub mod cases;
pub mod replay;
pub mod sockets;
pub mod world;

use std::time::Duration;

use self::{
    cases::{Case, Table},
    replay::Replayer,
};

/// How much is done for one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// How often program and nothing are run in turns.
    pub rounds: u32,
    /// How many packets are one round's.
    pub packets: u32,
}

/// Times per packet of one case, each the mean of a round's packets.
#[derive(Clone, Debug)]
pub struct Figures {
    /// With what hands the packets over, sorted.
    pub gross: Vec<Duration>,
    /// Of that alone, sorted.
    pub nothing: Vec<Duration>,
}

impl Figures {
    /// The median with what hands the packets over, less the median of that alone; in nanoseconds.
    pub fn net(&self) -> f64 {
        nanoseconds(part(&self.gross, 50)) - nanoseconds(part(&self.nothing, 50))
    }

    /// That of which so many in a hundred rounds were below, in nanoseconds.
    pub fn net_at(&self, percent: usize) -> f64 {
        nanoseconds(part(&self.gross, percent)) - nanoseconds(part(&self.nothing, 50))
    }
}

/// The value below which so many of a hundred are.
fn part(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// Measures one case. Panics where a packet does not become what the case says.
pub fn measure(replayer: &mut Replayer, case: &Case, effort: Effort) -> Figures {
    replayer.prepare(case);
    let mut figures = Figures { gross: Vec::new(), nothing: Vec::new() };
    // The first round is to fill caches.
    for round in 0..=effort.rounds {
        let packets = match (case.opens, case.table) {
            // Each packet opens a flow, and the flows of a round are forgotten before the next.
            (true, Table::Warm) => {
                replayer.forget_flows();
                case.flow_count()
            }
            // The table grows with each round, until it has all flows.
            (true, Table::Cold) => case.flow_count() / (effort.rounds + 1),
            (false, _) => effort.packets,
        };
        let nothing = replayer.run_nothing(case, packets);
        let gross = replayer.run(case, packets);
        if round > 0 {
            figures.gross.push(gross);
            figures.nothing.push(nothing);
        }
    }
    replayer.require_no_loss(case);
    figures.gross.sort_unstable();
    figures.nothing.sort_unstable();
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hands_packets_over_is_subtracted() {
        let times = |all: &[u64]| all.iter().copied().map(Duration::from_nanos).collect();
        let figures = Figures { gross: times(&[300, 310, 400]), nothing: times(&[90, 100, 110]) };
        assert!((figures.net() - 210.0).abs() < 1e-6);
        assert!((figures.net_at(0) - 200.0).abs() < 1e-6);
    }
}
