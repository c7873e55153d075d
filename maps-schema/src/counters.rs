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
}

impl Program {
    /// Every program, in the order of its number.
    pub const ALL: [Self; 3] = [Self::TcPodIngress, Self::TcBridgeEgress, Self::Socket];

    /// The name under which it is counted and listed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcPodIngress => "tc_pod_ingress",
            Self::TcBridgeEgress => "tc_bridge_egress",
            Self::Socket => "socket",
        }
    }
}

/// Where the drop counter of a program and a reason is: reasons are below 64.
pub const fn drop_counter_index(program: Program, reason: crate::drop_reason::DropReason) -> u32 {
    (program as u32) << 6 | reason as u32
}

/// How many drop counters there are.
pub const DROP_COUNTERS: u32 = (Program::Socket as u32 + 1) << 6;
