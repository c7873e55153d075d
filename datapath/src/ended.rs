//! Flows that have ended, whose entries are still there for late segments: a new flow may take
//! their place.

use maps_schema::{
    address::Address,
    connection::{Connection, FlowKey, State},
};

use crate::tables::Tables;

/// Removes both entries of an ended flow, found by one of them. Returns whether it had ended: it
/// was reset, or closed by both sides.
#[inline(always)]
pub(crate) fn remove_if_ended<A: Address>(
    flow: &FlowKey<A>,
    entry: &Connection<A>,
    tables: &impl Tables<A>,
) -> bool {
    let mate_flow = entry.rewritten(flow.protocol()).reverse();
    let mate = tables.peek_connection(&mate_flow).map_or(State::NONE, |mate| mate.state());
    let state = entry.state();
    let was_reset = state.contains(State::RST) || mate.contains(State::RST);
    let was_closed = state.contains(State::FIN) && mate.contains(State::FIN);
    if !(was_reset || was_closed) {
        return false;
    }
    tables.remove_connection(&mate_flow);
    tables.remove_connection(flow);
    true
}
