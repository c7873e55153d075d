//! The node's own sockets.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated,
};
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
    // SAFETY: the union is made of integers.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let ([source, ..], [destination, ..]) = (words(flow.source), words(flow.destination));
    let source_port = u16::from_ne_bytes(flow.source_port.bytes());
    let destination_port = u16::from_ne_bytes(flow.destination_port.bytes());
    let size = match A::FAMILY {
        Family::V4 => {
            tuple.__bindgen_anon_1.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                saddr: source,
                daddr: destination,
                sport: source_port,
                dport: destination_port,
            };
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>()
        }
        Family::V6 => {
            tuple.__bindgen_anon_1.ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                saddr: words(flow.source),
                daddr: words(flow.destination),
                sport: source_port,
                dport: destination_port,
            };
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>()
        }
    } as u32;
    let tuple = &raw mut tuple;
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
