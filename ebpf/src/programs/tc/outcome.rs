//! What a stage hands to the next.

use datapath::verdict::Opening;
use maps_schema::{drop_reason::DropReason, way::NodeId};

/// A register's worth: the low half is a TC action, or says which stage follows; the high half is
/// what that has to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome(u64);

/// Which stage follows.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Stage {
    /// None: the packet has its action.
    Done,
    /// `answer`: the packet stands as it came; its reason is counted.
    Refuse,
    /// `answer`, and then `related`: the packet stands as it would have been forwarded.
    RefuseForwarded,
    /// `plan`: the flow needs entries.
    Open,
    /// `connect`: what they are is decided.
    Connect,
    /// `decide` again: the flow has its entries.
    Connected,
    /// `related`: the packet is an ICMP error.
    Related,
    /// `decide`: all is known that it needs.
    Decide,
    /// `translate`: it is known what the packet becomes.
    Translate,
    /// `by_address`: the packet belongs to no flow, or to one without entries.
    ByAddress,
    /// `route`: the packet goes by the node's routes.
    Route,
    /// `send_to_node`: the packet goes in VXLAN.
    Tunnel,
    /// `send_to_node`: the packet is handed over in VXLAN.
    Hand,
}

impl Outcome {
    const STAGE_SHIFT: u32 = 16;
    const ACTION: u64 = 0xffff;

    #[inline(always)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(super) const fn done(action: i32) -> Self {
        Self(action as u64 & Self::ACTION)
    }

    #[inline(always)]
    pub(super) const fn to(stage: Stage) -> Self {
        Self::with(stage, 0)
    }

    #[inline(always)]
    const fn with(stage: Stage, payload: u32) -> Self {
        Self((payload as u64) << 32 | (stage as u64) << Self::STAGE_SHIFT)
    }

    /// `mtu` is zero unless the packet is too big for that.
    #[inline(always)]
    pub(super) const fn refuse(stage: Stage, reason: DropReason, mtu: u16) -> Self {
        Self::with(stage, (reason as u32) << 16 | mtu as u32)
    }

    #[inline(always)]
    pub(super) const fn open(opening: Opening) -> Self {
        Self::with(Stage::Open, opening.to_bits() as u32)
    }

    #[inline(always)]
    pub(super) const fn send(stage: Stage, node: NodeId) -> Self {
        Self::with(stage, node.0 as u32)
    }

    #[inline(always)]
    pub(super) const fn is(self, stage: Stage) -> bool {
        match stage {
            Stage::Done => self.0 as u32 <= Self::ACTION as u32,
            stage => self.0 as u32 == (stage as u32) << Self::STAGE_SHIFT,
        }
    }

    #[inline(always)]
    pub(super) const fn action(self) -> i32 {
        (self.0 & Self::ACTION) as i32
    }

    #[inline(always)]
    const fn payload(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(super) const fn opening(self) -> Opening {
        Opening::from_bits(self.payload() as u64)
    }

    #[inline(always)]
    pub(super) const fn node(self) -> NodeId {
        NodeId(self.payload() as u16)
    }

    /// The number of a reason.
    #[inline(always)]
    pub(super) const fn reason(self) -> u8 {
        (self.payload() >> 16) as u8
    }

    #[inline(always)]
    pub(super) const fn mtu(self) -> u16 {
        self.payload() as u16
    }
}
