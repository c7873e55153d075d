//! Whether a flow's entries are to be kept: pure.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use maps_schema::{
    address::{Address, PodLink, Protocol},
    clock::CoarseTime,
    connection::{Connection, Direction, FlowKey, State},
    service::ServiceId,
    way::{NodeId, Way},
};

use crate::sync::ways::Ways;

/// A TCP connection that is being made.
const TCP_OPENING: Duration = Duration::from_mins(1);
/// A TCP connection that is established and says nothing: `nf_conntrack_tcp_timeout_established` as
/// kube-proxy sets it.
const TCP_ESTABLISHED: Duration = Duration::from_hours(24);
/// A TCP connection that one side has closed: `tcp_timeout_close_wait` as kube-proxy sets it.
const TCP_HALF_CLOSED: Duration = Duration::from_hours(1);
/// A TCP connection that both sides have closed: late segments are still translated.
const TCP_CLOSED: Duration = Duration::from_secs(30);
/// A TCP connection that was handed over and that the client has closed: what the backend says is
/// not seen. The kernel's IPVS waits as long (`FIN_WAIT` in `ip_vs_proto_tcp.c`).
const TCP_HANDED_CLOSED: Duration = Duration::from_mins(2);
/// A TCP connection that was reset.
const TCP_RESET: Duration = Duration::from_secs(10);
/// A UDP flow without an answer (`nf_conntrack_udp_timeout`).
const UDP_UNANSWERED: Duration = Duration::from_secs(30);
/// A UDP flow with answers (`nf_conntrack_udp_timeout_stream`).
const UDP_ANSWERED: Duration = Duration::from_mins(3);
/// An SCTP association that is being made (`nf_conntrack_sctp_timeout_cookie_wait`).
const SCTP_OPENING: Duration = Duration::from_secs(3);
/// An association that was met in mid-stream, without an answer
/// (`nf_conntrack_sctp_timeout_heartbeat_sent`).
const SCTP_MET: Duration = Duration::from_secs(30);
/// An association that is established (`nf_conntrack_sctp_timeout_established`): its ends send
/// HEARTBEATs every half minute.
const SCTP_ESTABLISHED: Duration = Duration::from_secs(210);
/// An association that is being shut down (`nf_conntrack_sctp_timeout_shutdown_sent`).
const SCTP_CLOSING: Duration = Duration::from_secs(3);
/// An association that is over (`nf_conntrack_sctp_timeout_closed`).
const SCTP_CLOSED: Duration = Duration::from_secs(10);

/// An ICMP echo (`nf_conntrack_icmp_timeout`).
const ECHO: Duration = Duration::from_secs(30);

/// How long a TCP entry may say nothing before it is looked whether the other is still there.
const TCP_ALONE: Duration = Duration::from_mins(1);
/// Longer than it takes to make both entries.
const HALF_MADE: Duration = Duration::from_secs(3);

/// What a connection's fate depends on beside its entries.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// The pods of this node and the ways to them.
    pub pods: HashMap<IpAddr, PodLink>,
    /// The pod CIDRs of this node: an address in them that is no pod's leads nowhere.
    pub pod_cidrs: Vec<IpNet>,
    /// Which ways lead where.
    pub ways: Arc<Ways>,
    /// The endpoints that serve, of every UDP frontend. The unspecified address stands for every
    /// node's, in what other nodes hand over.
    pub udp: HashMap<SocketAddr, Serving>,
    /// Where the network namespaces of pods are whose sockets are translated.
    pub pod_namespaces: Vec<PathBuf>,
}

/// Endpoints that serve.
pub type Serving = Arc<BTreeSet<SocketAddr>>;

/// A UDP frontend's address, and the endpoints of it that serve; none where it is no more.
pub type UdpFrontend = (SocketAddr, Option<Serving>);

/// What has changed of [`Endpoints`].
#[derive(Clone, Debug, Default)]
pub struct EndpointsUpdate {
    /// All pods of this node.
    pub pods: HashMap<IpAddr, PodLink>,
    /// All pod CIDRs of this node.
    pub pod_cidrs: Vec<IpNet>,
    /// Which ways lead where.
    pub ways: Arc<Ways>,
    /// The UDP frontends that have changed, in the order of the changes.
    pub udp: Vec<UdpFrontend>,
    /// Where the network namespaces of all pods are whose sockets are translated.
    pub pod_namespaces: Vec<PathBuf>,
}

