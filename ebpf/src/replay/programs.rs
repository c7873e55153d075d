//! One entry for each kind of program, because a program is called by its own kind only.

use core::hint::black_box;

use aya_ebpf::{
    bindings::{
        __sk_buff, TC_ACT_OK, TC_ACT_SHOT,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
        bpf_tunnel_key,
        xdp_action::{XDP_ABORTED, XDP_PASS},
    },
    helpers::generated,
    macros::{cgroup_sock_addr, classifier, map, xdp},
    maps::{Array, ProgramArray},
    programs::{SockAddrContext, TcContext, XdpContext},
};
use maps_schema::{
    address::Port,
    replay::{REPLAYED_FRAME, Replay},
};

#[map]
static REPLAY: Array<Replay> = Array::with_max_entries(1, 0);

#[map]
static SUBJECTS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// The shortest frame that there is: an Ethernet header, and a word that is read at its end.
const SHORTEST: u64 = 16;

/// A frame for a bridge's or another's Ethernet address is not for this host.
const PACKET_OTHERHOST: u32 = 3;

/// A system call goes on.
const ALLOW: i32 = 1;

/// The packet of the next run.
struct Packet {
    frame: *mut u8,
    length: u32,
    subject: u32,
    network: u32,
}

impl Packet {
    #[inline(always)]
    fn next() -> Option<Self> {
        let replay = REPLAY.get_ptr_mut(0)?;
        // SAFETY: no other program runs that uses the element.
        let replay = unsafe { &mut *replay };
        let flow = replay.sequence.wrapping_mul(replay.stride) & replay.flow_mask;
        replay.sequence = replay.sequence.wrapping_add(1);
        let port = Port::new(Replay::FIRST_PORT + (flow & ((1 << Replay::PORT_BITS) - 1)) as u16);
        let address = replay.address + (flow >> Replay::PORT_BITS);
        let (port_offset, address_offset) = (replay.port_offset, replay.address_offset);
        let frame = replay.frame.as_mut_ptr();
        const LAST: u32 = REPLAYED_FRAME as u32 - 1;
        // SAFETY: both lie in the frame.
        unsafe {
            frame.add((port_offset & (LAST - 1)) as usize).cast::<Port>().write(port);
            frame.add((address_offset & LAST) as usize).write(address as u8);
        }
        // In 64 bits, and of a number that the compiler knows nothing of, so that the verifier sees
        // the bounds.
        let length = black_box(u64::from(replay.length)).clamp(SHORTEST, REPLAYED_FRAME as u64);
        let (subject, network) = (replay.subject, replay.network);
        Some(Self { frame, length: length as u32, subject, network })
    }
}

/// Hands a packet to a TC program.
#[classifier]
pub(crate) fn replay_tc(ctx: TcContext) -> i32 {
    let Some(packet) = Packet::next() else { return TC_ACT_SHOT };
    let skb = ctx.skb.skb;
    // SAFETY: `skb` is the program's context, and the frame as long as it is said to be.
    unsafe {
        let length = (*skb).len;
        if length > packet.length {
            // What has grown has grown behind the Ethernet header.
            let more = length.wrapping_sub(packet.length).cast_signed();
            generated::bpf_skb_adjust_room(skb, -more, BPF_ADJ_ROOM_MAC, 0);
        } else if length < packet.length {
            generated::bpf_skb_change_tail(skb, packet.length, 0);
        }
        generated::bpf_skb_change_type(skb, PACKET_OTHERHOST);
        generated::bpf_skb_store_bytes(skb, 0, packet.frame.cast(), packet.length, 0);
    }
    if packet.network != 0 {
        came_by(skb, packet.network);
    }
    // SAFETY: the subject is a program for such packets.
    unsafe { SUBJECTS.tail_call(&ctx, packet.subject) };
    TC_ACT_SHOT
}

#[inline(always)]
fn came_by(skb: *mut __sk_buff, network: u32) {
    // SAFETY: the struct is made of integers, and the helper reads it.
    unsafe {
        let mut key: bpf_tunnel_key = core::mem::zeroed();
        key.tunnel_id = network;
        let size = size_of::<bpf_tunnel_key>() as u32;
        generated::bpf_skb_set_tunnel_key(skb, &raw mut key, size, 0);
    }
}

/// Hands a packet to an XDP program.
#[xdp]
pub(crate) fn replay_xdp(ctx: XdpContext) -> u32 {
    let Some(packet) = Packet::next() else { return XDP_ABORTED };
    // SAFETY: the context is the program's, and the frame as long as it is said to be.
    unsafe {
        let length = generated::bpf_xdp_get_buff_len(ctx.ctx) as u32;
        if length != packet.length {
            generated::bpf_xdp_adjust_head(ctx.ctx, length.wrapping_sub(packet.length) as i32);
        }
        generated::bpf_xdp_store_bytes(ctx.ctx, 0, packet.frame.cast(), packet.length);
        SUBJECTS.tail_call(&ctx, packet.subject);
    }
    XDP_ABORTED
}

/// A TC program that does nothing.
#[classifier]
pub(crate) fn nothing_tc(_: TcContext) -> i32 {
    TC_ACT_OK
}

/// A program of a socket that does nothing.
#[cgroup_sock_addr(connect4)]
pub(crate) fn nothing_connect4(_: SockAddrContext) -> i32 {
    ALLOW
}

/// An XDP program that does nothing.
#[xdp]
pub(crate) fn nothing_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}
