//! Counters, all of them per CPU.

/// Counters of one service port in one address family, indexed by its `ServiceId`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounters {
    /// Connections made.
    pub connections: u64,
    /// Packets, both directions.
    pub packets: u64,
    /// Bytes of those packets from the Ethernet header on, both directions.
    pub bytes: u64,
}

impl core::ops::AddAssign for ServiceCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { connections, packets, bytes } = other;
        self.connections += connections;
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// The programs, as drop counters name the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Program {
    /// `tc_pod_ingress`: what a pod sends.
    TcPodIngress = 0,
    /// `tc_bridge_egress`: what the node sends to its pods.
    TcBridgeEgress = 1,
    /// The cgroup programs: what the node's own processes connect and send to.
    Socket = 2,
    /// `tc_uplink_ingress`: what comes in by an uplink.
    TcUplinkIngress = 3,
    /// `tc_uplink_egress`: what the node sends by an uplink.
    TcUplinkEgress = 4,
    /// `tc_overlay_ingress`: what other nodes send in VXLAN.
    TcOverlayIngress = 5,
    /// `tc_overlay_egress`: what the node sends to other nodes in VXLAN.
    TcOverlayEgress = 6,
    /// `xdp_ingress`: what comes in by an uplink, in its driver.
    XdpIngress = 7,
}

impl Program {
    /// Every program, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::TcPodIngress,
        Self::TcBridgeEgress,
        Self::Socket,
        Self::TcUplinkIngress,
        Self::TcUplinkEgress,
        Self::TcOverlayIngress,
        Self::TcOverlayEgress,
        Self::XdpIngress,
    ];

    /// The name under which it is counted and listed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcPodIngress => "tc_pod_ingress",
            Self::TcBridgeEgress => "tc_bridge_egress",
            Self::Socket => "socket",
            Self::TcUplinkIngress => "tc_uplink_ingress",
            Self::TcUplinkEgress => "tc_uplink_egress",
            Self::TcOverlayIngress => "tc_overlay_ingress",
            Self::TcOverlayEgress => "tc_overlay_egress",
            Self::XdpIngress => "xdp_ingress",
        }
    }
}

/// Where the drop counter of a program and a reason is: reasons are below 64.
pub const fn drop_counter_index(program: Program, reason: crate::drop_reason::DropReason) -> u32 {
    (program as u32) << 6 | reason as u32
}

/// How many drop counters there are.
pub const DROP_COUNTERS: u32 = (Program::XdpIngress as u32 + 1) << 6;
