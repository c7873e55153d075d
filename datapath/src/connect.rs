//! The first packet of a flow to a service: a backend is chosen, and both entries are made.

use maps_schema::{
    address::{Address, PodLink, Port},
    connection::{Connection, Direction, FlowKey, FlowOrigin, State},
    drop_reason::DropReason,
    service::{AddressRole, Backend, ServiceId, WhenEmpty},
};

use crate::{
    parse::Facts,
    select::{NoBackend, pick, select},
    tables::{InsertError, Surroundings, Tables},
};

/// Ports for flows that cannot keep their own: above the kernel's `ip_local_port_range` (32768 to
/// 60999), so that no socket of the sender gets one of them by chance.
const FIRST_FREE_PORT: u16 = 61000;
const FREE_PORTS: u16 = u16::MAX - FIRST_FREE_PORT;

/// How many source ports are tried before a flow is given up.
const PORT_ATTEMPTS: u16 = 16;

/// Why a flow got no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConnected {
    /// Its first packet goes no further, and its sender is told.
    Refused(DropReason),
    /// Its first packet goes no further.
    Dropped(DropReason),
}

/// Chooses a backend for the flow and makes both of its entries; the packet is then decided on as
/// any other of its flow.
///
/// `link` is the way back to the pod that sent it, `hairpin_source` the address that a pod which
/// reaches itself appears with: the bridge's.
#[inline(always)]
pub fn connect<A: Address>(
    facts: &Facts<A>,
    service: ServiceId,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
    link: PodLink,
    hairpin_source: A,
) -> Result<(), NotConnected> {
    let backend = select(service, tables, surroundings.random()).map_err(|none| match none {
        NoBackend::Corrupt => NotConnected::Dropped(DropReason::CorruptService),
        NoBackend::Empty(WhenEmpty::Refuse) => NotConnected::Refused(DropReason::NoEndpoints),
        NoBackend::Empty(WhenEmpty::Drop) => NotConnected::Dropped(DropReason::NoLocalEndpoints),
    })?;
    make_entries(facts, service, &backend, tables, surroundings, link, hairpin_source)
}

/// Makes both entries of a flow to a pod itself, beside a flow to a service that has the same client
/// and backend: it gets another source port.
///
/// `link` is the way back to the pod that sent it.
#[inline(always)]
pub fn connect_beside<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
    link: PodLink,
) -> Result<(), NotConnected> {
    let backend = destination(facts, tables).ok_or(NotConnected::Dropped(DropReason::LostRace))?;
    let source = facts.flow.source;
    make_entries(facts, ServiceId::NONE, &backend, tables, surroundings, link, source)
}

#[inline(always)]
fn make_entries<A: Address>(
    facts: &Facts<A>,
    service: ServiceId,
    backend: &Backend,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
    link: PodLink,
    hairpin_source: A,
) -> Result<(), NotConnected> {
    let origin = FlowOrigin { service, born: surroundings.now() };
    let claim = claim_reply(facts, backend, origin, link, tables, surroundings, hairpin_source)
        .map_err(NotConnected::Dropped)?;
    let forward =
        Connection::new(&claim.rewritten, backend.link(), origin, Direction::Forward, State::NONE);
    match tables.insert_connection(&facts.flow, &forward) {
        Ok(()) if claim.maker == Maker::ThisPacket || claim.stands(tables) => Ok(()),
        // Its maker has found the table full, and taken it back.
        Ok(()) => {
            tables.remove_connection(&facts.flow);
            Err(NotConnected::Dropped(DropReason::ConnectionTableFull))
        }
        // Another processor has made the flow's entries meanwhile: its choice holds, be it this one
        // or another.
        Err(InsertError::Exists) => {
            if !claim.is_that_of(&facts.flow, tables) {
                claim.withdraw(tables);
            }
            Ok(())
        }
        Err(InsertError::Full) => {
            claim.withdraw(tables);
            if claim.is_that_of(&facts.flow, tables) && !claim.stands(tables) {
                tables.remove_connection(&facts.flow);
            }
            Err(NotConnected::Dropped(DropReason::ConnectionTableFull))
        }
    }
}

/// The pod that the packet is addressed to, as a backend.
#[inline(always)]
fn destination<A: Address>(facts: &Facts<A>, tables: &impl Tables<A>) -> Option<Backend> {
    let FlowKey { destination, destination_port, .. } = facts.flow;
    match tables.address(destination)?.role() {
        AddressRole::Pod(link) => Some(Backend::new(destination, destination_port, link)),
        AddressRole::Service => None,
    }
}

/// A reply entry.
struct Claim<A> {
    rewritten: FlowKey<A>,
    maker: Maker,
}

/// Who made a reply entry.
#[derive(PartialEq, Eq)]
enum Maker {
    ThisPacket,
    AnotherOfTheFlow,
}

impl<A: Address> Claim<A> {
    /// Whether the reply entry is there.
    #[inline(always)]
    fn stands(&self, tables: &impl Tables<A>) -> bool {
        tables.peek_connection(&self.rewritten.reverse()).is_some()
    }

    /// Whether the flow's forward entry belongs to this reply entry.
    #[inline(always)]
    fn is_that_of(&self, flow: &FlowKey<A>, tables: &impl Tables<A>) -> bool {
        tables
            .peek_connection(flow)
            .is_some_and(|forward| forward.rewritten(flow.protocol()) == self.rewritten)
    }

    #[inline(always)]
    fn withdraw(&self, tables: &impl Tables<A>) {
        if self.maker == Maker::ThisPacket {
            tables.remove_connection(&self.rewritten.reverse());
        }
    }
}

/// Makes the reply entry, which no other flow may have: the flow keeps its source port if it can.
#[inline(always)]
fn claim_reply<A: Address>(
    facts: &Facts<A>,
    backend: &Backend,
    origin: FlowOrigin,
    link: PodLink,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
    hairpin_source: A,
) -> Result<Claim<A>, DropReason> {
    let flow = &facts.flow;
    let reply = Connection::new(&flow.reverse(), link, origin, Direction::Reply, State::NONE);
    let address = backend.address();
    let mut rewritten =
        FlowKey::new(flow.source, flow.source_port, address, backend.port, flow.protocol());
    if address == flow.source {
        rewritten.source = hairpin_source;
        rewritten.source_port = free_port(surroundings.random());
    }
    for _ in 0..PORT_ATTEMPTS {
        match tables.insert_connection(&rewritten.reverse(), &reply) {
            Ok(()) => {
                return Ok(Claim { rewritten, maker: Maker::ThisPacket });
            }
            Err(InsertError::Full) => return Err(DropReason::ConnectionTableFull),
            Err(InsertError::Exists) => {}
        }
        if let Some(existing) = tables.peek_connection(&rewritten.reverse())
            && existing.rewritten(flow.protocol()) == flow.reverse()
        {
            return Ok(Claim { rewritten, maker: Maker::AnotherOfTheFlow });
        }
        rewritten.source_port = free_port(surroundings.random());
    }
    Err(DropReason::NoFreeSourcePort)
}

#[inline(always)]
fn free_port(random: u32) -> Port {
    let offset = pick(random, u32::from(FREE_PORTS));
    #[expect(clippy::cast_possible_truncation, reason = "below `FREE_PORTS`")]
    Port::new(FIRST_FREE_PORT + offset as u16)
}
