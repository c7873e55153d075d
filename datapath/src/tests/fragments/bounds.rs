//! What fragments cost is bounded, in memory and in time.

use maps_schema::{
    address::Family,
    counters::Program,
    drop_reason::DropReason,
    fragment::{MAX_HELD_FRAME, MAX_HELD_PER_DATAGRAM},
};

use super::{CLIENT, SIZE, node, send, to_service, udp};
use crate::{
    fragment::LIFETIME,
    testing::{packet::Packet, stages::Action},
};

#[test]
fn a_datagram_whose_first_fragment_never_comes_costs_a_bounded_number_of_places() {
    for family in [Family::V4, Family::V6] {
        let mut node = node();
        node.fragments.capacity = 1000;
        let (packet, _, _) =
            to_service(family, CLIENT, |source, destination, _| udp(source, destination, 20_000));
        let fragments = packet.fragments(SIZE);
        let count = u64::try_from(fragments.len() - 1).unwrap();
        for fragment in fragments.iter().skip(1) {
            assert_eq!(send(&node, fragment).len(), 1);
        }
        let places = u64::from(MAX_HELD_PER_DATAGRAM);
        assert_eq!(node.fragments.held(), usize::from(MAX_HELD_PER_DATAGRAM));
        assert_eq!(node.drops(Program::TcPodIngress, DropReason::FragmentsFull), count - places);

        node.script.set_time(1000 + u64::from(LIFETIME) + 1);
        send(&node, &fragments[1]);
        assert_eq!(
            node.fragments.held(),
            usize::from(MAX_HELD_PER_DATAGRAM),
            "the oldest made room"
        );
        let results = send(&node, &fragments[0]);
        assert_eq!(results.len(), 2, "those that were too old are not let go");
        assert_eq!(node.fragments.held(), 0);
    }
}

#[test]
fn what_is_known_of_a_datagram_is_forgotten() {
    for family in [Family::V4, Family::V6] {
        let node = node();
        let (packet, action, translated) = to_service(family, CLIENT, udp);
        let fragments = packet.fragments(SIZE);
        send(&node, &fragments[0]);
        node.script.set_time(1000 + u64::from(LIFETIME));
        let second = translated.fragments(SIZE)[1].bytes();
        assert_eq!(send(&node, &fragments[1]), [(action, second)]);
        node.script.set_time(1000 + u64::from(LIFETIME) + 1);
        assert_eq!(send(&node, &fragments[2]), [(Action::Shot, fragments[2].bytes())]);
        assert_eq!(node.fragments.held(), 1);
    }
}

#[test]
fn any_number_of_datagrams_costs_a_bounded_amount_of_memory() {
    let node = node();
    let places = node.fragments.capacity;
    for identification in 0..500 {
        let (packet, _, _) = to_service(Family::V4, CLIENT, udp);
        let fragments = Packet { identification, ..packet }.fragments(SIZE);
        send(&node, &fragments[usize::from(identification % 2)]);
    }
    assert_eq!(node.fragments.held(), places);
    assert_eq!(node.fragments.firsts(), places);
}

#[test]
fn a_frame_that_is_too_long_to_wait_is_dropped_and_counted() {
    let node = node();
    let size = MAX_HELD_FRAME / 8 * 8;
    let (packet, _, _) = to_service(Family::V4, CLIENT, |source, destination, _| {
        udp(source, destination, 3 * MAX_HELD_FRAME)
    });
    let fragments = packet.fragments(size);
    assert_eq!(send(&node, &fragments[1])[0].0, Action::Shot);
    assert_eq!(node.drops(Program::TcPodIngress, DropReason::FragmentsFull), 1);
    assert_eq!(node.fragments.held(), 0);
}
