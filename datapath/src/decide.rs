//! From facts to a verdict. Established packets cost one lookup.
//!
//! Each hook asks in two steps: for the flow that a packet belongs to or opens, and, where there is
//! none, for the packet's destination alone (`…_by_address`). An ICMP error that is about no flow
//! of ours goes straight to the second.

use maps_schema::{
    address::{Address, IfIndex, PodLink},
    connection::{Connection, Direction, FlowKey},
    drop_reason::DropReason,
    service::{AddressRole, Audience, ClientAddress, Frontend, FrontendKey, ServiceId},
    way::{Way, WayParts},
};

use crate::{
    parse::{Facts, Piece, Transport},
    tables::{Stack, Surroundings, Tables},
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
    if let Some(known) = known_flow(facts, &facts.flow, tables, surroundings) {
        return decide_pod_ingress_of(&known, facts);
    }
    if let Some(frontend) = frontend(facts, Audience::Inside, tables) {
        return opens(facts, Opening::ToService(frontend));
    }
    match decide_pod_ingress_by_address(facts, tables) {
        Verdict::Deliver(_) | Verdict::Forward(Way::Tunnel(_) | Way::Route(_))
            if facts.transport.opens() =>
        {
            Verdict::Open(Opening::BetweenPods)
        }
        verdict => verdict,
    }
}

/// The verdict on a packet that a pod sends of the flow that an entry is of.
#[inline(always)]
pub fn decide_pod_ingress_of<A: Address>(known: &Connection<A>, facts: &Facts<A>) -> Verdict<A> {
    match known.way() {
        Way::Pod(link) if known.service() == ServiceId::NONE => between(facts, known, link),
        _ => decide_arrival_of(known, facts),
    }
}

/// The verdict on a packet that a pod sends, whatever flow it is of, and without making entries.
#[inline(always)]
pub fn decide_pod_ingress_by_address<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Verdict<A> {
    match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => return Verdict::Deliver(link),
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
    if let Some(known) = known_flow(facts, &facts.flow, tables, surroundings) {
        return decide_arrival_of(&known, facts);
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
    let verdict = decide_arrival_by_address(facts, tables);
    if !matches!(verdict, Verdict::Forward(Way::Pod(_))) || !facts.transport.has_flow() {
        return verdict;
    }
    match tables.network(facts.flow.source) {
        // The pod's answers are not to be taken for a flow of its own, and masqueraded.
        Way::Outside => Verdict::Open(Opening::Beside),
        Way::Tunnel(_) | Way::Route(_) if facts.transport.opens() => {
            Verdict::Open(Opening::BetweenPods)
        }
        _ => verdict,
    }
}

/// The verdict on a packet of the flow that an entry is of, and which is routed.
#[inline(always)]
pub fn decide_arrival_of<A: Address>(known: &Connection<A>, facts: &Facts<A>) -> Verdict<A> {
    if facts.hop_limit <= 1 {
        Verdict::Refuse(DropReason::HopLimitExceeded)
    } else if leaves_as_it_is(facts, known) {
        Verdict::Forward(known.way())
    } else {
        translate(facts, known, known.way_parts(), Hop::Forwarded)
    }
}

/// The verdict on a packet that comes from outside of the node, whatever flow it is of, and without
/// making entries.
#[inline(always)]
pub fn decide_arrival_by_address<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Verdict<A> {
    match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => forward(facts, Way::Pod(link)),
        Some(AddressRole::Service) => Verdict::Refuse(DropReason::NoSuchServicePort),
        None if tables.network(facts.flow.destination) == Way::Nowhere => {
            Verdict::Drop(DropReason::UnallocatedServiceAddress)
        }
        Some(AddressRole::Node) | None => Verdict::Pass,
    }
}

/// Where the answers go to what comes from outside of the node.
#[inline(always)]
pub fn way_to_sender<A: Address>(facts: &Facts<A>, tables: &impl Tables<A>) -> Way {
    match tables.network(facts.flow.source) {
        way @ (Way::Tunnel(_) | Way::Route(_)) => way,
        _ => Way::Outside,
    }
}

