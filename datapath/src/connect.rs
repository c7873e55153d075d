//! The first packet of a flow: where it goes is chosen, and both of its entries are made.

use maps_schema::{
    address::Address,
    connection::{Connection, Direction, FlowKey, FlowOrigin, State},
    drop_reason::DropReason,
    service::{AddressRole, ClientAddress, Frontend, ServiceId, WhenEmpty},
    way::{NodeId, Way, WayParts},
};

use crate::{
    ended::remove_if_ended,
    parse::Facts,
    ports::Walk,
    select::{Choice, NoBackend, Occasion, Wanted, flow_hash, select},
    tables::{InsertError, Progress, Repeated, Stack, Surroundings, Tables},
    verdict::Opening,
};

/// Why a flow got no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConnected {
    /// Its first packet is the kernel's: its way does not lead over an uplink.
    NotOurs,
    /// Its first packet goes no further, and its sender is told.
    Refused(DropReason),
    /// Its first packet goes no further.
    Dropped(DropReason),
    /// There is no room for its entries, and it does without: its packets go by their addresses.
    Untracked,
}

/// Decides what a flow that is opened becomes, for [`connect`] to make its entries.
#[inline(always)]
pub fn plan<A: Address>(
    facts: &Facts<A>,
    opening: Opening,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Result<Plan<A>, NotConnected> {
    match opening {
        Opening::ToService(frontend) => {
            let choice = Choice::Chance(surroundings.random());
            to_service(facts, frontend, choice, tables, surroundings)
        }
        Opening::FromOutside(frontend) => {
            let choice = Choice::Flow(flow_hash(&facts.flow));
            to_service(facts, frontend, choice, tables, surroundings)
        }
        Opening::Masqueraded => masqueraded(facts, surroundings),
        Opening::BetweenPods => between_pods(facts, tables),
        Opening::Beside => beside(facts, tables),
    }
}

/// What a flow is to become.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan<A> {
    rewritten: FlowKey<A>,
    service: ServiceId,
    way: WayParts,
    ports: Ports,
    when_full: WhenFull,
}

impl<A: Address> Plan<A> {
    /// A flow that keeps its source port, unless that would make it another flow, and is dropped
    /// where there is no room for it.
    #[inline(always)]
    fn new(service: ServiceId, rewritten: FlowKey<A>, way: impl Into<WayParts>) -> Self {
        Self {
            rewritten,
            service,
            way: way.into(),
            ports: Ports::OwnOrFree,
            when_full: WhenFull::Drop,
        }
    }

    /// Where the flow's packets will go.
    #[inline(always)]
    pub const fn way(&self) -> Way {
        self.way.way()
    }

    #[inline(always)]
    const fn unconnected(&self, reason: DropReason) -> NotConnected {
        match (reason, self.when_full) {
            (DropReason::ConnectionTableFull, WhenFull::GoesOn) => NotConnected::Untracked,
            (reason, _) => NotConnected::Dropped(reason),
        }
    }
}

/// Which source ports a flow may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    /// Its own; another one only where that would be another flow's.
    OwnOrFree,
    /// Its own or any that the node's stack does not use: its source address is the node's.
    Masquerade,
}

/// What becomes of a flow for whose entries there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenFull {
    /// It is dropped: it needs them.
    Drop,
    /// It goes on as it is.
    GoesOn,
}

