//! What a stage hands to the next.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use maps_schema::service::Frontend;

/// A register's worth: the low half is an XDP action, or says which stage follows; the high half is
/// the frontend of a flow that is to be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Step(u64);

impl Step {
    /// The kernel goes on with the frame as it came.
    pub(super) const PASS: Self = Self::done(XDP_PASS);
    /// It is planned what the flow is to become.
    pub(super) const PLANNED: Self = Self(0x100);
    /// The flow has its entries.
    pub(super) const CONNECTED: Self = Self(0x200);

    const OPEN: u64 = 0x300;

    /// The frame has its action.
    #[inline(always)]
    pub(super) const fn done(action: u32) -> Self {
        Self(action as u64)
    }

    /// The flow needs entries.
    #[inline(always)]
    pub(super) const fn open(frontend: Frontend) -> Self {
        Self((frontend.word() as u64) << 32 | Self::OPEN)
    }

    /// The frontend of the flow that needs entries, if one does.
    #[inline(always)]
    pub(super) const fn opens(self) -> Option<Frontend> {
        if self.0 as u32 as u64 == Self::OPEN {
            Some(Frontend::from_word((self.0 >> 32) as u32))
        } else {
            None
        }
    }

    /// The frame's action, if it has one.
    #[inline(always)]
    pub(super) const fn action(self) -> Option<u32> {
        if self.0 < 0x100 { Some(self.0 as u32) } else { None }
    }
}
