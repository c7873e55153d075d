//! Tunnel keys, by which a device that collects metadata is told and tells the other end.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, bpf_tunnel_key},
    helpers::generated,
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    way::Node,
};

use super::{clear, words};

const SIZE: u32 = size_of::<bpf_tunnel_key>() as u32;
const OUTER_HOP_LIMIT: u8 = 64;

/// The network identifier of a packet that has come out of a tunnel. Linux 4.3.
#[inline(always)]
pub(crate) fn tunnel_id(skb: *mut __sk_buff) -> Option<u32> {
    id(skb, 0).or_else(|| id(skb, BPF_F_TUNINFO_IPV6.into()))
}

/// Whether the packet has been told where to go already.
#[inline(always)]
pub(crate) fn has_tunnel_key(skb: *mut __sk_buff) -> bool {
    tunnel_id(skb).is_some()
}

#[inline(always)]
fn id(skb: *mut __sk_buff, flags: u64) -> Option<u32> {
    let mut key = MaybeUninit::<bpf_tunnel_key>::uninit();
    // SAFETY: the helper writes the struct, with zeros where it fails.
    unsafe {
        let result = generated::bpf_skb_get_tunnel_key(skb, key.as_mut_ptr(), SIZE, flags);
        (result == 0).then(|| (*key.as_ptr()).tunnel_id)
    }
}

/// Tells the packet its way through the tunnel; whether the kernel took it. The outer UDP header has
/// no checksum (RFC 7348; RFC 6935 for IPv6): what is inside has its own.
#[inline(always)]
pub(crate) fn set_tunnel_key(skb: *mut __sk_buff, node: &Node, network: u32) -> bool {
    let mut key = MaybeUninit::uninit();
    // SAFETY: the struct is made of integers.
    let key: &mut bpf_tunnel_key = unsafe { clear(&mut key) };
    key.tunnel_id = network;
    key.tunnel_ttl = OUTER_HOP_LIMIT;
    let mut flags = u64::from(BPF_F_ZERO_CSUM_TX);
    if node.ip_version() == 6 {
        flags |= u64::from(BPF_F_TUNINFO_IPV6);
        key.__bindgen_anon_1.remote_ipv6 = words(node.endpoint::<Ipv6Wire>());
    } else {
        let address = node.endpoint::<Ipv4Wire>().bytes();
        key.__bindgen_anon_1.remote_ipv4 = u32::from_be_bytes(address);
    }
    // SAFETY: the helper reads the struct.
    unsafe { generated::bpf_skb_set_tunnel_key(skb, key, SIZE, flags) == 0 }
}
