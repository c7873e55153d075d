//! What is measured, and how often: the cells that are worth most, most often.

use std::time::Duration;

use ::tests::contenders::{Contender, Nodes, Routing, Setup, Way};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Workload {
    /// One byte there and back on one TCP connection.
    TcpExchanges,
    /// The same over one connected UDP socket.
    UdpExchanges,
    /// Open, one byte there and back, close.
    Connections,
    /// One TCP connection, filled.
    OneStream,
    /// Eight of them.
    EightStreams,
    /// Small datagrams in one direction.
    Datagrams,
}

impl Workload {
    pub(super) fn turns(self) -> Turns {
        match self {
            Self::TcpExchanges | Self::UdpExchanges | Self::Connections => Turns::Alternating,
            Self::OneStream | Self::EightStreams | Self::Datagrams => Turns::AtOnce,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TcpExchanges => "TCP request-response",
            Self::UdpExchanges => "UDP request-response",
            Self::Connections => "connect-request-close",
            Self::OneStream => "one stream",
            Self::EightStreams => "eight streams",
            Self::Datagrams => "small datagrams",
        }
    }
}

/// Who works when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turns {
    /// Client and server wait for each other.
    Alternating,
    /// Both have work at the same time.
    AtOnce,
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Path {
    Pod,
    Process,
    NodePort,
    AcrossDirect,
    AcrossVxlan,
}

impl Path {
    pub(super) const ALL: [Self; 5] =
        [Self::Pod, Self::Process, Self::NodePort, Self::AcrossDirect, Self::AcrossVxlan];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod, one node",
            Self::Process => "node process",
            Self::NodePort => "NodePort",
            Self::AcrossDirect => "across nodes, direct",
            Self::AcrossVxlan => "across nodes, VXLAN",
        }
    }

    pub(super) fn way(self) -> Way {
        match self {
            Self::Pod => Way::Pod,
            Self::Process => Way::Process,
            Self::NodePort => Way::NodePort,
            Self::AcrossDirect | Self::AcrossVxlan => Way::Across,
        }
    }

    fn nodes(self) -> Nodes {
        match self {
            Self::Pod | Self::Process | Self::NodePort => Nodes::One,
            Self::AcrossDirect => Nodes::Two(Routing::Direct),
            Self::AcrossVxlan => Nodes::Two(Routing::Vxlan),
        }
    }
}

/// A workload on a path, and in how many of the rounds: in each, in every second one, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) path: Path,
    pub(super) workload: Workload,
    pub(super) every: usize,
    /// The numbers of Services that it is measured with.
    services: Vec<u32>,
    /// Who is measured beside the limit.
    contenders: Vec<Contender>,
}

impl Group {
    fn new(path: Path, workload: Workload, every: usize, services: &[u32]) -> Self {
        let services = services.into();
        Self { path, workload, every, services, contenders: Contender::ALL.into() }
    }

    /// As people call it.
    pub(super) fn name(&self) -> String {
        format!("{}, {}", self.path.name(), self.workload.name())
    }

    /// Who takes turns, the limit first.
    pub(super) fn setups(&self) -> Vec<Setup> {
        let mut setups = vec![limit()];
        for contender in self.contenders.iter().copied() {
            let sizes = match contender {
                Contender::Raw => &[][..],
                Contender::Bridge => &[0],
                _ => &self.services,
            };
            let setup =
                |services: &u32| Setup { contender, services: *services, nodes: self.path.nodes() };
            setups.extend(sizes.iter().map(setup));
        }
        setups
    }
}

/// The veth pair that all others are held against.
pub(super) fn limit() -> Setup {
    Setup { contender: Contender::Raw, services: 0, nodes: Nodes::One }
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    pub(super) rounds: usize,
    /// How long a sample takes.
    pub(super) sample: Duration,
}

const FEW: u32 = 10;