impl Endpoints {
    /// Takes note of what has changed. Returns whether anything is otherwise than it was.
    pub fn update(&mut self, update: EndpointsUpdate) -> bool {
        let EndpointsUpdate { pods, pod_cidrs, ways, udp, pod_namespaces } = update;
        let mut is_news = !udp.is_empty()
            || self.pods != pods
            || self.pod_cidrs != pod_cidrs
            || self.pod_namespaces != pod_namespaces;
        is_news |= !Arc::ptr_eq(&self.ways, &ways) && self.ways != ways;
        (self.pods, self.pod_cidrs, self.pod_namespaces) = (pods, pod_cidrs, pod_namespaces);
        self.ways = ways;
        for (frontend, serving) in udp {
            match serving {
                Some(serving) => self.udp.insert(frontend, serving),
                None => self.udp.remove(&frontend),
            };
        }
        is_news
    }
}

/// How a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No answer was seen.
    New,
    /// Both sides speak.
    Established,
    /// One side has ended it.
    Closing,
    /// Both sides have ended it, or one has reset it.
    Closed,
}

/// What of a flow's entries is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Both.
    Both,
    /// The client's direction's.
    Forward,
}

/// Both entries of a flow, as far as they are there.
#[derive(Clone, Copy, Debug)]
pub struct Pair<A> {
    /// The client's direction.
    pub flow: FlowKey<A>,
    /// Its entry.
    pub forward: Option<Connection<A>>,
    /// The backend's direction's entry.
    pub reply: Option<Connection<A>>,
}

impl<A: Address> Pair<A> {
    /// Both entries, from one of them and a way to find the other.
    pub fn new(
        flow: FlowKey<A>,
        entry: Connection<A>,
        find: impl Fn(&FlowKey<A>) -> Option<Connection<A>>,
    ) -> Self {
        let mate_flow = entry.rewritten(flow.protocol()).reverse();
        // An entry that leads elsewhere belongs to another flow.
        let mate =
            find(&mate_flow).filter(|mate| mate.rewritten(flow.protocol()).reverse() == flow);
        match entry.direction() {
            Direction::Forward => Self { flow, forward: Some(entry), reply: mate },
            Direction::Reply => Self { flow: mate_flow, forward: mate, reply: Some(entry) },
        }
    }

    /// How the flow stands.
    pub fn phase(&self) -> Phase {
        let state = |entry: Option<Connection<A>>| entry.map_or(State::NONE, |entry| entry.state());
        let (forward, reply) = (state(self.forward), state(self.reply));
        if forward.contains(State::RST) || reply.contains(State::RST) {
            return Phase::Closed;
        }
        match (forward.is_closing(), reply.is_closing()) {
            (true, true) => Phase::Closed,
            (true, false) | (false, true) => Phase::Closing,
            (false, false)
                if forward.contains(State::ESTABLISHED)
                    && (reply.contains(State::SEEN) || self.is_handed_over()) =>
            {
                Phase::Established
            }
            (false, false) => Phase::New,
        }
    }

    /// How long ago the last packet was seen.
    pub fn idle(&self, now: CoarseTime) -> Duration {
        [self.forward, self.reply]
            .into_iter()
            .flatten()
            .map(|entry| now.since(entry.last_seen))
            .min()
            .unwrap_or_default()
    }

    /// Whether another node answers the client, so that no answer is seen.
    fn is_handed_over(&self) -> bool {
        self.forward.is_some_and(|forward| matches!(forward.way(), Way::Hand(_)))
    }

    /// Whether the first packet that was seen was not the client's first.
    fn was_met(&self) -> bool {
        self.forward.is_some_and(|forward| forward.state().contains(State::ESTABLISHED))
    }

    fn was_reset(&self) -> bool {
        [self.forward, self.reply]
            .into_iter()
            .flatten()
            .any(|entry| entry.state().contains(State::RST))
    }

    /// What of the flow's entries is to be removed, if anything.
    ///
    /// A UDP flow whose endpoint no longer serves goes to another one with its next datagram; the
    /// answer to the last one may still be on its way.
    pub fn removal(&self, now: CoarseTime, endpoints: &Endpoints) -> Option<Removal> {
        if self.is_over(now) || self.has_lost_an_end(endpoints) {
            Some(Removal::Both)
        } else {
            self.is_unserved(endpoints).then_some(Removal::Forward)
        }
    }

    fn is_over(&self, now: CoarseTime) -> bool {
        let limit = match (self.flow.protocol(), self.phase()) {
            // One alone is a leftover of a race.
            _ if let (Some(entry), None) | (None, Some(entry)) = (self.forward, self.reply) => {
                patience(self.flow.protocol(), entry.state())
            }
            (Protocol::TCP, Phase::New) => TCP_OPENING,
            (Protocol::TCP, Phase::Established) => TCP_ESTABLISHED,
            (Protocol::TCP, Phase::Closing) if self.is_handed_over() => TCP_HANDED_CLOSED,
            (Protocol::TCP, Phase::Closing) => TCP_HALF_CLOSED,
            (Protocol::TCP, Phase::Closed) if self.was_reset() => TCP_RESET,
            (Protocol::TCP, Phase::Closed) => TCP_CLOSED,
            (Protocol::SCTP, Phase::New) if self.was_met() => SCTP_MET,
            (Protocol::SCTP, Phase::New) => SCTP_OPENING,
            (Protocol::SCTP, Phase::Established) => SCTP_ESTABLISHED,
            (Protocol::SCTP, Phase::Closing) => SCTP_CLOSING,
            (Protocol::SCTP, Phase::Closed) => SCTP_CLOSED,
            (Protocol::ICMP | Protocol::ICMPV6, _) => ECHO,
            (_, Phase::Established) => UDP_ANSWERED,
            (_, _) => UDP_UNANSWERED,
        };
        self.idle(now) >= limit
    }

