//! `reap_connections`: no packet ever comes here. The agent runs it by `BPF_PROG_TEST_RUN` with
//! requests in place of a frame's payload, so that entries are compared and deleted in one step,
//! beside the programs that use them.

use aya_ebpf::{bindings::__sk_buff, macros::classifier, programs::TcContext};
use datapath::{
    packet::PacketRead,
    reap::reap,
    tables::{Progress, Repeated},
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    reap::{REAP_BATCH, REAP_OFFSET, ReapRequest},
};

use crate::{helpers, packet_skb::SkbPacket, tables::Maps};

/// Carries out the requests in the frame; returns how many flows were removed.
#[classifier]
pub(crate) fn reap_connections(ctx: TcContext) -> i32 {
    let mut reaping = Reaping { skb: ctx.skb.skb, offset: REAP_OFFSET, reaped: 0 };
    helpers::repeat(REAP_BATCH, &mut reaping);
    reaping.reaped
}

/// The requests that are left in a frame, and how many flows were removed.
struct Reaping {
    skb: *mut __sk_buff,
    offset: u32,
    reaped: i32,
}

impl Repeated for Reaping {
    #[inline(always)]
    fn step(&mut self) -> Progress {
        let packet = SkbPacket::new(self.skb);
        let Some(bytes) = packet.load::<{ size_of::<ReapRequest>() }>(self.offset) else {
            return Progress::Done;
        };
        let request = ReapRequest::from_bytes(bytes);
        let done = match request.ip_version {
            4 => reap::<Ipv4Wire>(&request, &Maps),
            _ => reap::<Ipv6Wire>(&request, &Maps),
        };
        self.reaped += i32::from(done);
        self.offset += size_of::<ReapRequest>() as u32;
        Progress::Again
    }
}