#[inline(always)]
fn to_service<A: Address>(
    facts: &Facts<A>,
    frontend: Frontend,
    choice: Choice,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Result<Plan<A>, NotConnected> {
    let (service, client) = (frontend.service(), facts.flow.source);
    if frontend.is_restricted() && !tables.admits(service, client) {
        return Err(NotConnected::Dropped(DropReason::SourceNotAllowed));
    }
    let occasion = if facts.transport.opens() { Occasion::Opening } else { Occasion::Continuing };
    let wanted = Wanted { service, client, choice, occasion };
    let backend = select(&wanted, tables, surroundings).map_err(|none| match none {
        NoBackend::Corrupt => NotConnected::Dropped(DropReason::CorruptService),
        NoBackend::Empty(WhenEmpty::Refuse) => NotConnected::Refused(DropReason::NoEndpoints),
        NoBackend::Empty(WhenEmpty::Drop) => NotConnected::Dropped(DropReason::NoLocalEndpoints),
    })?;
    let (flow, way) = (&facts.flow, backend.way());
    let address = backend.address();
    let protocol = flow.protocol();
    let rewritten = FlowKey::new(flow.source, flow.source_port, address, backend.port, protocol);
    let mut plan = Plan::new(service, rewritten, backend.way_parts());
    let masquerades = match (frontend.client(), way) {
        // The other node chooses among its pods, and answers by itself.
        (ClientAddress::Direct, Way::Tunnel(node) | Way::Route(node)) if node != NodeId::NONE => {
            plan = Plan::new(service, *flow, Way::Hand(node));
            false
        }
        // The node itself answers, and its answers pass here anyway; it takes no packets that claim
        // to be from its own addresses.
        (_, Way::Stack) => false,
        // Behind a route that is to no node of ours, nobody answers by itself.
        (ClientAddress::Masqueraded, _)
        | (_, Way::Outside)
        | (ClientAddress::Direct, Way::Route(_)) => true,
        (_, _) => address == flow.source,
    };
    if masquerades {
        let source = match way {
            Way::Route(_) | Way::Outside => surroundings.uplink_address(address),
            _ => Some(surroundings.bridge_address()),
        };
        plan.rewritten.source = source.ok_or(NotConnected::Refused(DropReason::NoRoute))?;
        plan.ports = Ports::Masquerade;
    }
    Ok(plan)
}

#[inline(always)]
fn masqueraded<A: Address>(
    facts: &Facts<A>,
    stack: &impl Stack<A>,
) -> Result<Plan<A>, NotConnected> {
    let source = stack.uplink_address(facts.flow.destination).ok_or(NotConnected::NotOurs)?;
    let mut rewritten = facts.flow;
    rewritten.source = source;
    let plan = Plan::new(ServiceId::NONE, rewritten, Way::Outside);
    Ok(Plan { ports: Ports::Masquerade, ..plan })
}

/// A flow from pod to pod: it stays as it is, unless another flow has the same ends, to a service.
/// Then it gets another source port. A pod's packets to itself, which no pod's stack lets out, could
/// be their own answers.
#[inline(always)]
fn between_pods<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Result<Plan<A>, NotConnected> {
    if facts.flow.source == facts.flow.destination {
        return Err(NotConnected::Untracked);
    }
    let way = match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => Way::Pod(link),
        Some(AddressRole::Service | AddressRole::Node) => return Err(NotConnected::Untracked),
        None => tables.network(facts.flow.destination),
    };
    let plan = Plan::new(ServiceId::NONE, facts.flow, way);
    Ok(Plan { when_full: WhenFull::GoesOn, ..plan })
}

/// A flow to an address itself, beside a masqueraded one that has the same ends: it gets another
/// source port.
#[inline(always)]
fn beside<A: Address>(facts: &Facts<A>, tables: &impl Tables<A>) -> Result<Plan<A>, NotConnected> {
    let way = match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => Way::Pod(link),
        Some(AddressRole::Service) => return Err(NotConnected::Dropped(DropReason::LostRace)),
        Some(AddressRole::Node) | None => Way::Stack,
    };
    Ok(Plan::new(ServiceId::NONE, facts.flow, way))
}

