//! How often a packet's path asks and changes maps: counted by the tables that native code works on,
//! and stated on the page of benchmarks.

use std::fmt::Write as _;

use datapath::testing::{
    frame::Frame,
    node::Node,
    stages::{self, Hook},
};
use maps_schema::{
    address::{Family, IfIndex, Protocol},
    counters::Program,
};
use tests::measure::{
    cases::{Case, Flows, Place, Stream, Table, all},
    world::{link, node},
};

const PAGE: &str = include_str!("../../../docs/benchmarks/programs.md");

/// What native code has the stages of. What `xdp_ingress` decides, it decides by the functions of
/// `tc_uplink_ingress`.
fn is_native(case: &Case) -> bool {
    !matches!(case.stream.program, Program::XdpIngress | Program::TcOverlayEgress)
}

/// Takes the first flow's packet through its program.
fn run(node: &Node, stream: &Stream) {
    let interface = match stream.place {
        Place::Pod(number) => link(number).interface,
        Place::Uplink => IfIndex::new(1),
    };
    let hook = Hook { program: stream.program, interface, handed: false };
    stages::run(&mut Frame::new(stream.frame()), node, hook);
}

fn count(case: &Case, opening: Option<&Stream>) -> String {
    let node = node(100);
    if let Some(stream) = opening {
        run(&node, stream);
    }
    let take = || match case.family {
        Family::V4 => node.v4.accesses.take(),
        Family::V6 => node.v6.accesses.take(),
    };
    take();
    run(&node, &case.stream);
    take().to_string()
}

/// What each path costs by TCP and by UDP, in the order of the cases: the same in both families.
fn count_all() -> Vec<(String, [String; 2])> {
    let warm: Vec<Case> =
        all().into_iter().filter(|case| case.table == Table::Warm && is_native(case)).collect();
    let mut counted: Vec<(String, [String; 2])> = Vec::new();
    for (index, case) in warm.iter().enumerate() {
        let opening = match &case.flows {
            Flows::Unknown => None,
            Flows::OpenedBy(stream) => Some(&**stream),
            Flows::OfTheCaseBefore => warm.get(index - 1).map(|before| &before.stream),
        };
        let path = format!("`{}` | {}", case.stream.program.name(), case.what);
        let accesses = count(case, opening);
        let protocol = usize::from(case.protocol != Protocol::TCP);
        match counted.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) if known[protocol].is_empty() => known[protocol] = accesses,
            Some((_, known)) => assert_eq!(known[protocol], accesses, "{case}: in both families"),
            None => {
                let mut both = [String::new(), String::new()];
                both[protocol] = accesses;
                counted.push((path, both));
            }
        }
    }
    counted
}

#[test]
fn the_page_states_how_often_each_path_asks_maps() {
    let mut table = String::from("| program | packet | TCP | UDP |\n|---|---|---|---|\n");
    for (path, [tcp, udp]) in count_all() {
        let udp = if udp == tcp { "the same" } else { &udp };
        let _ = writeln!(table, "| {path} | {tcp} | {udp} |");
    }
    assert!(PAGE.contains(&table), "docs/benchmarks/programs.md should have this:\n\n{table}");
}

/// What the design promises.
#[test]
fn a_known_flow_costs_one_lookup_and_a_new_one_two_entries() {
    let counted = count_all();
    let of = |path: &str| {
        let found = counted.iter().find(|(known, _)| known == path);
        let (_, [_, udp]) = found.unwrap_or_else(|| panic!("no such path: {path}"));
        udp.as_str()
    };
    assert_eq!(of("`tc_pod_ingress` | established, request"), "1 Sources, 1 Connections");
    assert_eq!(of("`tc_uplink_ingress` | established"), "1 Connections");
    assert_eq!(
        of("`tc_uplink_ingress` | new"),
        "1 Connections, 2 Connections added, 1 Frontends, 1 Services, 1 Slots, 1 Backends, 1 \
         Networks"
    );
}
