//! Requests to the `reap_connections` program, which removes entries on condition that nothing was
//! seen of them since they were judged.

use crate::{
    address::{Address, Family, Port, Protocol},
    clock::CoarseTime,
    connection::{Connection, FlowKey},
};

/// One request to the `reap_connections` program: delete a pair of entries if nothing was seen of
/// it since.
///
/// Addresses are in the form of [`Address::to_slot`](crate::address::Address::to_slot), so that both families travel in one shape.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapRequest {
    /// The source address in one entry's key.
    pub source: [u8; 16],
    /// The destination address in that key.
    pub destination: [u8; 16],
    /// The entry's `last_seen` when it was judged.
    pub last_seen: CoarseTime,
    /// The other entry's `last_seen` when it was judged.
    pub mate_last_seen: CoarseTime,
    /// The source port in the key.
    pub source_port: Port,
    /// The destination port in the key.
    pub destination_port: Port,
    /// The transport protocol.
    pub protocol: Protocol,
    /// 4 or 6.
    pub ip_version: u8,
    /// What is to be removed: [`ReapRequest::BOTH`] or [`ReapRequest::ONE`].
    pub scope: u8,
    /// Zero.
    pub padding: u8,
}

const _: () = assert!(size_of::<ReapRequest>() == 48);

/// Where the requests begin in the frame that `reap_connections` is run on: behind an Ethernet
/// header.
pub const REAP_OFFSET: u32 = 16;

/// How many requests one run carries out at most.
pub const REAP_BATCH: u32 = 64;

impl ReapRequest {
    /// The entry and its mate.
    pub const BOTH: u8 = 0;
    /// The entry alone: its mate still translates what is on its way, and is removed when it has
    /// been silent for a moment.
    pub const ONE: u8 = 1;

    /// The request to remove a judged entry, alone or with its mate (`scope`), which was judged, too,
    /// if it was there.
    pub fn new<A: Address>(
        flow: &FlowKey<A>,
        entry: &Connection<A>,
        mate: Option<&Connection<A>>,
        scope: u8,
    ) -> Self {
        Self {
            source: flow.source.to_slot(),
            destination: flow.destination.to_slot(),
            last_seen: entry.last_seen,
            mate_last_seen: mate.map_or(entry.last_seen, |mate| mate.last_seen),
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            protocol: flow.protocol(),
            ip_version: match A::FAMILY {
                Family::V4 => 4,
                Family::V6 => 6,
            },
            scope,
            padding: 0,
        }
    }

    /// The request as it stands in the frame.
    pub const fn to_bytes(&self) -> [u8; 48] {
        let Self {
            source,
            destination,
            last_seen,
            mate_last_seen,
            source_port,
            destination_port,
            protocol,
            ip_version,
            scope,
            padding,
        } = self;
        let mut bytes = [0; 48];
        let (head, rest) = bytes.split_at_mut(16);
        head.copy_from_slice(source);
        let (head, rest) = rest.split_at_mut(16);
        head.copy_from_slice(destination);
        let (head, rest) = rest.split_at_mut(4);
        head.copy_from_slice(&last_seen.to_bytes());
        let (head, rest) = rest.split_at_mut(4);
        head.copy_from_slice(&mate_last_seen.to_bytes());
        let [s0, s1] = source_port.bytes();
        let [d0, d1] = destination_port.bytes();
        rest.copy_from_slice(&[s0, s1, d0, d1, protocol.number(), *ip_version, *scope, *padding]);
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    #[inline(always)]
    pub fn from_bytes(bytes: [u8; 48]) -> Self {
        let (sixteens, rest) = bytes.as_chunks::<16>();
        let _ = rest;
        let [
            source,
            destination,
            [l0, l1, l2, l3, m0, m1, m2, m3, s0, s1, d0, d1, protocol, ip_version, scope, padding],
        ] = *sixteens
        else {
            unreachable!("48 bytes are three times 16")
        };
        Self {
            source,
            destination,
            last_seen: CoarseTime::from_bytes([l0, l1, l2, l3]),
            mate_last_seen: CoarseTime::from_bytes([m0, m1, m2, m3]),
            source_port: Port::from_bytes([s0, s1]),
            destination_port: Port::from_bytes([d0, d1]),
            protocol: Protocol::new(protocol),
            ip_version,
            scope,
            padding,
        }
    }
}
