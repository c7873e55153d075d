//! The next hop of a frame, by the node's routes.
//!
//! To ask the kernel costs more than all the rest of the program. What it has answered holds for one
//! unit of [`CoarseTime`], on this processor: so long at most is a packet sent where a route or a
//! neighbour was before it changed.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{xdp_action::XDP_TX, xdp_md};
use datapath::packet::{PacketRead, PacketWrite, WriteFailed};
use maps_schema::{
    address::{Address, Family, IfIndex},
    clock::CoarseTime,
};

use crate::{
    helpers::{FibAnswer, FibQuestion, fib_lookup, ktime_get_coarse_ns, receiver, redirect},
    maps::{NEXT_HOPS, UPLINKS},
    packet_xdp::XdpPacket,
};

/// How many answers a processor holds; a power of two.
pub(crate) const ANSWERS: u32 = 1 << 10;

/// Where packets to a destination are to be sent. Zero is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct NextHop {
    /// What it is an answer to: a destination in the form of `Address::to_slot`, of a family (4 or
    /// 6), for packets of at most so many bytes that came in by an interface.
    destination: [u64; 2],
    ip_version: u16,
    length: u16,
    incoming: IfIndex,
    asked: CoarseTime,
    /// The answer.
    interface: IfIndex,
    receiver: [u8; 6],
    sender: [u8; 6],
}

impl NextHop {
    /// The next hop for an IP packet of so many bytes; none where the kernel has to find out its
    /// Ethernet address first, where the packet is too big, its way leads over no uplink, or it was
    /// seen in passing and is meant for another host.
    #[inline(always)]
    pub(super) fn to<A: Address>(
        destination: A,
        length: u32,
        frame: *mut xdp_md,
    ) -> Option<&'static Self> {
        let length = u16::try_from(length).ok()?;
        let incoming = receiver(frame);
        let place = NEXT_HOPS.get_ptr_mut(index(destination))?;
        // SAFETY: the element is this processor's own.
        let hop = unsafe { &mut *place };
        let now = CoarseTime::from_nanoseconds(ktime_get_coarse_ns());
        let is_answered = hop.asked == now
            && hop.destination == words(destination)
            && hop.ip_version == version::<A>()
            && hop.length >= length
            && hop.incoming == incoming;
        if !is_answered {
            hop.ask(destination, length, incoming, now, frame)?;
        }
        let is_for_us = hop.interface != incoming
            || XdpPacket::<0>::new(frame).load::<6>(0) == Some(hop.sender);
        is_for_us.then_some(hop)
    }

    #[inline(always)]
    fn ask<A: Address>(
        &mut self,
        destination: A,
        length: u16,
        incoming: IfIndex,
        now: CoarseTime,
        frame: *mut xdp_md,
    ) -> Option<()> {
        let mut place = MaybeUninit::uninit();
        let question = FibQuestion::to(&mut place, destination, incoming);
        question.set_length(length);
        let FibAnswer::Found = fib_lookup(frame.cast(), question) else {
            return None;
        };
        let (receiver, sender) = question.ethernet();
        let interface = question.interface();
        let is_uplink = interface == incoming || UPLINKS.get_ptr(interface.get()).is_some();
        if receiver == [0; 6] || !is_uplink {
            return None;
        }
        self.destination = words(destination);
        self.ip_version = version::<A>();
        self.length = length;
        self.incoming = incoming;
        self.asked = now;
        self.interface = interface;
        self.receiver = receiver;
        self.sender = sender;
        Some(())
    }

    /// The interface that leads there.
    #[inline(always)]
    pub(super) fn interface(&self) -> IfIndex {
        self.interface
    }

    /// Addresses the frame, and sends it; the result is the program's.
    #[inline(always)]
    pub(super) fn send(&self, frame: *mut xdp_md) -> Result<u32, WriteFailed> {
        let mut packet = XdpPacket::<0>::new(frame);
        packet.store(0, self.receiver)?;
        packet.store(6, self.sender)?;
        if self.interface == receiver(frame) {
            Ok(XDP_TX)
        } else {
            Ok(redirect(self.interface).cast_unsigned())
        }
    }
}

#[inline(always)]
fn index<A: Address>(destination: A) -> u32 {
    let [w0, w1] = destination.numbers();
    ((w0 ^ w1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 & (ANSWERS - 1)
}

#[inline(always)]
fn words<A: Address>(destination: A) -> [u64; 2] {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = destination.to_slot();
    [
        u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        u64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
    ]
}

#[inline(always)]
const fn version<A: Address>() -> u16 {
    match A::FAMILY {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}
