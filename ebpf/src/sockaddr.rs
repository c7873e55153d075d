//! The address in a `bpf_sock_addr`.
//!
//! The verifier lets a hook touch the fields of its own family only, each as a whole word: hence
//! one type per family, and volatile accesses, which the compiler does not merge.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use maps_schema::address::{Address, Ipv4Wire, Ipv6Wire, Port};

/// The address of an IPv4 hook.
pub(crate) struct V4(*mut bpf_sock_addr);

/// The address of an IPv6 hook.
pub(crate) struct V6(*mut bpf_sock_addr);

impl V4 {
    /// `ctx` is the program's context.
    pub(crate) const fn new(ctx: *mut bpf_sock_addr) -> Self {
        Self(ctx)
    }

    #[inline(always)]
    pub(crate) fn address(&self) -> Ipv4Wire {
        // SAFETY: the pointer is the program's context.
        let word = unsafe { (&raw const (*self.0).user_ip4).read_volatile() };
        Ipv4Wire::from_bytes(word.to_ne_bytes())
    }

    #[inline(always)]
    pub(crate) fn port(&self) -> Port {
        port(self.0)
    }

    #[inline(always)]
    pub(crate) fn set(&self, address: Ipv4Wire, port: Port) {
        let word = u32::from_ne_bytes(address.bytes());
        // SAFETY: the pointer is the program's context.
        unsafe { (&raw mut (*self.0).user_ip4).write_volatile(word) };
        set_port(self.0, port);
    }
}

impl V6 {
    /// `ctx` is the program's context.
    pub(crate) const fn new(ctx: *mut bpf_sock_addr) -> Self {
        Self(ctx)
    }

    #[inline(always)]
    pub(crate) fn address(&self) -> Ipv6Wire {
        // SAFETY: the pointer is the program's context.
        from_words(unsafe { read_words((&raw const (*self.0).user_ip6).cast()) })
    }

    #[inline(always)]
    pub(crate) fn port(&self) -> Port {
        port(self.0)
    }

    #[inline(always)]
    pub(crate) fn set(&self, address: Ipv6Wire, port: Port) {
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = address.bytes();
        // SAFETY: the pointer is the program's context.
        unsafe {
            let words = (&raw mut (*self.0).user_ip6).cast::<u32>();
            words.write_volatile(u32::from_ne_bytes([a0, a1, a2, a3]));
            words.add(1).write_volatile(u32::from_ne_bytes([b0, b1, b2, b3]));
            words.add(2).write_volatile(u32::from_ne_bytes([c0, c1, c2, c3]));
            words.add(3).write_volatile(u32::from_ne_bytes([d0, d1, d2, d3]));
        }
        set_port(self.0, port);
    }
}

/// A family whose addresses sockets are bound to.
pub(crate) trait Bindable: Address {
    /// The address that the socket is bound to, if it is. `ctx` is the program's context.
    fn bound(ctx: *mut bpf_sock_addr) -> Option<Self>;
}

impl Bindable for Ipv4Wire {
    #[inline(always)]
    fn bound(ctx: *mut bpf_sock_addr) -> Option<Self> {
        // SAFETY: the socket is there as long as the program runs.
        let word = unsafe { (&raw const (*socket(ctx)).src_ip4).read_volatile() };
        (word != 0).then(|| Self::from_bytes(word.to_ne_bytes()))
    }
}

impl Bindable for Ipv6Wire {
    #[inline(always)]
    fn bound(ctx: *mut bpf_sock_addr) -> Option<Self> {
        // SAFETY: as above.
        let words = unsafe { read_words((&raw const (*socket(ctx)).src_ip6).cast()) };
        (words != [0; 4]).then(|| from_words(words))
    }
}

#[inline(always)]
fn socket(ctx: *mut bpf_sock_addr) -> *mut bpf_sock {
    // SAFETY: the pointer is the program's context.
    unsafe { (&raw const (*ctx).__bindgen_anon_1.sk).read_volatile() }
}

/// # Safety
///
/// `words` points to four that are readable.
#[inline(always)]
unsafe fn read_words(words: *const u32) -> [u32; 4] {
    // SAFETY: the caller's.
    unsafe {
        [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ]
    }
}

#[inline(always)]
fn from_words([w0, w1, w2, w3]: [u32; 4]) -> Ipv6Wire {
    let [a0, a1, a2, a3] = w0.to_ne_bytes();
    let [b0, b1, b2, b3] = w1.to_ne_bytes();
    let [c0, c1, c2, c3] = w2.to_ne_bytes();
    let [d0, d1, d2, d3] = w3.to_ne_bytes();
    Ipv6Wire::from_bytes([a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3])
}

/// The field holds the port in network byte order in its low half.
#[inline(always)]
fn port(ctx: *mut bpf_sock_addr) -> Port {
    // SAFETY: the pointer is the program's context.
    let word = unsafe { (&raw const (*ctx).user_port).read_volatile() };
    Port::from_bytes((word as u16).to_ne_bytes())
}

#[inline(always)]
fn set_port(ctx: *mut bpf_sock_addr, port: Port) {
    // SAFETY: the pointer is the program's context.
    unsafe { (&raw mut (*ctx).user_port).write_volatile(u32::from(port.word())) };
}
