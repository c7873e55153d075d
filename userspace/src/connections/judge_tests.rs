use std::collections::BTreeMap;

use maps_schema::{
    address::{IfIndex, Ipv4Wire, Mac, Port},
    connection::FlowOrigin,
    service::ServiceId,
    way::NodeId,
};
use proptest::prelude::*;

use super::*;

const CLIENT: [u8; 4] = [192, 168, 0, 2];
const SERVICE: [u8; 4] = [10, 96, 0, 1];
const BACKEND: [u8; 4] = [192, 168, 0, 3];
const GATEWAY: [u8; 4] = [192, 168, 0, 1];
const ELSEWHERE: [u8; 4] = [192, 168, 1, 9];
const NODE: [u8; 4] = [172, 18, 0, 1];
const OUTSIDE: [u8; 4] = [10, 240, 0, 1];

const ESTABLISHED: State = State::SEEN.with(State::ESTABLISHED);
const FIN: State = ESTABLISHED.with(State::FIN);
const RST: State = ESTABLISHED.with(State::RST);

fn at(seconds: u64) -> CoarseTime {
    CoarseTime::from_nanoseconds((1 << 40) + seconds * 1_000_000_000)
}

fn link(number: u32) -> PodLink {
    PodLink { interface: IfIndex::new(number), mac: Mac::from_bytes([2, 0, 0, 0, 0, 1]) }
}

fn flow(from: ([u8; 4], u16), to: ([u8; 4], u16), protocol: Protocol) -> FlowKey<Ipv4Wire> {
    let ((source, source_port), (destination, destination_port)) = (from, to);
    FlowKey::new(
        Ipv4Wire::from_bytes(source),
        Port::new(source_port),
        Ipv4Wire::from_bytes(destination),
        Port::new(destination_port),
        protocol,
    )
}

/// A client pod of this node that reaches a backend pod through a service.
#[derive(Clone, Debug)]
struct Case {
    protocol: Protocol,
    service: ServiceId,
    client: [u8; 4],
    client_seen_as: [u8; 4],
    to: ([u8; 4], u16),
    backend: [u8; 4],
    backend_port: u16,
    way: Way,
    way_back: Way,
    forward: Option<State>,
    reply: Option<State>,
    /// Seconds since each direction was last seen.
    idle: (u64, u64),
    endpoints: Endpoints,
}

const NOW: u64 = 1_000_000;

impl Case {
    fn new(protocol: Protocol, forward: State, reply: State) -> Self {
        let frontend = SocketAddr::from((SERVICE, 80));
        let serving = BTreeSet::from([(BACKEND, 8080).into(), (ELSEWHERE, 8080).into()]);
        Self {
            protocol,
            service: ServiceId(1),
            client: CLIENT,
            client_seen_as: CLIENT,
            to: (SERVICE, 80),
            backend: BACKEND,
            backend_port: 8080,
            way: Way::Pod(link(3)),
            way_back: Way::Pod(link(2)),
            forward: Some(forward),
            reply: Some(reply),
            idle: (0, 0),
            endpoints: Endpoints {
                pods: HashMap::from([(CLIENT.into(), link(2)), (BACKEND.into(), link(3))]),
                pod_cidrs: vec!["192.168.0.0/24".parse().unwrap()],
                udp: HashMap::from([(frontend, Arc::new(serving))]),
                ..Endpoints::default()
            },
        }
    }

    fn entries(&self) -> Vec<(FlowKey<Ipv4Wire>, Connection<Ipv4Wire>)> {
        let origin = |idle| FlowOrigin { service: self.service, born: at(NOW - idle) };
        let to_service = flow((self.client, 4000), self.to, self.protocol);
        let backend = (self.backend, self.backend_port);
        let to_backend = flow((self.client_seen_as, 4000), backend, self.protocol);
        let answers_from = |it: FlowKey<Ipv4Wire>| it.reverse();
        let forward = self.forward.map(|state| {
            let direction = Direction::Forward;
            let origin = origin(self.idle.0);
            let entry = Connection::new(&to_backend, self.way, origin, direction, state);
            (to_service, entry)
        });
        let reply = self.reply.map(|state| {
            let rewritten = answers_from(to_service);
            let origin = origin(self.idle.1);
            let entry = Connection::new(&rewritten, self.way_back, origin, Direction::Reply, state);
            (answers_from(to_backend), entry)
        });
        forward.into_iter().chain(reply).collect()
    }

