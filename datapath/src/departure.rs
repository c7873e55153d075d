//! What the node's own stack sends by an uplink to the address of a service: the socket should have
//! had a backend's instead. It was not asked (ping), is in no namespace that is known, or was
//! connected before the programs were there. The wire leads to no service.

use maps_schema::{address::Address, drop_reason::DropReason, service::AddressRole, way::Way};

use crate::{
    decide::decide_node_egress,
    parse::{Facts, Transport},
    tables::{Stack, Surroundings, Tables},
    verdict::Verdict,
};

/// The verdict on a packet that the node's own stack sends by an uplink.
#[inline(always)]
pub fn decide_uplink_egress<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
    surroundings: &(impl Surroundings + Stack<A>),
) -> Verdict<A> {
    match decide_node_egress(facts, tables, surroundings) {
        Verdict::Pass if may_be_a_first(facts.transport) => {
            decide_uplink_egress_by_address(facts, tables)
        }
        verdict => verdict,
    }
}

/// The verdict on a packet that the node's own stack sends by an uplink, whatever flow it is of.
#[inline(always)]
pub fn decide_uplink_egress_by_address<A: Address>(
    facts: &Facts<A>,
    tables: &impl Tables<A>,
) -> Verdict<A> {
    let destination = facts.flow.destination;
    match tables.address(destination).map(|entry| entry.role()) {
        Some(AddressRole::Service) => Verdict::Refuse(DropReason::UntranslatedService),
        None if tables.network(destination) == Way::Nowhere => {
            Verdict::Drop(DropReason::UnallocatedServiceAddress)
        }
        Some(AddressRole::Pod(_) | AddressRole::Node) | None => Verdict::Pass,
    }
}

/// A connection that is not let out at its beginning has no other packets: those of the node's other
/// connections cost no look-up.
#[inline(always)]
const fn may_be_a_first(transport: Transport) -> bool {
    transport.opens() || !transport.has_flow()
}
