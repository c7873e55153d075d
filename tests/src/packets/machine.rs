//! Running a case, on whatever machine, and comparing with its table.

use std::collections::BTreeMap;

use datapath::testing::packet::{Packet, Transport};
use maps_schema::{
    address::{Address, PodLink, Port},
    affinity::{Affinity, AffinityKey},
    connection::{Connection, FlowKey},
    counters::{Program, ServiceCounters, drop_counter_index},
    service::ServiceId,
};

use super::{
    fixture::{CHOSEN, Expected, Fixture, Input, Memory, Step},
    world,
};

/// What a program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `TC_ACT_OK`.
    Ok,
    /// `TC_ACT_SHOT`.
    Shot,
    /// `TC_ACT_REDIRECT`.
    Redirect,
}

/// Something that runs the programs.
pub trait Machine {
    /// Runs a program on a frame; returns what it returns, where it sends the frame if that can be
    /// told, and what the frame has become.
    fn run(&mut self, program: Program, frame: &[u8]) -> (Code, Option<u32>, Vec<u8>);
    /// Remembers a client.
    fn remember(&mut self, memory: &Memory);
    /// The drop counters that are not zero.
    fn drops(&self) -> BTreeMap<u32, u64>;
    /// The service counters that are not zero.
    fn counters(&self) -> BTreeMap<ServiceId, ServiceCounters>;
    /// Every connection entry, as [`entry`] writes it.
    fn entries(&self) -> Vec<String>;
    /// Every client that is remembered, as [`regular`] writes it.
    fn regulars(&self) -> Vec<String>;
}

/// What can be compared between machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    codes: Vec<String>,
    frames: Vec<Vec<u8>>,
    drops: BTreeMap<u32, u64>,
    counters: BTreeMap<ServiceId, ServiceCounters>,
    entries: Vec<String>,
    regulars: Vec<String>,
}

/// A connection entry without its times, chosen ports replaced by [`CHOSEN`].
pub fn entry<A: Address>(flow: &FlowKey<A>, connection: &Connection<A>) -> String {
    let side = |address: A, port: Port| {
        let port = match port.number() {
            61000.. => CHOSEN,
            port => port,
        };
        format!("{} {port}", address.ip())
    };
    let show = |flow: &FlowKey<A>| {
        format!(
            "{} to {}",
            side(flow.source, flow.source_port),
            side(flow.destination, flow.destination_port)
        )
    };
    format!(
        "{} {}: {} by {:?}, {:?} {:?} of {:?}",
        flow.protocol().number(),
        show(flow),
        show(&connection.rewritten(flow.protocol())),
        connection.way(),
        connection.direction(),
        connection.state(),
        connection.service(),
    )
}

/// A client that is remembered, and its endpoint; not since when.
pub fn regular<A: Address>(client: &AffinityKey<A>, affinity: &Affinity<A>) -> String {
    format!("{client:?}: {} {}", affinity.address.ip(), affinity.port.number())
}

