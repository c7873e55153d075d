//! Source ports for flows that cannot keep their own.

use maps_schema::address::Port;

use crate::select::pick;

/// A walk through a range of ports, each visited once: from a random one, in random steps.
pub(crate) struct Walk {
    first: u32,
    count: u32,
    place: u32,
    stride: u32,
    left: u32,
}

impl Walk {
    /// How many ports are tried, beside a flow's own, before it is given up. Where 99 of 100 ports are
    /// in use, one flow in 10^9 finds none.
    pub(crate) const MAX_STEPS: u32 = 2048;

    /// Above the kernel's `ip_local_port_range` (32768 to 60999), so that no socket of the sender
    /// gets one of them by chance.
    const ABOVE: (u16, u16) = (61000, 65534);

    /// A walk through `first` to `last`, both included.
    #[inline(always)]
    pub(crate) fn through((first, last): (u16, u16), random: u32) -> Self {
        let count = u32::from(last.saturating_sub(first)) + 1;
        // A prime that does not divide the count leads through all of the range. Walks that meet go
        // on by different ways, but for one in four.
        let stride = match random & 3 {
            0 => 769,
            1 => 1039,
            2 => 1543,
            _ => 1777,
        };
        let stride = if count <= Self::MAX_STEPS || count % stride == 0 { 1 } else { stride };
        Self { first: u32::from(first), count, place: pick(random, count), stride, left: count }
    }

    /// A walk through the ports that sockets do not get by themselves.
    #[inline(always)]
    pub(crate) fn above_the_kernels(random: u32) -> Self {
        Self::through(Self::ABOVE, random)
    }

    /// The next port; none when all were visited.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Option<Port> {
        self.left = self.left.checked_sub(1)?;
        let port = self.first + self.place;
        self.place += self.stride;
        if self.place >= self.count {
            self.place -= self.count;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the range's last port")]
        Some(Port::new(port as u16))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_walk_visits_each_port_of_its_range_once() {
        for (first, last) in [(5, 5), (100, 149), (61000, 65534), (1, 1 + 769 * 4), (0, u16::MAX)] {
            for random in [0, 1, 2, 3, 0x1234_5678, u32::MAX] {
                let mut walk = Walk::through((first, last), random);
                let steps: Vec<u16> =
                    core::iter::from_fn(|| walk.step()).take(70_000).map(Port::number).collect();
                let ports: BTreeSet<u16> = steps.iter().copied().collect();
                assert_eq!(steps.len(), usize::from(last - first) + 1);
                assert!(ports.len() == steps.len() && ports.into_iter().eq(first..=last));
            }
        }
    }
}
