//! Processors that open the same flow at once, in every order of their steps.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

use maps_schema::{
    address::{IfIndex, Ipv4Wire, Mac, PodLink, Protocol},
    affinity::{Affinity, AffinityKey, AffinityRule},
    clock::{CoarseTime, Moment},
    connection::{Connection, Direction, FlowKey, FlowOrigin, State},
    service::{
        AddressEntry, Backend, ClientAddress, Frontend, FrontendKey, ServiceId, ServiceRecord, Slot,
    },
    way::Way,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    connect::{NotConnected, connect, plan},
    parse::{Facts, Parsed, parse},
    tables::{InsertError, Repeated, Stack, Surroundings, Tables},
    testing::{
        frame::Frame,
        node::{Endpoint, Node},
        packet::{Packet, Transport, Udp},
        surroundings::Script,
        tables::MemoryTables,
    },
    verdict::Opening,
};

/// Tables whose every use waits for its processor's turn.
struct Turns {
    state: Mutex<Order>,
    changed: Condvar,
}

struct Order {
    node: Node,
    /// Whose turn it is; afterwards, everybody's.
    schedule: VecDeque<usize>,
    done: Vec<bool>,
}

/// The tables as one processor sees them.
struct Processor<'a> {
    turns: &'a Turns,
    number: usize,
}

impl Processor<'_> {
    fn step<T>(&self, work: impl FnOnce(&MemoryTables<Ipv4Wire>) -> T) -> T {
        let mut order = self.wait();
        order.schedule.pop_front();
        let result = work(&order.node.v4);
        drop(order);
        self.turns.changed.notify_all();
        result
    }

    fn wait(&self) -> MutexGuard<'_, Order> {
        let guard = self.turns.state.lock().unwrap();
        self.turns
            .changed
            .wait_while(guard, |order| {
                while let Some(&next) = order.schedule.front()
                    && order.done[next]
                {
                    order.schedule.pop_front();
                }
                order.schedule.front().is_some_and(|&next| next != self.number)
            })
            .unwrap()
    }

    fn finish(&self) {
        self.turns.state.lock().unwrap().done[self.number] = true;
        self.turns.changed.notify_all();
    }

    /// What never changes while the flow is opened is read without a turn.
    fn read<T>(&self, work: impl FnOnce(&MemoryTables<Ipv4Wire>) -> T) -> T {
        work(&self.turns.state.lock().unwrap().node.v4)
    }
}

impl Tables<Ipv4Wire> for Processor<'_> {
    fn connection(
        &self,
        flow: &FlowKey<Ipv4Wire>,
        seen: State,
        now: CoarseTime,
    ) -> Option<Connection<Ipv4Wire>> {
        self.step(|tables| tables.connection(flow, seen, now))
    }

    fn peek_connection(&self, flow: &FlowKey<Ipv4Wire>) -> Option<Connection<Ipv4Wire>> {
        self.step(|tables| tables.peek_connection(flow))
    }

    fn insert_connection(
        &self,
        flow: &FlowKey<Ipv4Wire>,
        connection: &Connection<Ipv4Wire>,
    ) -> Result<(), InsertError> {
        self.step(|tables| tables.insert_connection(flow, connection))
    }

    fn remove_connection(&self, flow: &FlowKey<Ipv4Wire>) {
        self.step(|tables| tables.remove_connection(flow));
    }

    fn frontend(&self, key: &FrontendKey<Ipv4Wire>) -> Option<Frontend> {
        self.read(|tables| tables.frontend(key))
    }

    fn service(&self, service: ServiceId) -> Option<ServiceRecord> {
        self.read(|tables| tables.service(service))
    }

    fn backend(&self, slot: Slot) -> Option<Backend> {
        self.read(|tables| Tables::<Ipv4Wire>::backend(tables, slot))
    }

    fn affinity_rule(&self, service: ServiceId) -> Option<AffinityRule> {
        self.read(|tables| Tables::<Ipv4Wire>::affinity_rule(tables, service))
    }

    fn affinity(&self, key: &AffinityKey<Ipv4Wire>) -> Option<Affinity<Ipv4Wire>> {
        self.step(|tables| tables.affinity(key))
    }

    fn remember_affinity(&self, key: &AffinityKey<Ipv4Wire>, value: &Affinity<Ipv4Wire>) {
        self.step(|tables| tables.remember_affinity(key, value));
    }

    fn admits(&self, service: ServiceId, source: Ipv4Wire) -> bool {
        self.read(|tables| tables.admits(service, source))
    }

    fn address(&self, address: Ipv4Wire) -> Option<AddressEntry> {
        self.read(|tables| tables.address(address))
    }

    fn network(&self, address: Ipv4Wire) -> Way {
        self.read(|tables| tables.network(address))
    }

    fn is_source(&self, interface: IfIndex, address: Ipv4Wire) -> bool {
        self.read(|tables| tables.is_source(interface, address))
    }
}

/// A processor's clock and chance, and a node without sockets of its own.
struct Quiet(Script);

impl Surroundings for Quiet {
    fn now(&self) -> CoarseTime {
        self.0.now()
    }

    fn moment(&self) -> Moment {
        self.0.moment()
    }

    fn random(&self) -> u32 {
        self.0.random()
    }

    fn repeat<T: Repeated>(&self, times: u32, repeated: &mut T) {
        self.0.repeat(times, repeated);
    }
}

impl Stack<Ipv4Wire> for Quiet {
    fn bridge_address(&self) -> Ipv4Wire {
        Ipv4Wire::from_bytes([10, 244, 0, 1])
    }

