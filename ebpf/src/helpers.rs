//! The kernel's helpers, each with types that say what it takes. Those about routes and tunnels have
//! modules of their own.

mod fib;
mod socket;
mod tunnel;
mod xdp;

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS, bpf_check_mtu_flags::BPF_MTU_CHK_SEGS, bpf_sock_addr},
    helpers::generated,
};
use datapath::tables::{Progress, Repeated};
use maps_schema::address::{Address, IfIndex};

pub(crate) use self::{
    fib::{FibAnswer, FibQuestion, fib_lookup, redirect_neigh},
    socket::has_socket,
    tunnel::{has_tunnel_key, set_tunnel_key, tunnel_id},
    xdp::{frame_length, move_head, receiver},
};

/// `CLOCK_MONOTONIC` at the last timer tick, in nanoseconds. Linux 5.11.
#[inline(always)]
pub(crate) fn ktime_get_coarse_ns() -> u64 {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_ktime_get_coarse_ns() }
}

/// 32 random bits, not for secrets.
#[inline(always)]
pub(crate) fn get_prandom_u32() -> u32 {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_get_prandom_u32() }
}

/// Does something until it is done, at most so many times. The verifier looks at it once. Linux 5.17.
#[inline(always)]
pub(crate) fn repeat<T: Repeated>(times: u32, repeated: &mut T) {
    /// # Safety
    ///
    /// `repeated` points to a `T`.
    unsafe extern "C" fn step<T: Repeated>(_: u64, repeated: *mut c_void) -> i64 {
        // SAFETY: the caller's.
        match unsafe { &mut *repeated.cast::<T>() }.step() {
            Progress::Again => 0,
            Progress::Done => 1,
        }
    }
    let step: unsafe extern "C" fn(u64, *mut c_void) -> i64 = step::<T>;
    // SAFETY: the helper calls `step` with `repeated` only.
    unsafe {
        generated::bpf_loop(times, step as *mut c_void, ptr::from_mut(repeated).cast(), 0);
    }
}

/// Sends the packet out of an interface; the result is the program's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a TC action")]
pub(crate) fn redirect(interface: IfIndex) -> i32 {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_redirect(interface.get(), 0) as i32 }
}

/// Has an interface receive the packet; the result is the program's.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a TC action")]
pub(crate) fn redirect_into(interface: IfIndex) -> i32 {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_redirect(interface.get(), BPF_F_INGRESS.into()) as i32 }
}

/// Hands the packet to the other end of a veth pair, as if that had received it; the result is the
/// program's. Only from TC ingress. Linux 5.10.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a TC action")]
pub(crate) fn redirect_peer(interface: IfIndex) -> i32 {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_redirect_peer(interface.get(), 0) as i32 }
}

const PACKET_HOST: u32 = 0;

/// Makes the packet one that is addressed to this host: a frame for the bridge's or another pod's
/// address was not, and the receiving stack would drop it.
#[inline(always)]
pub(crate) fn mark_as_ours(skb: *mut __sk_buff) {
    // SAFETY: `skb` is the program's context.
    unsafe {
        if (*skb).pkt_type != PACKET_HOST {
            generated::bpf_skb_change_type(skb, PACKET_HOST);
        }
    }
}

/// Whether the frame has a VLAN tag. The kernel has taken it out of the bytes.
#[inline(always)]
pub(crate) fn is_tagged(skb: *mut __sk_buff) -> bool {
    // SAFETY: `skb` is the program's context.
    unsafe { (*skb).vlan_present != 0 }
}

/// The interface that a TC program is attached to.
#[inline(always)]
pub(crate) fn interface(skb: *mut __sk_buff) -> IfIndex {
    // SAFETY: `skb` is the program's context.
    IfIndex::new(unsafe { (*skb).ifindex })
}

/// The interface that the packet came in by; zero for what the node's own stack has made.
#[inline(always)]
pub(crate) fn ingress_interface(skb: *mut __sk_buff) -> u32 {
    // SAFETY: `skb` is the program's context.
    unsafe { (*skb).ingress_ifindex }
}

