//! Holding machines against the model.

use std::{collections::BTreeMap, fmt::Write as _};

use super::World;
use crate::{
    conformance::{Cast, Fate, Packet, Protocol, Side, Table, Way, packet::Outcome, ways::Machine},
    model::{self, Connections, Here},
};

/// What was seen, so that a run can be told from one that sees nothing but refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many packets.
    pub packets: u64,
    /// How many of them came out how.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// How many were not shown to a machine, and why.
    pub skipped: BTreeMap<String, u64>,
}

/// The cast, and the machines.
pub struct Judge {
    casts: Table,
    machines: Vec<Box<dyn Machine>>,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ways: Vec<Way> = self.machines.iter().map(|machine| machine.way()).collect();
        formatter.debug_tuple("Judge").field(&ways).finish()
    }
}

impl Judge {
    /// These machines are held against the model.
    pub fn new(machines: Vec<Box<dyn Machine>>) -> Self {
        Self { casts: Table::read(), machines }
    }

    /// Shows a world to every machine.
    ///
    /// # Errors
    ///
    /// The first packet that comes out otherwise than the model says, and how.
    pub fn agree(&mut self, world: &World, seen: &mut Seen) -> Result<(), String> {
        let cast = self.casts.cast(world.family());
        let (config, objects) = (world.config(), world.objects());
        let here = Here { name: cast.own_node.clone(), addresses: cast.own_addresses().clone() };
        let model = model::World::new(here, config.clone(), &objects)
            .map_err(|error| format!("the model cannot read the world: {error:?}"))?;
        for machine in &mut self.machines {
            machine.begin(cast, &config);
            machine.forget();
            machine.change(&objects, &[]);
            let mut connections = Connections::default();
            let mut seconds = 1000;
            for written in &world.packets {
                machine.wait(written.after_seconds);
                seconds += u64::from(written.after_seconds);
                let packet = world.packet(written, cast);
                if let Some(reason) = is_impossible(&packet).or_else(|| machine.cannot(&packet)) {
                    let reason = format!("{}: {reason}", machine.way().name());
                    *seen.skipped.entry(reason).or_default() += 1;
                    continue;
                }
                let outcome = machine.open(&packet);
                let says = followed(&model, &mut connections, &packet, seconds, outcome);
                let says = as_it_is_seen(says, &packet, cast);
                seen.packets += 1;
                *seen.outcomes.entry(word(says)).or_default() += 1;
                if !is_same(&packet, says, outcome) {
                    let way = machine.way().name();
                    return Err(disagreement(way, &packet, &model, says, outcome));
                }
            }
        }
        Ok(())
    }
}

/// No such packet is sent, or nothing is promised of it.
fn is_impossible(packet: &Packet) -> Option<&'static str> {
    if packet.source == packet.destination.ip() {
        return Some("what a machine sends to itself does not leave it");
    }
    match packet.side {
        Side::Node if packet.protocol == Protocol::Sctp => {
            Some("the node's own SCTP sockets are not led to backends")
        }
        Side::Pod | Side::Outside if packet.destination.ip().is_loopback() => {
            Some("what comes from elsewhere is never for a loopback address")
        }
        _ => None,
    }
}

/// What decides about the sender's address is where the backend is, first: one that is the node itself
/// never sees the node's address in place of another's, as its answers pass here anyway; and what
/// leaves the networks of pods does so with the node's address, service or not.
fn as_it_is_seen(says: Outcome, packet: &Packet, cast: &Cast) -> Outcome {
    let Outcome::Reached { backend, .. } = says else { return says };
    let address = backend.ip();
    let networks = [cast.pod_cidr, cast.other_pod_cidr];
    let masqueraded = if cast.is_own(address) {
        Some(address == packet.source)
    } else if networks.iter().any(|network| network.contains(&address)) {
        return says;
    } else {
        Some(true)
    };
    Outcome::Reached { backend, masqueraded }
}

/// What the model says of a packet, where it chooses as the machine did if it may.
fn followed(
    model: &model::World,
    connections: &mut Connections,
    packet: &Packet,
    seconds: u64,
    outcome: Outcome,
) -> Outcome {
    let backends = match model.allowed(packet).fate {
        Fate::Backends(backends) => backends.into_iter().collect(),
        _ => Vec::new(),
    };
    let chosen = match outcome {
        Outcome::Reached { backend, .. } => backends.iter().position(|one| *one == backend),
        _ => None,
    };
    connections.open(model, packet, seconds, &mut |_| chosen.unwrap_or(0))
}

/// A socket does not tell of the address that it sends from; and one that gets nowhere gets an
/// error, whether that is a refusal or not.
fn is_same(packet: &Packet, says: Outcome, outcome: Outcome) -> bool {
    match (says, outcome) {
        (
            Outcome::Reached { backend, .. },
            Outcome::Reached { backend: reached, masqueraded: None },
        ) => packet.side == Side::Node && backend == reached,
        (says, outcome) => says == outcome,
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Reached { masqueraded: Some(true), .. } => "reached, masqueraded",
        Outcome::Reached { .. } => "reached",
        Outcome::Refused => "refused",
        Outcome::Dropped => "dropped",
        Outcome::Passed => "passed",
    }
}

fn disagreement(
    way: &str,
    packet: &Packet,
    model: &model::World,
    says: Outcome,
    outcome: Outcome,
) -> String {
    let mut text = String::new();
    let expected = model.allowed(packet);
    let _ = write!(
        text,
        "{packet}\n  {way}: {outcome:?}\n  model: {says:?} of {} (masqueraded: {})",
        expected.fate, expected.masquerade
    );
    text
}
