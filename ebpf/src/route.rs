//! The node's routes.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use datapath::family::IpFamily;
use maps_schema::address::{Address, IfIndex};

use crate::{
    helpers::{FibAnswer, FibQuestion, check_mtu, fib_lookup, interface, redirect_neigh},
    packet_skb::SkbPacket,
};

/// What has become of a packet that was to be routed.
pub(crate) enum Routed {
    /// It is on its way; the program's result.
    Sent(i32),
    /// It is larger than this, which is what its way carries.
    TooBig(u16),
    /// There is no way.
    NoRoute,
}

/// Sends a packet to its destination by the node's routes, as it stands.
#[inline(always)]
pub(crate) fn route_packet<A: IpFamily>(skb: *mut __sk_buff) -> Routed {
    let packet = SkbPacket::new(skb);
    let Some(destination) = A::load(&packet, A::DESTINATION_OFFSET) else {
        return Routed::NoRoute;
    };
    let mut place = MaybeUninit::uninit();
    let question = FibQuestion::to(&mut place, destination, interface(skb));
    match fib_lookup(skb.cast(), question) {
        FibAnswer::Found => {
            let out = question.interface();
            if let Err(mtu) = check_mtu(skb, out) {
                return Routed::TooBig(mtu);
            }
            Routed::Sent(redirect_neigh(out, question))
        }
        FibAnswer::TooBig(mtu) => Routed::TooBig(mtu),
        FibAnswer::None => Routed::NoRoute,
    }
}

/// The interface that the node's routes take to a destination.
#[inline(always)]
pub(crate) fn way_out<A: Address>(
    context: *mut core::ffi::c_void,
    incoming: IfIndex,
    destination: A,
) -> Option<IfIndex> {
    let mut place = MaybeUninit::uninit();
    let question = FibQuestion::to(&mut place, destination, incoming);
    match fib_lookup(context, question) {
        FibAnswer::Found => Some(question.interface()),
        FibAnswer::TooBig(_) | FibAnswer::None => None,
    }
}
