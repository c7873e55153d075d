//! Whatever the tables hold and whatever comes: entries stay in pairs, nothing is lost without being
//! counted, what passes is unchanged, and a right checksum stays right.

mod world;

use datapath::{
    fragment::FragmentFamily,
    parse::{Facts, Parsed, Transport, parse},
    reap::reap,
    tables::Tables,
    testing::{
        checksum::verify,
        frame::Frame,
        node::{Node, NodeFamily},
        stages::{self, Action, Hook},
    },
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    counters::Program,
    reap::ReapRequest,
};

use self::world::{Event, event, world};
use super::{bytes::Bytes, frames};
use crate::packets::machine::hex;

/// As many packets as one input may send.
const MAX_EVENTS: usize = 48;

/// The packet fixtures, each with its packets in order.
pub fn seeds() -> Vec<Vec<u8>> {
    frames::of_fixtures().map(|packets| world::encode(&packets)).collect()
}

/// The input is a node's tables, and what happens there.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let node = world(&mut bytes);
    let mut time = 1000;
    for _ in 0..MAX_EVENTS {
        if bytes.is_empty() {
            return;
        }
        match event(&mut bytes) {
            Event::Time(passed) => {
                time += u64::from(passed);
                node.script.set_time(time);
            }
            Event::Chance(number) => node.script.say(&[number]),
            Event::Reaper(number) => {
                let number = usize::from(number);
                reap_one::<Ipv4Wire>(&node, number);
                reap_one::<Ipv6Wire>(&node, number);
            }
            Event::Packet(hook, frame) => meet(&node, hook, &frame),
        }
        assert_eq!(node.require_whole_pairs::<Ipv4Wire>(), Ok(()), "an entry without its mate");
        assert_eq!(node.require_whole_pairs::<Ipv6Wire>(), Ok(()), "an entry without its mate");
    }
}

/// The agent finds a flow to be over.
fn reap_one<A: NodeFamily>(node: &Node, number: usize) {
    let tables = A::tables(node);
    let flows: Vec<_> = tables.connections.borrow().keys().copied().collect();
    let Some(flow) = flows.get(number % flows.len().max(1)) else { return };
    let entry = tables.peek_connection(flow).expect("an entry of the table");
    let mate = tables.peek_connection(&entry.rewritten(flow.protocol()).reverse());
    let request = ReapRequest::new(flow, &entry, mate.as_ref(), ReapRequest::BOTH);
    assert!(reap(&request, tables), "nothing was seen of it since");
    assert_eq!(tables.peek_connection(flow), None);
}

/// What of a node changes with a packet.
#[derive(PartialEq, Eq)]
struct Counts {
    drops: u64,
    held: usize,
}

fn counts(node: &Node) -> Counts {
    Counts { drops: node.drops.borrow().values().sum(), held: node.fragments.held() }
}

fn meet(node: &Node, hook: Hook, frame: &Frame) {
    let before = counts(node);
    let was_known = is_known(node, frame);
    let mut after = frame.clone();
    let action = stages::run(&mut after, node, hook);
    let is_known = was_known || is_known(node, frame);
    let counted = counts(node).drops - before.drops;
    let (old, new) = (frame.bytes(), after.bytes());
    let context = || format!("{action:?} by {hook:?}: {} became {}", hex(old), hex(new));
    match action {
        // A later fragment waits for its first one, perhaps in the place of another.
        Action::Shot if counted == 0 => {
            assert!(is_fragment(frame), "dropped, and not counted: {}", context());
        }
        Action::Shot | Action::Back(_) => assert_eq!(counted, 1, "{}", context()),
        _ => assert_eq!(counted, 0, "counted, and not dropped: {}", context()),
    }
    if action == Action::Ok && !is_known {
        assert_eq!(new, old, "passed, and not unchanged: {}", context());
    }
    if action != Action::Shot {
        require_right_checksums(frame, &after, context);
        require_fewer_hops(hook, action, frame, &after, context);
    }
}

/// Whether a packet is of a flow with entries, or may be an error about one.
fn is_known(node: &Node, frame: &Frame) -> bool {
    fn known<A: NodeFamily>(node: &Node, frame: &Frame) -> bool {
        facts::<A>(frame).is_some_and(|facts| {
            facts.transport == Transport::IcmpError
                || A::tables(node).peek_connection(&facts.flow).is_some()
        })
    }
    match frame.bytes().get(12) {
        // A fragment's ports are its first one's.
        _ if is_fragment(frame) => true,
        Some(0x08) => known::<Ipv4Wire>(node, frame),
        _ => known::<Ipv6Wire>(node, frame),
    }
}

fn facts<A: NodeFamily>(frame: &Frame) -> Option<Facts<A>> {
    match parse::<A>(frame) {
        Parsed::Facts(facts) => Some(facts),
        Parsed::NotOurs | Parsed::Malformed => None,
    }
}

fn is_fragment(frame: &Frame) -> bool {
    match frame.bytes().get(12) {
        Some(0x08) => Ipv4Wire::fragment(frame).is_some(),
        _ => Ipv6Wire::fragment(frame).is_some(),
    }
}

/// An error quotes the packet that it is about, and its checksum is whole: where the packet's own was
/// still to be filled in, its sender is a pod, which trusts what it gets.
fn require_right_checksums(before: &Frame, after: &Frame, context: impl Fn() -> String) {
    if is_fragment(before) || verify(&before.completed()).is_err() {
        return;
    }
    let is_quoted = after.bytes().len() > before.bytes().len();
    let bytes = if is_quoted { after.bytes().to_vec() } else { after.completed() };
    assert_eq!(verify(&bytes), Ok(()), "{}", context());
}

/// What is forwarded has one hop less to go, and had more than one.
fn require_fewer_hops(
    hook: Hook,
    action: Action,
    before: &Frame,
    after: &Frame,
    context: impl Fn() -> String,
) {
    let is_own = matches!(hook.program, Program::TcBridgeEgress | Program::TcUplinkEgress);
    if is_own || matches!(action, Action::Ok | Action::Back(_)) || before.bytes() == after.bytes() {
        return;
    }
    let place = if before.bytes()[12] == 0x08 { 22 } else { 21 };
    let (old, new) = (before.bytes()[place], after.bytes()[place]);
    assert!(old > 1, "a packet at the end of its way: {}", context());
    assert_eq!(new, old - 1, "{}", context());
}
