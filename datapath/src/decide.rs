//! From facts to a verdict. Established packets cost one lookup.

use maps_schema::{
    address::{Address, PodLink},
    connection::{Connection, Direction},
    drop_reason::DropReason,
    service::{AddressRole, FrontendKey},
};

use crate::{
    ended::remove_if_ended,
    parse::{Facts, Transport},
    tables::{Surroundings, Tables},
    verdict::{Translation, Verdict},
};

/// The verdict on a packet that a pod sends.
#[inline(always)]
pub fn decide_pod_ingress<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Verdict<A> {
    if facts.transport.has_ports() {
        let now = surroundings.now();
        if let Some(known) = tables.connection(&facts.flow, facts.transport.state(), now) {
            if !starts_anew(facts, &known, tables) {
                return translate(facts, &known);
            }
            tables.remove_connection(&known.rewritten(facts.flow.protocol()).reverse());
            tables.remove_connection(&facts.flow);
        }
        let flow = &facts.flow;
        let key = FrontendKey::new(flow.destination, flow.destination_port, flow.protocol());
        if let Some(frontend) = tables.frontend(&key) {
            return match facts.transport {
                Transport::Tcp(flags) if !flags.opens() => {
                    Verdict::Refuse(DropReason::UnknownConnection)
                }
                _ => Verdict::Connect(frontend.service),
            };
        }
    }
    match tables.address(facts.flow.destination).map(|entry| entry.role()) {
        Some(AddressRole::Pod(link)) => deliver(facts, link, tables),
        Some(AddressRole::Service) => match facts.transport {
            Transport::FirstFragment | Transport::LaterFragment => {
                Verdict::Drop(DropReason::FragmentToService)
            }
            _ => Verdict::Refuse(DropReason::NoSuchServicePort),
        },
        None => Verdict::Pass,
    }
}

/// A packet from pod to pod goes as it is, unless its answers would be taken for a service's: the
/// sender has a flow to a service whose backend is this very pod and port, from the same port.
#[inline(always)]
fn deliver<A: Address>(facts: &Facts<A>, link: PodLink, tables: &impl Tables<A>) -> Verdict<A> {
    let may_open = match facts.transport {
        Transport::Tcp(flags) => flags.opens(),
        Transport::Udp => true,
        _ => false,
    };
    let answers = facts.flow.reverse();
    if may_open
        && let Some(reply) = tables.peek_connection(&answers)
        && reply.direction() == Direction::Reply
        && !remove_if_ended(&answers, &reply, tables)
    {
        return Verdict::ConnectBeside;
    }
    Verdict::Deliver(link)
}

/// The verdict on a packet that the node sends to its pods: the answer of a backend that is no pod
/// of this node becomes the service's. The bridge carries it on.
#[inline(always)]
pub fn decide_bridge_egress<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &impl Surroundings,
) -> Verdict<A> {
    if !facts.transport.has_ports() {
        return Verdict::Pass;
    }
    let now = surroundings.now();
    match tables.connection(&facts.flow, facts.transport.state(), now) {
        Some(known) => match translate(facts, &known) {
            Verdict::Translate(translation) => {
                Verdict::Translate(Translation { link: PodLink::default(), ..translation })
            }
            other => other,
        },
        None => Verdict::Pass,
    }
}

#[inline(always)]
fn translate<A: Address>(facts: &Facts<A>, known: &Connection<A>) -> Verdict<A> {
    Verdict::Translate(Translation {
        rewritten: known.rewritten(facts.flow.protocol()),
        link: known.link(),
        service: known.service(),
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
