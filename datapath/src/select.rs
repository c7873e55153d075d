//! Choosing a backend: each of a service's as likely as any other. From within, by chance; from the
//! outside by Maglev (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016), so that all nodes choose the same. Session affinity comes before both.

use maps_schema::{
    address::Address,
    connection::FlowKey,
    service::{Backend, ServiceId, ServiceRecord, Slot, WhenEmpty},
};

use crate::{
    affinity::Regular,
    tables::{Surroundings, Tables},
};

/// Who wants a backend of which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<A> {
    pub(crate) service: ServiceId,
    /// The client's address before any translation.
    pub(crate) client: A,
    pub(crate) choice: Choice,
    pub(crate) occasion: Occasion,
}

/// What a backend is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A new connection: by it the client is remembered.
    Opening,
    /// A connection that another node has opened.
    Continuing,
}

/// What decides between backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Random bits.
    Chance(u32),
    /// A hash of the flow: the same on every node.
    Flow(u32),
}

/// Why there is none to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBackend {
    /// The service has none here.
    Empty(WhenEmpty),
    /// The service's record leads nowhere.
    Corrupt,
}

#[inline(always)]
pub(crate) fn select<A: Address>(
    wanted: &Wanted<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Result<Backend, NoBackend> {
    let record = tables.service(wanted.service).ok_or(NoBackend::Corrupt)?;
    if record.slots() == 0 {
        return Err(NoBackend::Empty(record.when_empty()));
    }
    if !record.has_affinity() {
        return choose(record, wanted.choice, tables);
    }
    let regular = Regular::who(wanted, tables, surroundings).ok_or(NoBackend::Corrupt)?;
    let backend = match regular.former_backend(record, tables, surroundings) {
        Some(backend) => backend,
        None => choose(record, wanted.choice, tables)?,
    };
    if wanted.occasion == Occasion::Opening {
        regular.remember(&backend, tables);
    }
    Ok(backend)
}

#[inline(always)]
fn choose<A>(
    record: ServiceRecord,
    choice: Choice,
    tables: &impl Tables<A>,
) -> Result<Backend, NoBackend> {
    let slots = record.slots();
    let offset = match choice {
        Choice::Flow(hash) if record.maglev_bits() != 0 => {
            slots.wrapping_add(hash & ((1 << record.maglev_bits()) - 1))
        }
        Choice::Flow(number) | Choice::Chance(number) => pick(number, slots),
    };
    let Slot(first) = record.first();
    tables.backend(Slot(first.wrapping_add(offset))).ok_or(NoBackend::Corrupt)
}

/// A number below `count`, each as likely as any other but for one part in 2^32 / `count`.
#[inline(always)]
pub(crate) fn pick(random: u32, count: u32) -> u32 {
    ((u64::from(random) * u64::from(count)) >> 32) as u32
}

/// A hash of what all nodes see of a flow: the client, the protocol and the service's port; not the
/// service's address, which is the node's own where it is a node port.
#[inline(always)]
pub(crate) fn flow_hash<A: Address>(flow: &FlowKey<A>) -> u32 {
    let ports = u64::from(flow.source_port.number()) << 32
        | u64::from(flow.destination_port.number()) << 16
        | u64::from(flow.protocol().number());
    // SplitMix64's finisher, between the words (Steele, Lea, Flood, OOPSLA 2014).
    let mut mixed = ports;
    for word in flow.source.numbers() {
        mixed = (mixed ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 29;
    }
    mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 32) as u32
}