/// Runs a case. Panics where it does not go as its table says.
pub fn run(fixture: &Fixture, machine: &mut dyn Machine) -> Observed {
    for memory in &fixture.memories {
        machine.remember(memory);
    }
    let mut observed = Observed::default();
    let mut expected_drops: BTreeMap<u32, u64> = BTreeMap::new();
    let mut packets = 0;
    let mut bytes = 0;
    let mut chosen = CHOSEN;
    for (number, step) in fixture.steps.iter().enumerate() {
        let place = format!("{}, packet {number}", fixture.name);
        let Step { program, input, expected } = step;
        let input = match input {
            Input::Packet(packet) => with_chosen(packet, chosen).bytes(),
            Input::Bytes(bytes) => bytes.clone(),
        };
        let (code, to, frame) = machine.run(*program, &input);
        let (expected_code, expected_to, output) = outcome(expected);
        assert_eq!(code, expected_code, "{place}: the result");
        if to.is_some() {
            assert_eq!(to, expected_to.map(|link| link.interface.get()), "{place}: the way out");
        }
        match output {
            None => assert_eq!(frame, input, "{place}: the bytes have changed"),
            Some(output) => {
                if let Some(port) = chosen_port(output, &frame) {
                    assert!((61000..CHOSEN).contains(&port), "{place}: chose port {port}");
                    chosen = port;
                }
                let wanted = with_chosen(output, chosen).bytes();
                assert_eq!(hex(&frame), hex(&wanted), "{place}: the packet\n{output:#?}");
            }
        }
        let reasons = match expected {
            Expected::Refuse { reason, .. } => vec![*reason],
            Expected::Drop { reasons } => reasons.clone(),
            _ => Vec::new(),
        };
        for reason in reasons {
            *expected_drops.entry(drop_counter_index(*program, reason)).or_default() += 1;
        }
        assert_eq!(machine.drops(), expected_drops, "{place}: the drop counters");
        if matches!(expected, Expected::Translate { .. }) {
            packets += 1;
            bytes += u64::try_from(frame.len()).expect("a frame is short");
        }
        observed.codes.push(format!("{code:?}"));
        observed.frames.push(without_chosen(output, frame));
    }
    observed.drops = machine.drops();
    observed.counters = machine.counters();
    observed.entries = machine.entries();
    observed.entries.sort();
    observed.regulars = machine.regulars();
    observed.regulars.sort();
    let total = observed.counters.values().fold((0, 0), |(packets, bytes), counters| {
        (packets + counters.packets, bytes + counters.bytes)
    });
    assert_eq!(total, (packets, bytes), "{}: packets and bytes of services", fixture.name);
    assert_eq!(
        observed.entries.len(),
        fixture.entries,
        "{}: {:#?}",
        fixture.name,
        observed.entries
    );
    observed
}

/// The result, the way out, and what the packet becomes.
fn outcome(expected: &Expected) -> (Code, Option<PodLink>, Option<&Packet>) {
    match expected {
        Expected::Pass => (Code::Ok, None, None),
        Expected::Deliver { to } => (Code::Redirect, Some(world::link(*to)), None),
        Expected::Translate { output, to: None } | Expected::Forward { output, to: None } => {
            (Code::Ok, None, Some(output))
        }
        Expected::Translate { output, to: Some(to) }
        | Expected::Forward { output, to: Some(to) } => {
            (Code::Redirect, Some(world::link(*to)), Some(output))
        }
        Expected::Refuse { output, .. } => {
            (Code::Redirect, Some(world::link(world::CLIENT)), Some(output))
        }
        Expected::Drop { .. } => (Code::Shot, None, None),
    }
}

fn ports(transport: &mut Transport) -> Option<[&mut u16; 2]> {
    match transport {
        Transport::Tcp(tcp) => Some([&mut tcp.source_port, &mut tcp.destination_port]),
        Transport::Udp(udp) => Some([&mut udp.source_port, &mut udp.destination_port]),
        Transport::Sctp(sctp) => Some([&mut sctp.source_port, &mut sctp.destination_port]),
        Transport::Icmp { .. } | Transport::Raw { .. } => None,
    }
}

fn with_chosen(packet: &Packet, chosen: u16) -> Packet {
    let mut packet = packet.clone();
    for port in ports(&mut packet.transport).into_iter().flatten() {
        if *port == CHOSEN {
            *port = chosen;
        }
    }
    packet
}

/// The source port in a frame whose description leaves it open.
fn chosen_port(output: &Packet, frame: &[u8]) -> Option<u16> {
    let [source, _] = ports(&mut output.transport.clone()).map(|[one, other]| [*one, *other])?;
    let place = output.transport_offset();
    match (source, frame.get(place..place + 2)) {
        (CHOSEN, Some(&[high, low])) => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// Frames with a port that was chosen cannot be compared between machines: the description stands
/// for them.
fn without_chosen(output: Option<&Packet>, frame: Vec<u8>) -> Vec<u8> {
    match output {
        Some(output)
            if ports(&mut output.transport.clone())
                .is_some_and(|ports| ports.iter().any(|port| **port == CHOSEN)) =>
        {
            output.bytes()
        }
        _ => frame,
    }
}

/// Bytes for people.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