    /// What is said of the pair, from each of its entries, the way the reaper asks.
    fn verdicts(&self) -> Vec<(bool, bool)> {
        let entries = self.entries();
        let find = |flow: &FlowKey<Ipv4Wire>| {
            entries.iter().find(|(key, _)| key == flow).map(|(_, entry)| *entry)
        };
        let judge = |(flow, entry): &(FlowKey<Ipv4Wire>, Connection<Ipv4Wire>)| {
            let may_be = may_be_over(flow, entry, at(NOW), &self.endpoints);
            let pair = Pair::new(*flow, *entry, find);
            (may_be, pair.removal(at(NOW), &self.endpoints).is_some())
        };
        entries.iter().map(judge).collect()
    }

    fn removal(&self) -> Option<Removal> {
        let entries = self.entries();
        let find = |flow: &FlowKey<Ipv4Wire>| {
            entries.iter().find(|(key, _)| key == flow).map(|(_, entry)| *entry)
        };
        let (flow, entry) = entries[0];
        Pair::new(flow, entry, find).removal(at(NOW), &self.endpoints)
    }

    fn is_reaped(&self) -> bool {
        self.verdicts().into_iter().any(|(may_be, is)| may_be && is)
    }

    fn idle(mut self, forward: u64, reply: u64) -> Self {
        self.idle = (forward, reply);
        self
    }
}

#[test]
fn the_answer_of_an_endpoint_that_no_longer_serves_is_still_translated() {
    let mut case = Case::new(Protocol::UDP, State::SEEN, State::SEEN);
    case.endpoints.udp.clear();
    assert_eq!(case.removal(), Some(Removal::Forward));
    case.endpoints.pods.clear();
    assert_eq!(case.removal(), Some(Removal::Both), "its pod is gone");
}

#[test]
fn each_phase_has_its_patience() {
    let (tcp, udp, sctp) = (Protocol::TCP, Protocol::UDP, Protocol::SCTP);
    let table = [
        ("opening", tcp, State::SEEN, State::NONE, TCP_OPENING),
        ("answered, not acknowledged", tcp, State::SEEN, State::SEEN, TCP_OPENING),
        ("established", tcp, ESTABLISHED, ESTABLISHED, TCP_ESTABLISHED),
        ("closed by the client", tcp, FIN, ESTABLISHED, TCP_HALF_CLOSED),
        ("closed by the backend", tcp, ESTABLISHED, FIN, TCP_HALF_CLOSED),
        ("closed by both", tcp, FIN, FIN, TCP_CLOSED),
        ("reset by the client", tcp, RST, ESTABLISHED, TCP_RESET),
        ("reset by the backend", tcp, ESTABLISHED, RST, TCP_RESET),
        ("refused", tcp, State::SEEN, RST, TCP_RESET),
        ("unanswered", udp, ESTABLISHED, State::NONE, UDP_UNANSWERED),
        ("answered", udp, ESTABLISHED, ESTABLISHED, UDP_ANSWERED),
        ("INIT", sctp, State::SEEN, State::NONE, SCTP_OPENING),
        ("INIT ACK", sctp, State::SEEN, State::SEEN, SCTP_OPENING),
        ("met in mid-stream", sctp, ESTABLISHED, State::NONE, SCTP_MET),
        ("associated", sctp, ESTABLISHED, ESTABLISHED, SCTP_ESTABLISHED),
        ("SHUTDOWN", sctp, FIN, ESTABLISHED, SCTP_CLOSING),
        ("SHUTDOWN ACK", sctp, FIN, FIN, SCTP_CLOSED),
        ("ABORT", sctp, ESTABLISHED, RST, SCTP_CLOSED),
    ];
    // A unit of the entries' time is a little more than a second.
    for (what, protocol, forward, reply, patience) in table {
        let patience = patience.as_secs();
        let case = Case::new(protocol, forward, reply);
        let fresh = case.clone().idle(patience - 2, patience - 2);
        assert!(!fresh.is_reaped(), "{what}: too early");
        let one_side = case.clone().idle(patience + 2, 0);
        assert!(!one_side.is_reaped(), "{what}: one side speaks");
        assert!(case.idle(patience + 2, patience + 2).is_reaped(), "{what}: too late");
    }
}

#[test]
fn half_a_pair_is_a_leftover_soon() {
    for (forward, reply) in [(Some(ESTABLISHED), None), (None, Some(ESTABLISHED))] {
        let mut case = Case::new(Protocol::UDP, State::SEEN, State::SEEN);
        (case.forward, case.reply) = (forward, reply);
        assert!(!case.clone().idle(1, 1).is_reaped(), "it may be in the making");
        assert!(case.idle(40, 40).is_reaped());
    }
}

#[test]
fn half_a_pair_of_an_established_connection_is_a_leftover_soon() {
    let mut case = Case::new(Protocol::TCP, ESTABLISHED, ESTABLISHED).idle(40, 40);
    case.reply = None;
    assert!(!case.is_reaped());
    assert!(case.idle(70, 70).is_reaped());
}