/// The verdict on a packet that the node's own stack sends, to its pods or by an uplink: an answer
/// becomes the service's where the node itself is the backend, and a flow that would be taken for
/// another gets another port. It goes on where it was going.
#[inline(always)]
pub fn decide_node_egress<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Verdict<A> {
    if let Some(verdict) = without_a_flow(facts) {
        return verdict;
    }
    let known = known_flow(facts, &facts.flow, tables, surroundings)
        .or_else(|| answered_from_the_bridge(facts, tables, surroundings));
    match known {
        Some(known) if leaves_as_it_is(facts, &known) => Verdict::Pass,
        Some(known) => translate(facts, &known, Way::Stack.into(), Hop::Own),
        None if is_taken_for_another(facts, tables) => Verdict::Open(Opening::Beside),
        None => Verdict::Pass,
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

/// The entry of the flow that a packet is of; none where the flow has none, or the packet begins
/// another one in its place.
#[inline(always)]
fn known_flow<A: Address>(
    facts: &Facts<A>,
    flow: &FlowKey<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Option<Connection<A>> {
    if !facts.transport.has_flow() {
        return None;
    }
    let now = surroundings.now();
    let known = tables.connection(flow, facts.transport.state(), now)?;
    if starts_anew(facts, &known, tables) {
        tables.remove_connection(&known.rewritten(flow.protocol()).reverse());
        tables.remove_connection(flow);
        return None;
    }
    Some(known)
}

/// The entry of the flow to a service that a datagram of the node answers, if it does. A UDP server of
/// the node that is bound to any address is asked by the node's address, and answers pods by the
/// bridge's, as the kernel's routes have it.
#[inline(always)]
fn answered_from_the_bridge<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Option<Connection<A>> {
    let is_udp = matches!(facts.transport, Transport::Udp);
    if !is_udp || facts.flow.source != surroundings.bridge_address() {
        return None;
    }
    let mut flow = facts.flow;
    flow.source = surroundings.node_address();
    known_flow(facts, &flow, tables, surroundings)
}

/// The verdict on a packet from pod to pod on one bridge, which is not routed.
#[inline(always)]
fn between<A: Address>(facts: &Facts<A>, known: &Connection<A>, link: PodLink) -> Verdict<A> {
    if leaves_as_it_is(facts, known) {
        Verdict::Deliver(link)
    } else {
        translate(facts, known, known.way_parts(), Hop::Own)
    }
}

/// Whether a packet is of a flow to no service, and keeps its addresses and ports.
#[inline(always)]
fn leaves_as_it_is<A: Address>(facts: &Facts<A>, known: &Connection<A>) -> bool {
    known.service() == ServiceId::NONE && known.rewritten(facts.flow.protocol()) == facts.flow
}

/// The verdict on a packet of a known flow whose addresses or ports change.
#[inline(always)]
fn translate<A: Address>(
    facts: &Facts<A>,
    known: &Connection<A>,
    way: WayParts,
    hop: Hop,
) -> Verdict<A> {
    if is_cut_sctp(facts) && changes_ports(facts, known) {
        return Verdict::Drop(DropReason::SctpFragment);
    }
    let rewritten = known.rewritten(facts.flow.protocol());
    Verdict::Translate(Translation { rewritten, way, service: known.service(), hop })
}

/// Whether it is a fragment of an SCTP packet: the checksum in the first one covers them all.
#[inline(always)]
fn is_cut_sctp<A>(facts: &Facts<A>) -> bool {
    matches!(facts.transport, Transport::Sctp(_)) && facts.piece != Piece::WithHeader
}

#[inline(always)]
fn changes_ports<A>(facts: &Facts<A>, known: &Connection<A>) -> bool {
    known.source_port != facts.flow.source_port
        || known.destination_port != facts.flow.destination_port
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
        Transport::Tcp(_) | Transport::Sctp(_) => Verdict::Refuse(DropReason::UnknownConnection),
        _ => Verdict::Pass,
    }
}

/// Whether a packet may open a flow whose answers would be taken for another's: a pod has a flow with
/// an address of the node, from the same port to the same destination.
#[inline(always)]
fn is_taken_for_another<A: Address>(facts: &Facts<A>, tables: &impl Tables<A>) -> bool {
    facts.transport.opens()
        && tables
            .peek_connection(&facts.flow.reverse())
            .is_some_and(|reply| reply.direction() == Direction::Reply)
}

/// Whether a packet of a known flow begins another connection: a client that uses its port again
/// after the former connection has ended. A repeated SYN or INIT of a connection that lives goes to
/// the same backend.
#[inline(always)]
fn starts_anew<A: Address>(
    facts: &Facts<A>,
    known: &Connection<A>,
    tables: &impl Tables<A>,
) -> bool {
    if !facts.transport.begins() || known.direction() == Direction::Reply {
        return false;
    }
    let replies = tables.peek_connection(&known.rewritten(facts.flow.protocol()).reverse());
    known.state().is_closing() || replies.is_none_or(|replies| replies.state().is_closing())
}
