//! From facts to a verdict. Established packets cost one lookup.
//!
//! Each hook asks in two steps: for the flow that a packet belongs to or opens, and, where there is
//! none, for the packet's destination alone (`…_by_address`). An ICMP error that is about no flow
//! of ours goes straight to the second.

use maps_schema::{
    address::{Address, IfIndex, PodLink},
    connection::{Connection, Direction},
    drop_reason::DropReason,
    service::{AddressRole, Audience, ClientAddress, Frontend, FrontendKey},
    way::Way,
};

use crate::{
    ended::remove_if_ended,
    parse::{Facts, Transport},
    tables::{Surroundings, Tables},
    verdict::{Hop, Opening, Translation, Verdict},
};

/// The verdict on a packet that the pod behind `interface` sends.
#[inline(always)]
pub fn decide_pod_ingress<A: Address>(
    facts: &Facts<A>,
    interface: IfIndex,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Verdict<A> {
    if !tables.is_source(interface, facts.flow.source) {
        return if facts.flow.source.is_link_scoped() {
            Verdict::Pass
        } else {
            Verdict::Drop(DropReason::SpoofedSource)
        };
    }
    if let Some(verdict) = without_a_flow(facts) {
        return verdict;
    }
    if let Some(verdict) = known_flow(facts, tables, surroundings) {
        return verdict;
    }
    if let Some(frontend) = frontend(facts, Audience::Inside, tables) {
        return opens(facts, Opening::ToService(frontend));
    }
    decide_pod_ingress_by_address(facts, tables)
}

/// The verdict on a packet that a pod sends, whatever flow it is of.
#[inline(always)]
pub fn decide_pod_ingress_by_address<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Verdict<A> {
    match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => return deliver(facts, link, tables),
        Some(AddressRole::Service) => return Verdict::Refuse(DropReason::NoSuchServicePort),
        Some(AddressRole::Node) => return Verdict::Pass,
        None => {}
    }
    match tables.network(facts.flow.destination) {
        Way::Outside => leave_cluster(facts),
        Way::Stack => Verdict::Pass,
        Way::Nowhere => Verdict::Drop(DropReason::UnallocatedServiceAddress),
        way => forward(facts, way),
    }
}

/// The verdict on a packet that comes from outside of the node, by an uplink
/// ([`Audience::Outside`]), from a pod of another node (none), or handed over by another node.
#[inline(always)]
pub fn decide_arrival<A: Address>(
    facts: &Facts<A>,
    audience: Option<Audience>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Verdict<A> {
    if let Some(verdict) = without_a_flow(facts) {
        return verdict;
    }
    if let Some(verdict) = known_flow(facts, tables, surroundings) {
        return verdict;
    }
    if let Some(audience) = audience
        && let Some(frontend) = frontend(facts, audience, tables)
    {
        // Another node may have seen the flow's first packet: where the backend's node answers by
        // itself, the flow goes on by any.
        let goes_by_any =
            audience == Audience::Handed || frontend.client() == ClientAddress::Direct;
        return if goes_by_any {
            Verdict::Open(Opening::FromOutside(frontend))
        } else {
            opens(facts, Opening::FromOutside(frontend))
        };
    }
    decide_arrival_by_address(facts, tables)
}

/// The verdict on a packet that comes from outside of the node, whatever flow it is of.
#[inline(always)]
pub fn decide_arrival_by_address<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Verdict<A> {
    match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        // The pod's answers are not to be taken for a flow of its own, and masqueraded.
        Some(AddressRole::Pod(_))
            if facts.transport.has_flow() && tables.network(facts.flow.source) == Way::Outside =>
        {
            Verdict::Open(Opening::Beside)
        }
        Some(AddressRole::Pod(link)) => forward(facts, Way::Pod(link)),
        Some(AddressRole::Service) => Verdict::Refuse(DropReason::NoSuchServicePort),
        None if tables.network(facts.flow.destination) == Way::Nowhere => {
            Verdict::Drop(DropReason::UnallocatedServiceAddress)
        }
        Some(AddressRole::Node) | None => Verdict::Pass,
    }
}

/// The verdict on a packet that the node's own stack sends, to its pods or by an uplink: an answer
/// becomes the service's where the node itself is the backend, and a flow that would be taken for
/// another gets another port. It goes on where it was going.
#[inline(always)]
pub fn decide_node_egress<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Verdict<A> {
    if let Some(verdict) = without_a_flow(facts) {
        return verdict;
    }
    match known_flow(facts, tables, surroundings) {
        Some(Verdict::Translate(translation)) => {
            Verdict::Translate(Translation { way: Way::Stack, hop: Hop::Own, ..translation })
        }
        None if is_taken_for_another(facts, tables) => Verdict::Open(Opening::Beside),
        Some(_) | None => Verdict::Pass,
    }
}

