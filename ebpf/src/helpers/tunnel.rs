//! Tunnel keys, by which a device that collects metadata is told and tells the other end.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, bpf_tunnel_key},
    helpers::generated,
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    way::Node,
};

use super::words;

const SIZE: u32 = size_of::<bpf_tunnel_key>() as u32;
const OUTER_HOP_LIMIT: u8 = 64;

/// The network identifier of a packet that has come out of a tunnel. Linux 4.3.
#[inline(always)]
pub(crate) fn tunnel_id(skb: *mut __sk_buff) -> Option<u32> {
    key(skb, 0).or_else(|| key(skb, BPF_F_TUNINFO_IPV6.into())).map(|key| key.tunnel_id)
}

/// Whether the packet has been told where to go already.
#[inline(always)]
pub(crate) fn has_tunnel_key(skb: *mut __sk_buff) -> bool {
    tunnel_id(skb).is_some()
}

#[inline(always)]
fn key(skb: *mut __sk_buff, flags: u64) -> Option<bpf_tunnel_key> {
    // SAFETY: the struct is made of integers, and the helper writes it.
    unsafe {
        let mut key: bpf_tunnel_key = core::mem::zeroed();
        let result = generated::bpf_skb_get_tunnel_key(skb, &raw mut key, SIZE, flags);
        (result == 0).then_some(key)
    }
}

/// Tells the packet its way through the tunnel; whether the kernel took it. The outer UDP header has
/// no checksum (RFC 7348; RFC 6935 for IPv6): what is inside has its own.
#[inline(always)]
pub(crate) fn set_tunnel_key(skb: *mut __sk_buff, node: &Node, network: u32) -> bool {
    // SAFETY: the struct is made of integers.
    let mut key: bpf_tunnel_key = unsafe { core::mem::zeroed() };
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
    unsafe { generated::bpf_skb_set_tunnel_key(skb, &raw mut key, SIZE, flags) == 0 }
}