/// Makes both entries of a planned flow; the packet is then decided on as any other of its flow.
/// `way_back` is where its answers go. `made` is shown the entry of the packet's direction, in which
/// the packet is noted already; not where another packet has made the flow's entries meanwhile: then
/// the packet is to look for its entry.
#[inline(always)]
pub fn connect<A: Address>(
    facts: &Facts<A>,
    plan: &Plan<A>,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
    way_back: Way,
    made: impl FnOnce(&Connection<A>),
) -> Result<(), NotConnected> {
    let flow = &facts.flow;
    let origin = FlowOrigin { service: plan.service, born: surroundings.now() };
    let claim = claim_reply(flow, plan, origin, way_back, tables, surroundings)
        .map_err(|reason| plan.unconnected(reason))?;
    let seen = facts.transport.state();
    let forward = Connection::new(&claim.rewritten, plan.way, origin, Direction::Forward, seen);
    match tables.insert_connection(flow, &forward) {
        Ok(()) if claim.maker == Maker::ThisPacket || claim.stands(tables) => {
            made(&forward);
            Ok(())
        }
        // Its maker has found the table full, and taken it back.
        Ok(()) => {
            tables.remove_connection(flow);
            Err(plan.unconnected(DropReason::ConnectionTableFull))
        }
        // Another processor has made the flow's entries meanwhile: its choice holds, be it this one
        // or another.
        Err(InsertError::Exists) => {
            if !claim.is_that_of(flow, tables) {
                claim.withdraw(tables);
            }
            Ok(())
        }
        Err(InsertError::Full) => {
            claim.withdraw(tables);
            if claim.is_that_of(flow, tables) && !claim.stands(tables) {
                tables.remove_connection(flow);
            }
            Err(plan.unconnected(DropReason::ConnectionTableFull))
        }
    }
}

/// A reply entry.
struct Claim<A> {
    rewritten: FlowKey<A>,
    maker: Maker,
}

/// Who made a reply entry.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    flow: &FlowKey<A>,
    plan: &Plan<A>,
    origin: FlowOrigin,
    way_back: Way,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Result<Claim<A>, DropReason> {
    let walk = match plan.ports {
        Ports::Masquerade => Walk::through(surroundings.masquerade_ports(), surroundings.random()),
        Ports::OwnOrFree => Walk::above_the_kernels(surroundings.random()),
    };
    let reply = Connection::new(&flow.reverse(), way_back, origin, Direction::Reply, State::NONE);
    let exhausted = match plan.ports {
        Ports::Masquerade => DropReason::MasqueradePortsExhausted,
        Ports::OwnOrFree => DropReason::NoFreeSourcePort,
    };
    let mut claiming = Claiming {
        rewritten: plan.rewritten,
        reply,
        walk,
        ports: plan.ports,
        result: Err(exhausted),
        tables,
        stack: surroundings,
    };
    // Its own port, and then those of the walk.
    surroundings.repeat(1 + Walk::MAX_STEPS, &mut claiming);
    let rewritten = claiming.rewritten;
    claiming.result.map(|maker| Claim { rewritten, maker })
}

/// A reply entry that is being made: with one source port after the other.
struct Claiming<'a, A, T, S> {
    rewritten: FlowKey<A>,
    reply: Connection<A>,
    walk: Walk,
    ports: Ports,
    result: Result<Maker, DropReason>,
    tables: &'a T,
    stack: &'a S,
}

impl<A: Address, T: Tables<A>, S: Stack<A>> Repeated for Claiming<'_, A, T, S> {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        let answers = self.rewritten.reverse();
        if self.ports == Ports::OwnOrFree || !self.stack.has_socket(&answers) {
            match self.tables.insert_connection(&answers, &self.reply) {
                Ok(()) => {
                    self.result = Ok(Maker::ThisPacket);
                    return Progress::Done;
                }
                Err(InsertError::Full) => {
                    self.result = Err(DropReason::ConnectionTableFull);
                    return Progress::Done;
                }
                Err(InsertError::Exists) => {}
            }
            if let Some(existing) = self.tables.peek_connection(&answers) {
                if existing.becomes_the_same_as(&self.reply) {
                    self.result = Ok(Maker::AnotherOfTheFlow);
                    return Progress::Done;
                }
                // The client itself has left its port. A masqueraded flow is any pod's, and the
                // port may still be waited for where it leads.
                if self.ports == Ports::OwnOrFree
                    && remove_if_ended(&answers, &existing, self.tables)
                {
                    return Progress::Again;
                }
            }
        }
        match self.walk.step() {
            Some(port) => {
                self.rewritten.source_port = port;
                Progress::Again
            }
            None => Progress::Done,
        }
    }
}
