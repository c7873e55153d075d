//! Time as the maps hold it.

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

/// A moment of `CLOCK_MONOTONIC`, in units of 2^24 ns (17 ms), for what is set in seconds. It wraps
/// after 2.2 years: moments are only compared that are less than half of that apart.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Moment(u32);

const MOMENT_SHIFT: u32 = 24;

impl Moment {
    /// The unit that `nanoseconds` since boot fall into.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it wraps, as documented")]
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self((nanoseconds >> MOMENT_SHIFT) as u32)
    }

    /// Whether this moment is less than so many seconds (at most a day) after `earlier`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a day is 5.1 million units")]
    pub const fn is_within(self, seconds: u32, earlier: Self) -> bool {
        let units = (seconds as u64 * 1_000_000_000) >> MOMENT_SHIFT;
        self.0.wrapping_sub(earlier.0) < units as u32
    }
}
