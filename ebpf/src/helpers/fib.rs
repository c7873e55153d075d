//! The node's routing tables.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{bpf_fib_lookup, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1},
    helpers::generated,
};
use maps_schema::address::{Address, Family, IfIndex};

use super::{clear, words};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A question to the routing tables, and where the answer is written. Linux 4.18.
#[repr(transparent)]
pub(crate) struct FibQuestion(bpf_fib_lookup);

/// The kinds of answer.
pub(crate) enum FibAnswer {
    /// There is a next hop. Its Ethernet address need not be known.
    Found,
    /// There is, but it takes packets of at most this size.
    TooBig(u16),
    /// The node itself is meant, or nobody, or the node does not forward.
    None,
}

impl FibQuestion {
    /// Asks for the way of a packet that came in by `incoming`.
    #[inline(always)]
    pub(crate) fn to<A: Address>(
        place: &mut MaybeUninit<Self>,
        destination: A,
        incoming: IfIndex,
    ) -> &mut Self {
        // SAFETY: the struct is made of integers.
        let asked = unsafe { clear(place) };
        let question = &mut asked.0;
        question.family = match A::FAMILY {
            Family::V4 => AF_INET,
            Family::V6 => AF_INET6,
        };
        question.ifindex = incoming.get();
        // IPv4's word is the first of IPv6's four.
        question.__bindgen_anon_4.ipv6_dst = words(destination);
        asked
    }

    /// Asks for a way that takes an IP packet of so many bytes.
    #[inline(always)]
    pub(crate) fn set_length(&mut self, length: u16) {
        self.0.__bindgen_anon_1.tot_len = length;
    }

    /// The interface that the packet is to leave by, once it is found.
    #[inline(always)]
    pub(crate) fn interface(&self) -> IfIndex {
        IfIndex::new(self.0.ifindex)
    }

    /// The Ethernet addresses of the next hop and of the interface that leads there; zero where the
    /// kernel does not know the next hop's.
    #[inline(always)]
    pub(crate) fn ethernet(&self) -> ([u8; 6], [u8; 6]) {
        (self.0.dmac, self.0.smac)
    }
}

/// Asks the routing tables. `context` is that of a TC or XDP program.
#[inline(always)]
pub(crate) fn fib_lookup(context: *mut c_void, question: &mut FibQuestion) -> FibAnswer {
    const SUCCESS: i64 = 0;
    const NO_NEIGHBOUR: i64 = 7;
    const TOO_BIG: i64 = 8;
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the helper reads and writes the struct.
    let result = unsafe { generated::bpf_fib_lookup(context, &raw mut question.0, size, 0) };
    match result {
        SUCCESS | NO_NEIGHBOUR => FibAnswer::Found,
        // SAFETY: both fields of the union are the same integer.
        TOO_BIG => FibAnswer::TooBig(unsafe { question.0.__bindgen_anon_1.mtu_result }),
        _ => FibAnswer::None,
    }
}

/// Sends the packet out of an interface to the next hop that was found, whose Ethernet address the
/// kernel finds out where it does not know it; the result is the program's. From TC. Linux 5.10.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a TC action")]
pub(crate) fn redirect_neigh(interface: IfIndex, found: &FibQuestion) -> i32 {
    // SAFETY: IPv4's word is the first of IPv6's four.
    let ipv6_nh = unsafe { found.0.__bindgen_anon_4.ipv6_dst };
    let mut next_hop = bpf_redir_neigh {
        nh_family: found.0.family.into(),
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh },
    };
    let size = size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: the helper reads the struct.
    unsafe { generated::bpf_redirect_neigh(interface.get(), &raw mut next_hop, size, 0) as i32 }
}
