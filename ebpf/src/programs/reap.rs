//! `reap_connections`: no packet ever comes here. The agent runs it by `BPF_PROG_TEST_RUN` with
//! requests in place of a frame's payload, so that entries are compared and deleted in one step,
//! beside the programs that use them.

use aya_ebpf::{macros::classifier, programs::TcContext};
use datapath::{packet::PacketRead, reap::reap};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    reap::{REAP_BATCH, REAP_OFFSET, ReapRequest},
};

use crate::{packet_skb::SkbPacket, tables::Maps};

/// Carries out the requests in the frame; returns how many flows were removed.
#[classifier]
pub(crate) fn reap_connections(ctx: TcContext) -> i32 {
    let packet = SkbPacket::new(ctx.skb.skb);
    let mut reaped = 0;
    for index in 0..REAP_BATCH {
        let offset = REAP_OFFSET + index * size_of::<ReapRequest>() as u32;
        let Some(bytes) = packet.load::<{ size_of::<ReapRequest>() }>(offset) else { break };
        let request = ReapRequest::from_bytes(bytes);
        let done = match request.ip_version {
            4 => reap::<Ipv4Wire>(&request, &Maps),
            _ => reap::<Ipv6Wire>(&request, &Maps),
        };
        reaped += i32::from(done);
    }
    reaped
}
