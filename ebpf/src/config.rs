//! What is set once, before the programs are loaded, so that the verifier takes it for constant.

use aya_ebpf::Global;
use datapath::family::IpFamily;
use maps_schema::address::{Address, Ipv4Wire, Ipv6Wire, Port};

/// The bridge's IPv4 address in the form of `Address::to_slot`; zero where the node has no IPv4
/// pods.
#[unsafe(no_mangle)]
static BRIDGE_V4: Global<[u64; 2]> = Global::new([0; 2]);

/// The bridge's IPv6 address; zero where the node has no IPv6 pods.
#[unsafe(no_mangle)]
static BRIDGE_V6: Global<[u64; 2]> = Global::new([0; 2]);

/// The first and the last source port of flows that have an address of the node, the last in the
/// upper half.
#[unsafe(no_mangle)]
static MASQUERADE_PORTS: Global<u32> = Global::new(1024 | 65535 << 16);

/// The first and the last source port of flows that have an address of the node.
#[inline(always)]
pub(crate) fn masquerade_ports() -> (u16, u16) {
    let ports = MASQUERADE_PORTS.load();
    (ports as u16, (ports >> 16) as u16)
}

/// The UDP port of VXLAN packets between nodes.
#[unsafe(no_mangle)]
static VXLAN_PORT: Global<u32> = Global::new(8472);

/// The UDP port of VXLAN packets between nodes.
#[inline(always)]
pub(crate) fn vxlan_port() -> Port {
    Port::new(VXLAN_PORT.load() as u16)
}

/// A family whose configuration is known.
pub(crate) trait Configured: IpFamily {
    /// The bridge's address.
    fn bridge() -> Self;
}

impl Configured for Ipv4Wire {
    #[inline(always)]
    fn bridge() -> Self {
        from_words(BRIDGE_V4.load())
    }
}

impl Configured for Ipv6Wire {
    #[inline(always)]
    fn bridge() -> Self {
        from_words(BRIDGE_V6.load())
    }
}

#[inline(always)]
fn from_words<A: Address>([w0, w1]: [u64; 2]) -> A {
    let [a0, a1, a2, a3, a4, a5, a6, a7] = w0.to_ne_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = w1.to_ne_bytes();
    A::from_slot([a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7])
}
