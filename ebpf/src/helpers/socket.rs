//! The node's own sockets.

use core::ffi::c_void;

use aya_ebpf::{bindings::bpf_sock_tuple, helpers::generated};
use maps_schema::{
    address::{Address, Family, Protocol},
    connection::FlowKey,
};

use super::words;

const CURRENT_NAMESPACE: u64 = u64::MAX;

/// Whether a socket of the program's network namespace would receive a packet of this flow.
/// `context` is that of a TC or XDP program. Linux 4.20, for TCP 5.2.
#[inline(always)]
pub(crate) fn has_socket<A: Address>(context: *mut c_void, flow: &FlowKey<A>) -> bool {
    let (source, destination) = (words(flow.source), words(flow.destination));
    let ([s0, s1], [d0, d1]) = (flow.source_port.bytes(), flow.destination_port.bytes());
    let ports = u32::from_ne_bytes([s0, s1, d0, d1]);
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (source, destination);
    // As `bpf_sock_tuple` has them, of either family.
    let mut v4 = [s0, d0, ports];
    let mut v6 = [s0, s1, s2, s3, d0, d1, d2, d3, ports];
    let (tuple, size): (*mut bpf_sock_tuple, _) = match A::FAMILY {
        Family::V4 => ((&raw mut v4).cast(), size_of_val(&v4) as u32),
        Family::V6 => ((&raw mut v6).cast(), size_of_val(&v6) as u32),
    };
    // SAFETY: the helpers read the tuple; what they find is released at once.
    unsafe {
        let socket = match flow.protocol() {
            Protocol::TCP => {
                generated::bpf_skc_lookup_tcp(context, tuple, size, CURRENT_NAMESPACE, 0)
            }
            Protocol::UDP => {
                generated::bpf_sk_lookup_udp(context, tuple, size, CURRENT_NAMESPACE, 0)
            }
            _ => return false,
        };
        if socket.is_null() {
            return false;
        }
        generated::bpf_sk_release(socket.cast());
    }
    true
}