    /// Whether an end of the flow is a pod of this node that is no more, or is another one.
    fn has_lost_an_end(&self, endpoints: &Endpoints) -> bool {
        let ends = [self.forward, self.reply];
        ends.into_iter().flatten().any(|entry| endpoints.is_gone(&entry))
    }

    /// Whether it is a UDP flow to an endpoint that no longer serves.
    fn is_unserved(&self, endpoints: &Endpoints) -> bool {
        let Some(forward) = self.forward else {
            return false;
        };
        if self.flow.protocol() != Protocol::UDP || forward.service() == ServiceId::NONE {
            return false;
        }
        let frontend = socket(self.flow.destination, self.flow.destination_port.number());
        let Some(serving) = endpoints.serving(frontend) else {
            return true;
        };
        if let Way::Hand(node) = forward.way() {
            let is_there =
                |endpoint: &SocketAddr| endpoints.ways.node_of(endpoint.ip()) == Some(node);
            return !serving.iter().any(is_there);
        }
        !serving.contains(&socket(forward.destination, forward.destination_port.number()))
    }
}

/// Whether an entry by itself says that its flow may be over, so that the other is worth looking
/// up. Each of a flow's entries is asked, so that it is enough for one of them to say so.
pub fn may_be_over<A: Address>(
    flow: &FlowKey<A>,
    entry: &Connection<A>,
    now: CoarseTime,
    endpoints: &Endpoints,
) -> bool {
    entry.state().is_closing()
        || now.since(entry.last_seen) >= patience(flow.protocol(), entry.state())
        || endpoints.is_gone(entry)
        || Pair::new(*flow, *entry, |_| None).is_unserved(endpoints)
}

/// How long an entry may say nothing before the other is worth looking up: no flow of two entries
/// is over sooner, unless an entry is closing.
fn patience(protocol: Protocol, state: State) -> Duration {
    match protocol {
        Protocol::TCP if state.contains(State::ESTABLISHED) => TCP_ALONE,
        Protocol::SCTP if state.contains(State::ESTABLISHED) => SCTP_MET,
        Protocol::UDP if state.contains(State::SEEN) => UDP_UNANSWERED,
        Protocol::ICMP | Protocol::ICMPV6 if state.contains(State::SEEN) => ECHO,
        _ => HALF_MADE,
    }
}

impl Endpoints {
    /// Whether the end that an entry leads to is gone, or the way to it: a pod of this node, or the
    /// node that has the pod. What is off the cluster is not known to be gone.
    fn is_gone<A: Address>(&self, entry: &Connection<A>) -> bool {
        let address = entry.destination.ip();
        match (entry.way(), self.pods.get(&address)) {
            // The address is the service's.
            (Way::Hand(node), _) => !self.ways.is_node(node),
            (way, Some(&link)) => way != Way::Pod(link),
            (Way::Pod(_), None) => true,
            (Way::Tunnel(node) | Way::Route(node), None) if node != NodeId::NONE => {
                !self.ways.is_node(node)
                    || self.ways.node_of(address).is_some_and(|other| other != node)
            }
            (_, None) => self.is_no_pods(address),
        }
    }

    /// The endpoints that serve a UDP frontend.
    pub(super) fn serving(&self, frontend: SocketAddr) -> Option<&Serving> {
        let any = match frontend.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let handed = || self.udp.get(&SocketAddr::new(any, frontend.port()));
        self.udp.get(&frontend).or_else(handed)
    }

    /// Whether an address is one that this node gives to pods, and no pod's.
    pub(super) fn is_no_pods(&self, address: IpAddr) -> bool {
        !self.pods.contains_key(&address)
            && self
                .pod_cidrs
                .iter()
                .any(|cidr| cidr.contains(&address) && !is_gateway(cidr, address))
    }
}

/// The bridge's own address: a pod that reaches itself is answered through it.
fn is_gateway(cidr: &IpNet, address: IpAddr) -> bool {
    crate::podnet::gateway_of(*cidr).is_some_and(|gateway| gateway.addr() == address)
}

/// An address and port as the standard library knows them.
pub(super) fn socket<A: Address>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.ip(), port)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