#[test]
fn a_flow_to_a_pod_that_is_gone_or_was_made_anew_is_over_at_once() {
    let case = Case::new(Protocol::TCP, ESTABLISHED, ESTABLISHED);
    assert!(!case.is_reaped());
    for address in [CLIENT, BACKEND] {
        let mut gone = case.clone();
        gone.endpoints.pods.remove(&address.into());
        assert!(gone.is_reaped(), "{address:?} is gone");
        let mut remade = case.clone();
        remade.endpoints.pods.insert(address.into(), link(9));
        assert!(remade.is_reaped(), "{address:?} is another");
    }
}

#[test]
fn a_backend_on_another_node_needs_no_pod_here() {
    let mut case = Case::new(Protocol::TCP, ESTABLISHED, ESTABLISHED);
    (case.backend, case.way) = (ELSEWHERE, Way::Stack);
    assert!(!case.is_reaped());
}

#[test]
fn a_pod_that_reaches_itself_through_the_gateway_is_kept() {
    let mut case = Case::new(Protocol::TCP, ESTABLISHED, ESTABLISHED);
    (case.client_seen_as, case.backend) = (GATEWAY, CLIENT);
    case.way = Way::Pod(link(2));
    assert!(!case.is_reaped());
    case.endpoints.pods.remove(&CLIENT.into());
    assert!(case.is_reaped());
}

#[test]
fn only_udp_flows_end_with_their_endpoint_or_their_service() {
    for (protocol, ends) in [(Protocol::UDP, true), (Protocol::TCP, false), (Protocol::SCTP, false)]
    {
        let mut case = Case::new(protocol, ESTABLISHED, ESTABLISHED);
        assert!(!case.is_reaped(), "it serves, terminating or not");
        for serving in case.endpoints.udp.values_mut() {
            Arc::make_mut(serving).remove(&(BACKEND, 8080).into());
        }
        assert_eq!(case.is_reaped(), ends, "the endpoint is gone");
        case.endpoints.udp.clear();
        assert_eq!(case.is_reaped(), ends, "the service is gone");
    }
}

/// A case with another node, number 2, that has 192.168.1.0/24.
fn beside_another_node(protocol: Protocol) -> Case {
    let mut case = Case::new(protocol, ESTABLISHED, ESTABLISHED);
    let mut ways = Ways { nodes: BTreeSet::from([NodeId(2)]), ..Ways::default() };
    ways.set_networks(&BTreeMap::from([
        ("192.168.1.0/24".parse().unwrap(), Way::Tunnel(NodeId(2))),
        ("0.0.0.0/0".parse().unwrap(), Way::Outside),
    ]));
    case.endpoints.ways = Arc::new(ways);
    case
}

#[test]
fn a_client_off_the_cluster_is_no_pod_that_is_missed() {
    for way_back in [Way::Outside, Way::Stack, Way::Route(NodeId::NONE)] {
        let mut case = beside_another_node(Protocol::TCP);
        (case.client, case.client_seen_as) = (OUTSIDE, GATEWAY);
        case.way_back = way_back;
        assert!(!case.is_reaped(), "{way_back:?}");
        case.endpoints.pods.remove(&BACKEND.into());
        assert!(case.is_reaped(), "its backend is gone");
    }
}

#[test]
fn a_flow_to_a_pod_of_another_node_is_over_when_that_node_does_not_have_it_any_more() {
    for way in [Way::Tunnel(NodeId(2)), Way::Route(NodeId(2))] {
        let mut case = beside_another_node(Protocol::TCP);
        (case.backend, case.way) = (ELSEWHERE, way);
        assert!(!case.is_reaped());
        let mut without_network = case.clone();
        Arc::make_mut(&mut without_network.endpoints.ways).set_networks(&BTreeMap::new());
        assert!(!without_network.is_reaped(), "the node is there, and knows better");
        let mut gone = case.clone();
        Arc::make_mut(&mut gone.endpoints.ways).nodes.clear();
        assert!(gone.is_reaped(), "the node is gone");
        let other = BTreeMap::from([("192.168.1.0/24".parse().unwrap(), Way::Tunnel(NodeId(3)))]);
        Arc::make_mut(&mut case.endpoints.ways).set_networks(&other);
        assert!(case.is_reaped(), "the network is another node's");
    }
}

#[test]
fn a_masqueraded_flow_is_over_when_its_client_is_gone() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
        let mut case = beside_another_node(protocol);
        (case.service, case.client_seen_as, case.way) = (ServiceId::NONE, NODE, Way::Outside);
        (case.backend, case.to) = (OUTSIDE, (OUTSIDE, 8080));
        case.endpoints.udp.clear();
        assert!(!case.is_reaped(), "{protocol:?}");
        case.endpoints.pods.remove(&CLIENT.into());
        assert!(case.is_reaped(), "{protocol:?}: its pod is gone");
    }
}

