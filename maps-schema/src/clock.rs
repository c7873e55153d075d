//! Time as connection entries hold it.

use core::time::Duration;

/// A moment of `CLOCK_MONOTONIC`, in units of 2^30 ns (1.07 s), so that the datapath needs a shift
/// and no division. It wraps after 146 years.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoarseTime(u32);

const SHIFT: u32 = 30;

impl CoarseTime {
    /// The moment of boot.
    pub const ZERO: Self = Self(0);

    /// The unit that `nanoseconds` since boot fall into.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "wraps after 146 years of uptime")]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> SHIFT) as u32)
    }

    /// The value's bytes, as a connection's two entries share them.
    #[inline(always)]
    pub(crate) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// The inverse of [`Self::to_bytes`].
    pub(crate) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    /// How long after `earlier` this moment is; zero where it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::from(self.0.saturating_sub(earlier.0)) << SHIFT)
    }

    /// Whether this moment is at most so many units after `earlier`.
    #[inline(always)]
    pub const fn is_within(self, units: u32, earlier: Self) -> bool {
        self.0.wrapping_sub(earlier.0) <= units
    }
}