    fn node_address(&self) -> Ipv4Wire {
        Ipv4Wire::default()
    }

    fn uplink_address(&self, _: Ipv4Wire) -> Option<Ipv4Wire> {
        None
    }

    fn has_socket(&self, _: &FlowKey<Ipv4Wire>) -> bool {
        false
    }

    fn masquerade_ports(&self) -> (u16, u16) {
        (1024, u16::MAX)
    }
}

fn open_flow(
    tables: &impl Tables<Ipv4Wire>,
    script: Script,
    service: ServiceId,
    link: PodLink,
) -> Result<(), NotConnected> {
    let (facts, quiet) = (facts(), Quiet(script));
    let opening = Opening::ToService(Frontend::new(service, ClientAddress::Kept));
    let plan = plan(&facts, opening, tables, &quiet)?;
    connect(&facts, &plan, tables, &quiet, Way::Pod(link), |_| {})
}

const CLIENT: [u8; 4] = [10, 244, 0, 2];
const SERVICE: [u8; 4] = [10, 96, 0, 1];

fn facts() -> Facts<Ipv4Wire> {
    let udp = Transport::Udp(Udp::new(4000, 80, Vec::new()));
    let packet = Packet::new(CLIENT.into(), SERVICE.into(), udp);
    match parse(&Frame::new(packet.bytes())) {
        Parsed::Facts(facts) => facts,
        other => panic!("{other:?}"),
    }
}

/// Lets processors open one flow at once; `chance` chooses each one's backend. Returns how many say
/// that it has been opened, and the node.
fn race(schedule: &[usize], chance: &[u32], capacity: usize, hairpin: bool) -> (usize, Node) {
    let mut node = Node::new(capacity);
    let hosts: &[u8] = if hairpin { &[2, 2] } else { &[3, 4] };
    let endpoints: Vec<_> = hosts
        .iter()
        .map(|&host| Endpoint { address: [10, 244, 0, host].into(), port: 8080, way: Way::Stack })
        .collect();
    let service = node.add_service(SERVICE.into(), 80, Protocol::UDP, &endpoints);
    let turns = Turns {
        state: Mutex::new(Order {
            node,
            schedule: schedule.iter().copied().collect(),
            done: vec![false; chance.len()],
        }),
        changed: Condvar::new(),
    };
    let opened = thread::scope(|scope| {
        let threads: Vec<_> = chance
            .iter()
            .enumerate()
            .map(|(number, &random)| {
                let turns = &turns;
                scope.spawn(move || {
                    let processor = Processor { turns, number };
                    let script = Script::new(5, number as u64);
                    script.say(&[random]);
                    let link = PodLink {
                        interface: IfIndex::new(2),
                        mac: Mac::from_bytes([2, 0, 0, 0, 0, 2]),
                    };
                    let opened = open_flow(&processor, script, service, link);
                    processor.finish();
                    opened.is_ok()
                })
            })
            .collect();
        threads.into_iter().filter(|_| true).map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    (opened, turns.state.into_inner().unwrap().node)
}

/// Pairs are whole; and if anybody says that the flow is open, it is.
fn require_order(opened: usize, node: &Node, capacity: usize, story: &str) {
    assert_eq!(node.require_whole_pairs::<Ipv4Wire>(), Ok(()), "{story}");
    let entries = node.v4.connections.borrow().len();
    assert!(entries == 0 || entries == 2, "{entries} entries: {story}");
    if capacity >= 4 {
        assert!(opened > 0 && entries == 2, "{opened} opened, {entries} entries: {story}");
    }
}

#[test]
fn two_processors_leave_one_whole_pair_in_any_order() {
    const STEPS: u32 = 9;
    for bits in 0..1_usize << STEPS {
        let schedule: Vec<_> = (0..STEPS).map(|step| bits >> step & 1).collect();
        for chance in [[0, 0], [0, u32::MAX]] {
            for capacity in [1, 2, 3, 100] {
                let (opened, node) = race(&schedule, &chance, capacity, false);
                let story = format!("{schedule:?} {chance:?}, capacity {capacity}");
                require_order(opened, &node, capacity, &story);
            }
        }
        let (opened, node) = race(&schedule, &[0, 0], 100, true);
        require_order(opened, &node, 100, &format!("{schedule:?}, to itself"));
    }
}

proptest! {
    #[test]
    fn three_processors_leave_one_whole_pair_in_any_order(
        schedule in vec(0..3_usize, 18),
        chance in any::<[bool; 3]>(),
        hairpin in any::<bool>(),
    ) {
        let chance = chance.map(|last| if last { u32::MAX } else { 0 });
        let (opened, node) = race(&schedule, &chance, 100, hairpin);
        require_order(opened, &node, 100, &format!("{schedule:?} {chance:?}"));
    }
}

#[test]
fn an_orphaned_reply_is_used_again() {
    let (_, node) = race(&[], &[0], 100, false);
    let forward = facts().flow;
    let entry = node.v4.peek_connection(&forward).unwrap();
    node.v4.remove_connection(&forward);
    let script = Script::new(9, 1);
    script.say(&[0]);
    let origin = FlowOrigin { service: entry.service(), born: CoarseTime::default() };
    let link = PodLink::default();
    assert_eq!(open_flow(&node.v4, script, origin.service, link), Ok(()));
    assert_eq!(node.require_whole_pairs::<Ipv4Wire>(), Ok(()));
    let made = node.v4.peek_connection(&forward).unwrap();
    assert_eq!(made.direction(), Direction::Forward);
    assert_eq!(made.rewritten(Protocol::UDP), entry.rewritten(Protocol::UDP));
}
