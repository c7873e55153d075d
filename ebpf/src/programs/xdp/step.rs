//! What a stage hands to the next.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use maps_schema::{service::Frontend, way::NodeId};

/// A register's worth: the low half is an XDP action, or says which stage follows; the high half is
/// what that has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Step(u64);

/// Which stage follows.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Stage {
    /// `plan`: the flow needs entries.
    Open = 0x100,
    /// `connect`: what they are is decided.
    Connect = 0x200,
    /// `decide` again: the flow has its entries.
    Connected = 0x300,
    /// `wrap`: the packet goes to a node whose address is an IPv4 one.
    WrapV4 = 0x400,
    /// `wrap`: the packet goes to a node whose address is an IPv6 one.
    WrapV6 = 0x500,
    /// `unwrap`: the packet carries another.
    Unwrap = 0x600,
    /// `send`: the packet goes by the node's routes.
    Send = 0x700,
}

impl Step {
    /// The kernel goes on with the frame as it came.
    pub(super) const PASS: Self = Self::done(XDP_PASS);

    /// The frame has its action.
    #[inline(always)]
    pub(super) const fn done(action: u32) -> Self {
        Self(action as u64)
    }

    #[inline(always)]
    pub(super) const fn to(stage: Stage) -> Self {
        Self(stage as u64)
    }

    #[inline(always)]
    pub(super) const fn open(frontend: Frontend) -> Self {
        Self((frontend.word() as u64) << 32 | Stage::Open as u64)
    }

    #[inline(always)]
    pub(super) const fn wrap(stage: Stage, node: NodeId) -> Self {
        Self((node.0 as u64) << 32 | stage as u64)
    }

    #[inline(always)]
    pub(super) const fn is(self, stage: Stage) -> bool {
        self.0 as u32 == stage as u32
    }

    #[inline(always)]
    pub(super) const fn frontend(self) -> Frontend {
        Frontend::from_word((self.0 >> 32) as u32)
    }

    #[inline(always)]
    pub(super) const fn node(self) -> NodeId {
        NodeId((self.0 >> 32) as u16)
    }

    /// The frame's action; where a stage is still to come that does not, the kernel goes on.
    #[inline(always)]
    pub(super) const fn action(self) -> u32 {
        if self.0 < Stage::Open as u64 { self.0 as u32 } else { XDP_PASS }
    }
}