#[test]
fn an_echo_is_over_soon() {
    let case = Case::new(Protocol::ICMP, ESTABLISHED, ESTABLISHED);
    assert!(!case.clone().idle(28, 28).is_reaped());
    assert!(!case.clone().idle(100, 0).is_reaped(), "it is answered");
    assert!(case.idle(32, 32).is_reaped());
}

/// A flow that another node answers: its answers are not seen.
fn handed_over(protocol: Protocol, forward: State) -> Case {
    let mut case = beside_another_node(protocol);
    (case.client, case.client_seen_as, case.way_back) = (OUTSIDE, OUTSIDE, Way::Outside);
    (case.backend, case.backend_port, case.way) = (SERVICE, 80, Way::Hand(NodeId(2)));
    (case.forward, case.reply) = (Some(forward), Some(State::NONE));
    case
}

#[test]
fn a_flow_that_was_handed_over_is_judged_by_what_the_client_says() {
    let table = [
        ("opening", Protocol::TCP, State::SEEN, TCP_OPENING),
        ("established", Protocol::TCP, ESTABLISHED, TCP_ESTABLISHED),
        ("closed by the client", Protocol::TCP, FIN, TCP_HANDED_CLOSED),
        ("reset", Protocol::TCP, RST, TCP_RESET),
        ("datagrams", Protocol::UDP, ESTABLISHED, UDP_ANSWERED),
    ];
    for (what, protocol, forward, patience) in table {
        let patience = patience.as_secs();
        let case = handed_over(protocol, forward);
        assert!(!case.clone().idle(patience - 2, 90_000).is_reaped(), "{what}: too early");
        assert!(case.idle(patience + 2, 90_000).is_reaped(), "{what}: too late");
    }
}

#[test]
fn a_flow_that_was_handed_over_ends_with_the_endpoints_of_its_node() {
    let mut case = handed_over(Protocol::UDP, ESTABLISHED);
    assert!(!case.is_reaped(), "one serves there");
    for serving in case.endpoints.udp.values_mut() {
        Arc::make_mut(serving).remove(&(ELSEWHERE, 8080).into());
    }
    assert!(case.is_reaped(), "none serves there");
    let mut case = handed_over(Protocol::TCP, ESTABLISHED);
    Arc::make_mut(&mut case.endpoints.ways).nodes.clear();
    assert!(case.is_reaped(), "its node is gone");
}

#[test]
fn what_was_handed_over_to_this_node_is_served_under_any_address() {
    let mut case = Case::new(Protocol::UDP, ESTABLISHED, ESTABLISHED);
    (case.client, case.client_seen_as, case.way_back) = (OUTSIDE, OUTSIDE, Way::Outside);
    case.to = (NODE, 30080);
    assert!(case.is_reaped(), "nobody serves it");
    let serving = Arc::new(BTreeSet::from([(BACKEND, 8080).into()]));
    case.endpoints.udp.insert(SocketAddr::from(([0; 4], 30080)), serving);
    assert!(!case.is_reaped());
}

fn states() -> impl Strategy<Value = State> {
    let bits = [State::SEEN, State::FIN, State::RST, State::ESTABLISHED];
    proptest::sample::subsequence(bits.to_vec(), 0..=4)
        .prop_map(|bits| bits.into_iter().fold(State::NONE, State::with))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn what_is_over_may_be_over_by_one_of_its_entries(
        protocol in proptest::sample::select(vec![Protocol::TCP, Protocol::UDP, Protocol::SCTP]),
        forward in proptest::option::weighted(0.8, states()),
        reply in proptest::option::weighted(0.8, states()),
        idle in (0_u64..90_000, 0_u64..90_000),
        is_recent in any::<bool>(),
        gone in proptest::option::of(0_usize..3),
    ) {
        let mut case = Case::new(protocol, State::NONE, State::NONE);
        (case.forward, case.reply) = (forward, reply);
        let scale = if is_recent { 400 } else { 1 };
        case.idle = (idle.0 / scale, idle.1 / scale);
        match gone {
            Some(0) => case.endpoints.pods.clear(),
            Some(1) => case.endpoints.udp.clear(),
            Some(_) => { case.endpoints.pods.insert(BACKEND.into(), link(9)); }
            None => {}
        }
        let verdicts = case.verdicts();
        let is_over = verdicts.iter().any(|(_, is)| *is);
        prop_assert!(verdicts.iter().all(|(_, is)| *is == is_over), "both say the same");
        prop_assert_eq!(is_over, case.is_reaped(), "{:?}", verdicts);
    }
}