/// The verdict on a packet that says by itself of which flow it is only in part, or not at all; none
/// on all others.
#[inline(always)]
fn without_a_flow<A: Address>(facts: &Facts<A>) -> Option<Verdict<A>> {
    match facts.transport {
        Transport::FirstFragment | Transport::LaterFragment => Some(Verdict::Fragment),
        Transport::IcmpError => Some(Verdict::Related),
        _ => None,
    }
}

/// The verdict on a packet of a flow that has entries; none where it has none, or begins another
/// flow in their place.
#[inline(always)]
fn known_flow<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Option<Verdict<A>> {
    if !facts.transport.has_flow() {
        return None;
    }
    let now = surroundings.now();
    let known = tables.connection(&facts.flow, facts.transport.state(), now)?;
    if starts_anew(facts, &known, tables) {
        tables.remove_connection(&known.rewritten(facts.flow.protocol()).reverse());
        tables.remove_connection(&facts.flow);
        return None;
    }
    if facts.hop_limit <= 1 {
        return Some(Verdict::Refuse(DropReason::HopLimitExceeded));
    }
    Some(Verdict::Translate(Translation {
        rewritten: known.rewritten(facts.flow.protocol()),
        way: known.way(),
        service: known.service(),
        hop: Hop::Forwarded,
    }))
}

/// The frontend that a packet is sent to.
#[inline(always)]
fn frontend<A: Address>(
    facts: &Facts<A>,
    audience: Audience,
    tables: &impl Tables<A>,
) -> Option<Frontend> {
    if !facts.transport.has_ports() {
        return None;
    }
    let flow = &facts.flow;
    let at = |address| {
        let (port, protocol) = (flow.destination_port, flow.protocol());
        tables.frontend(&FrontendKey::new(address, port, protocol, audience))
    };
    let found = at(flow.destination);
    // A node port was one of the node that has handed the packet over.
    if found.is_none() && audience == Audience::Handed {
        return at(A::from_slot([0; 16]));
    }
    found
}

/// Only a flow's first packet opens it.
#[inline(always)]
fn opens<A: Address>(facts: &Facts<A>, opening: Opening) -> Verdict<A> {
    if facts.transport.opens() {
        Verdict::Open(opening)
    } else {
        Verdict::Refuse(DropReason::UnknownConnection)
    }
}

/// A packet that is routed, and not translated.
#[inline(always)]
fn forward<A: Address>(facts: &Facts<A>, way: Way) -> Verdict<A> {
    if facts.hop_limit <= 1 {
        Verdict::Refuse(DropReason::HopLimitExceeded)
    } else {
        Verdict::Forward(way)
    }
}

/// A packet that a pod sends off the cluster, of no known flow. What answers a flow from there would
/// have entries.
#[inline(always)]
fn leave_cluster<A: Address>(facts: &Facts<A>) -> Verdict<A> {
    match facts.transport {
        transport if transport.opens() => Verdict::Open(Opening::Masqueraded),
        Transport::Tcp(_) => Verdict::Refuse(DropReason::UnknownConnection),
        _ => Verdict::Pass,
    }
}

/// A packet from pod to pod on one bridge goes as it is, unless its answers would be taken for a
/// service's.
#[inline(always)]
fn deliver<A: Address>(facts: &Facts<A>, link: PodLink, tables: &impl Tables<A>) -> Verdict<A> {
    if is_taken_for_another(facts, tables) {
        Verdict::Open(Opening::Beside)
    } else {
        Verdict::Deliver(link)
    }
}

/// Whether a packet may open a flow whose answers would be taken for another's: its sender has a
/// flow to a service whose backend is this very destination and port, from the same port.
#[inline(always)]
fn is_taken_for_another<A: Address>(facts: &Facts<A>, tables: &impl Tables<A>) -> bool {
    if !facts.transport.opens() {
        return false;
    }
    let answers = facts.flow.reverse();
    tables.peek_connection(&answers).is_some_and(|reply| {
        reply.direction() == Direction::Reply && !remove_if_ended(&answers, &reply, tables)
    })
}

/// Whether a packet of a known flow begins another connection: a client that uses its port again
/// after the former connection has ended. A repeated SYN of a connection that lives goes to the
/// same backend.
#[inline(always)]
fn starts_anew<A: Address>(
    facts: &Facts<A>,
    known: &Connection<A>,
    tables: &impl Tables<A>,
) -> bool {
    let Transport::Tcp(flags) = facts.transport else {
        return false;
    };
    if !flags.opens() || known.direction() == Direction::Reply {
        return false;
    }
    let replies = tables.peek_connection(&known.rewritten(facts.flow.protocol()).reverse());
    known.state().is_closing() || replies.is_none_or(|replies| replies.state().is_closing())
}
