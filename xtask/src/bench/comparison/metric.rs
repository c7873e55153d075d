//! What a sample tells.

use super::plan::Workload;

/// A figure that a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Metric {
    /// How much of it was done in a second.
    Rate,
    /// How long the first packet of a flow and its answer took: half of all flows were as quick.
    FirstPacketMedian,
    /// The same of 99 in a hundred.
    FirstPacketTail,
}

impl Metric {
    /// As tables call it.
    pub(super) fn name(self, workload: Workload) -> &'static str {
        match self {
            Self::Rate => workload.name(),
            Self::FirstPacketMedian => "first packet, p50",
            Self::FirstPacketTail => "first packet, p99",
        }
    }

    /// What it is counted in.
    pub(super) fn unit(self, workload: Workload) -> &'static str {
        match (self, workload) {
            (Self::FirstPacketMedian | Self::FirstPacketTail, _) => "us",
            (Self::Rate, Workload::OneStream | Workload::EightStreams) => "Gbit/s",
            (Self::Rate, _) => "1/s",
        }
    }

    /// Whether more of it is better.
    pub(super) fn better(self) -> Better {
        match self {
            Self::Rate => Better::More,
            Self::FirstPacketMedian | Self::FirstPacketTail => Better::Less,
        }
    }
}

/// Which way is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}
