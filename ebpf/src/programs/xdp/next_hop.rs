//! The next hop of a frame, by the node's routes.

use aya_ebpf::bindings::{xdp_action::XDP_TX, xdp_md};
use datapath::packet::{PacketRead, PacketWrite, WriteFailed};
use maps_schema::address::{Address, IfIndex};

use crate::{
    helpers::{FibAnswer, FibQuestion, fib_lookup, receiver, redirect},
    maps::UPLINKS,
    packet_xdp::XdpPacket,
};

/// Where a frame is to be sent.
pub(super) struct NextHop {
    interface: IfIndex,
    destination: [u8; 6],
    source: [u8; 6],
}

impl NextHop {
    /// The next hop for an IP packet of so many bytes; none where the kernel has to find out its
    /// Ethernet address first, where the packet is too big, or its way leads over no uplink.
    #[inline(always)]
    pub(super) fn to<A: Address>(destination: A, length: u32, frame: *mut xdp_md) -> Option<Self> {
        let incoming = receiver(frame);
        let length = u16::try_from(length).ok()?;
        let mut question = FibQuestion::to(destination, incoming).of_length(length);
        let FibAnswer::Found = fib_lookup(frame.cast(), &mut question) else {
            return None;
        };
        let (destination, source) = question.ethernet();
        let interface = question.interface();
        let is_known = destination != [0; 6];
        let is_uplink = if interface == incoming {
            // Seen in passing, and meant for another host.
            XdpPacket::<0>::new(frame).load::<6>(0) == Some(source)
        } else {
            UPLINKS.get_ptr(interface.get()).is_some()
        };
        (is_known && is_uplink).then_some(Self { interface, destination, source })
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
        packet.store(0, self.destination)?;
        packet.store(6, self.source)?;
        if self.interface == receiver(frame) {
            Ok(XDP_TX)
        } else {
            Ok(redirect(self.interface).cast_unsigned())
        }
    }
}