/// Whether an interface carries the packet, or each of the segments that it is to be cut into; if
/// not, the interface's MTU. Linux 5.12.
#[inline(always)]
pub(crate) fn check_mtu(skb: *mut __sk_buff, interface: IfIndex) -> Result<(), u16> {
    const TOO_BIG: [i64; 2] = [1, 2];
    let mut mtu = 0_u32;
    let flags = if is_gso(skb) { u64::from(BPF_MTU_CHK_SEGS) } else { 0 };
    // SAFETY: the helper writes to `mtu`.
    let result =
        unsafe { generated::bpf_check_mtu(skb.cast(), interface.get(), &raw mut mtu, 0, flags) };
    // Where the interface is gone, sending fails by itself.
    if TOO_BIG.contains(&result) { Err(mtu as u16) } else { Ok(()) }
}

/// Whether the packet is still to be cut into segments.
#[inline(always)]
fn is_gso(skb: *mut __sk_buff) -> bool {
    // SAFETY: `skb` is the program's context.
    unsafe { (*skb).gso_segs > 1 }
}

/// Has an interface receive a copy of the packet, once this processor is done with the packet
/// itself. Where it has no room for it, the copy is lost.
#[inline(always)]
pub(crate) fn receive_copy(skb: *mut __sk_buff, interface: IfIndex) {
    // SAFETY: `skb` is the program's context.
    unsafe { generated::bpf_clone_redirect(skb, interface.get(), BPF_F_INGRESS.into()) };
}

/// Reads something of the context.
#[inline(always)]
pub(crate) fn touch(skb: *mut __sk_buff) {
    // SAFETY: `skb` is the program's context.
    unsafe { (&raw const (*skb).len).read_volatile() };
}

/// The packet's mark.
#[inline(always)]
pub(crate) fn mark(skb: *mut __sk_buff) -> u32 {
    // SAFETY: `skb` is the program's context.
    unsafe { (*skb).mark }
}

/// Sets the packet's mark.
#[inline(always)]
pub(crate) fn set_mark(skb: *mut __sk_buff, mark: u32) {
    // SAFETY: `skb` is the program's context.
    unsafe { (*skb).mark = mark };
}

/// Whether a UDP socket has a peer already.
#[inline(always)]
pub(crate) fn is_connected(context: *mut bpf_sock_addr) -> bool {
    /// What `connect(2)` makes of a UDP socket.
    const TCP_ESTABLISHED: u32 = 1;
    // SAFETY: `context` is the program's context, whose socket is there as long as the program
    // runs.
    let state = unsafe {
        let socket = (&raw const (*context).__bindgen_anon_1.sk).read_volatile();
        (&raw const (*socket).state).read_volatile()
    };
    state == TCP_ESTABLISHED
}

/// The cookie of the socket's network namespace. Linux 5.7.
#[inline(always)]
pub(crate) fn netns_cookie(context: *mut bpf_sock_addr) -> u64 {
    // SAFETY: `context` is the program's context.
    unsafe { generated::bpf_get_netns_cookie(context.cast()) }
}

/// The socket's cookie.
#[inline(always)]
pub(crate) fn socket_cookie(context: *mut bpf_sock_addr) -> u64 {
    // SAFETY: `context` is the program's context.
    unsafe { generated::bpf_get_socket_cookie(context.cast()) }
}

/// Makes the system call fail with `errno`, once the program returns 0. Linux 6.1 for these hooks.
#[inline(always)]
pub(crate) fn fail_with(errno: i32) {
    // SAFETY: the helper takes no pointer.
    unsafe { generated::bpf_set_retval(-errno) };
}

/// Clears a struct of the kernel's, word by word: what the compiler makes of a whole one that is zero
/// is a call of a function that clears byte by byte.
///
/// # Safety
///
/// Zeros are a `T`.
#[inline(always)]
unsafe fn clear<T>(place: &mut MaybeUninit<T>) -> &mut T {
    const { assert!(size_of::<T>().is_multiple_of(4) && align_of::<T>() >= 4) };
    let words: *mut u32 = place.as_mut_ptr().cast();
    for index in 0..size_of::<T>() / 4 {
        // SAFETY: the word is in the struct.
        unsafe { words.add(index).write_volatile(0) };
    }
    // SAFETY: the caller's.
    unsafe { place.assume_init_mut() }
}

/// An address as the kernel's structs have it: four words in network byte order, of which an IPv4
/// address is the first.
#[inline(always)]
fn words<A: Address>(address: A) -> [u32; 4] {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = address.to_slot();
    [
        u32::from_ne_bytes([a0, a1, a2, a3]),
        u32::from_ne_bytes([b0, b1, b2, b3]),
        u32::from_ne_bytes([c0, c1, c2, c3]),
        u32::from_ne_bytes([d0, d1, d2, d3]),
    ]
}
