//! Removing what is over: the agent judges which flows are, and asks for each pair of entries to be
//! removed on condition that nothing was seen of it since.

use maps_schema::{
    address::Address,
    clock::CoarseTime,
    connection::{Connection, FlowKey},
    reap::ReapRequest,
};

use crate::tables::Tables;

/// Removes a flow's two entries, or what there is of them, or one of them alone, unless a packet was
/// seen after the request was made. Returns whether it did.
#[inline(always)]
pub fn reap<A: Address>(request: &ReapRequest, tables: &impl Tables<A>) -> bool {
    let flow = FlowKey::new(
        A::from_slot(request.source),
        request.source_port,
        A::from_slot(request.destination),
        request.destination_port,
        request.protocol,
    );
    let Some(entry) = tables.peek_connection(&flow) else {
        return false;
    };
    let mate_flow = entry.rewritten(flow.protocol()).reverse();
    let mate = tables.peek_connection(&mate_flow);
    let unchanged = |entry: &Connection<A>, judged: CoarseTime| entry.last_seen == judged;
    if !unchanged(&entry, request.last_seen)
        || mate.is_some_and(|mate| !unchanged(&mate, request.mate_last_seen))
    {
        return false;
    }
    // A mate that belongs to another flow by now is not this flow's to remove.
    if request.scope == ReapRequest::BOTH
        && mate.is_some_and(|mate| mate.rewritten(flow.protocol()).reverse() == flow)
    {
        tables.remove_connection(&mate_flow);
    }
    tables.remove_connection(&flow);
    true
}