impl Plan {
    /// All of it.
    pub(super) fn full() -> Self {
        use Workload::{
            Connections, Datagrams, EightStreams, OneStream, TcpExchanges, UdpExchanges,
        };
        let mut groups = Vec::new();
        let mut add = |path, workload, every, services: &[u32]| {
            groups.push(Group::new(path, workload, every, services));
        };
        add(Path::Pod, Connections, 1, &[FEW, 1_000, 10_000, 30_000]);
        add(Path::Pod, TcpExchanges, 2, &[FEW, 30_000]);
        for workload in [UdpExchanges, OneStream, EightStreams, Datagrams] {
            add(Path::Pod, workload, 2, &[FEW]);
        }
        for path in [Path::Process, Path::NodePort] {
            for workload in [Connections, TcpExchanges, OneStream] {
                add(path, workload, 3, &[FEW]);
            }
        }
        for path in [Path::AcrossDirect, Path::AcrossVxlan] {
            for workload in [Connections, TcpExchanges, UdpExchanges, OneStream] {
                add(path, workload, 3, &[FEW]);
            }
        }
        Self { groups, rounds: 21, sample: Duration::from_millis(400) }
    }

    /// A minute's worth: fewer Services, fewer ways, wider intervals.
    pub(super) fn quick() -> Self {
        let pod =
            |workload, every, services: &[u32]| Group::new(Path::Pod, workload, every, services);
        let mut groups = vec![
            pod(Workload::Connections, 1, &[FEW, 1_000]),
            pod(Workload::TcpExchanges, 2, &[FEW]),
            pod(Workload::OneStream, 2, &[FEW]),
            pod(Workload::Datagrams, 2, &[FEW]),
        ];
        for path in [Path::Process, Path::NodePort, Path::AcrossVxlan] {
            groups.push(Group::new(path, Workload::Connections, 2, &[FEW]));
        }
        Self { groups, rounds: 6, sample: Duration::from_millis(250) }
    }

    /// Leaves out numbers of Services above this one.
    pub(super) fn with_at_most(mut self, services: u32) -> Self {
        for group in &mut self.groups {
            group.services.retain(|size| *size <= services);
        }
        self
    }

    /// Leaves out what has a name without this text.
    pub(super) fn with_only(mut self, text: &str) -> Self {
        self.groups.retain(|group| group.name().contains(text));
        self
    }

    /// Leaves out contenders without any of these texts in their names.
    pub(super) fn with_contenders(mut self, texts: &[String]) -> Self {
        let is_in = |it: &Contender| texts.iter().any(|text| it.name().contains(text));
        for group in &mut self.groups {
            group.contenders.retain(is_in);
        }
        self
    }

    /// What has to stand for it, each once.
    pub(super) fn setups(&self) -> Vec<Setup> {
        let mut setups: Vec<Setup> = self.groups.iter().flat_map(Group::setups).collect();
        setups.sort();
        setups.dedup();
        setups
    }

    /// The groups of a round.
    pub(super) fn of_round(&self, round: usize) -> Vec<Group> {
        self.groups.iter().filter(|group| round.is_multiple_of(group.every)).cloned().collect()
    }

    /// How many samples it has.
    pub(super) fn samples(&self) -> usize {
        let of = |group: &Group| group.setups().len();
        (0..self.rounds).map(|round| self.of_round(round).iter().map(of).sum::<usize>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_plan_takes_less_than_a_quarter_of_an_hour() {
        let plan = Plan::full();
        let samples = u32::try_from(plan.samples()).unwrap();
        // Beside the samples themselves: warming up, and checks.
        let all = (plan.sample + Duration::from_millis(60)) * samples;
        assert!(all < Duration::from_mins(12), "{samples} samples take {all:?}");
    }

    #[test]
    fn every_group_has_the_limit_and_every_contender() {
        for plan in [Plan::full(), Plan::quick()] {
            for group in plan.with_at_most(10).groups {
                let setups = group.setups();
                assert_eq!(setups[0], limit());
                for contender in Contender::ALL {
                    assert!(setups.iter().any(|setup| setup.contender == contender), "{group:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_is_left_out() {
        let texts = ["shunt".to_owned(), "(nft)".to_owned()];
        let plan = Plan::full().with_at_most(10).with_only("NodePort, connect");
        let [group] = plan.with_contenders(&texts).groups.try_into().unwrap();
        assert_eq!(group.name(), "NodePort, connect-request-close");
        let who: Vec<Contender> = group.setups().iter().map(|setup| setup.contender).collect();
        assert_eq!(who, [Contender::Raw, Contender::IptablesNft, Contender::Shunt]);
    }
}
