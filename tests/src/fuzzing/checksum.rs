//! A translated packet is byte for byte the packet that would have been made so: every checksum that
//! was corrected is the one computed from scratch.

use std::net::IpAddr;

use datapath::{
    apply::apply,
    parse::{Parsed, parse},
    testing::{
        checksum::verify,
        frame::Frame,
        node::NodeFamily,
        packet::{Packet, Sctp, Tcp, Transport, Udp},
    },
    verdict::{Hop, Translation},
};
use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, Mac, PodLink, Port},
    connection::FlowKey,
    service::ServiceId,
    way::Way,
};

use super::bytes::Bytes;

const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 77];

/// One of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let kinds = (0..10).flat_map(|kind| [0, 1].map(|offloaded| [kind % 2, kind / 2, offloaded]));
    kinds.map(|kind| kind.into_iter().chain(1..90).collect()).collect()
}

/// The input is a packet, and what it is to become.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    if bytes.yes() {
        check_one(&mut bytes, address::<16>);
    } else {
        check_one(&mut bytes, address::<4>);
    }
}

fn address<const N: usize>(bytes: &mut Bytes<'_>) -> IpAddr
where
    IpAddr: From<[u8; N]>,
{
    IpAddr::from(bytes.array::<N>())
}

fn check_one(bytes: &mut Bytes<'_>, address: impl Fn(&mut Bytes<'_>) -> IpAddr) {
    let kind = bytes.below(5);
    let (offloaded, hop) = (bytes.yes(), bytes.one_of([Hop::Own, Hop::Forwarded]));
    let (hop_limit, wrapping, padding) = (bytes.byte(), bytes.below(11), bytes.below(20));
    let (old, new) = ([address(bytes), address(bytes)], [address(bytes), address(bytes)]);
    let (old_ports, new_ports) = ([bytes.word(), bytes.word()], [bytes.word(), bytes.word()]);
    let rest = bytes.slice(1500);

    let mut packet = Packet::new(old[0], old[1], transport(kind, old[0], old_ports, rest));
    packet.hop_limit = hop_limit;
    packet.padding = if offloaded { 0 } else { padding };
    match old[0] {
        IpAddr::V4(_) => packet.options = vec![1; wrapping * 4],
        IpAddr::V6(_) => packet.extensions = vec![(60, vec![0; 6]); wrapping % 4],
    }
    let wanted = Packet {
        source: new[0],
        destination: new[1],
        ether_destination: RECEIVER,
        hop_limit: hop_limit.wrapping_sub(u8::from(hop == Hop::Forwarded)),
        transport: transport(kind, old[0], new_ports, rest),
        ..packet.clone()
    };
    let made = |packet: &Packet| {
        if offloaded { packet.offloaded() } else { Frame::new(packet.bytes()) }
    };
    let mut frame = made(&packet);
    match old[0] {
        IpAddr::V4(_) => translate::<Ipv4Wire>(&mut frame, &wanted, new_ports, hop),
        IpAddr::V6(_) => translate::<Ipv6Wire>(&mut frame, &wanted, new_ports, hop),
    }
    assert_eq!(frame, made(&wanted), "{packet:?} becomes {wanted:?}");
    assert_eq!(verify(&frame.completed()), Ok(()));
}

fn transport(kind: usize, source: IpAddr, ports: [u16; 2], rest: &[u8]) -> Transport {
    let echo = |kinds: [u8; 2], identifier: u16| {
        // The sequence number is never zero, so that a message is never all zeros: of that, ones'
        // complement knows two checksums.
        let body = [&identifier.to_be_bytes()[..], &[0, 1], rest].concat();
        Transport::Icmp { kind: kinds[usize::from(source.is_ipv6())], code: 0, body }
    };
    match kind {
        0 => {
            let (flags, payload) = rest.split_first().unwrap_or((&2, &[]));
            let (options, payload) = payload.split_at(payload.len().min(usize::from(flags % 11)));
            let words = options.iter().flat_map(|byte| [*byte; 4]).collect();
            let tcp = Tcp::new(ports[0], ports[1], *flags);
            Transport::Tcp(Tcp { options: words, payload: payload.to_vec(), ..tcp })
        }
        1 => {
            let checksum = source.is_ipv6() || rest.first().is_none_or(|byte| byte % 8 != 7);
            let udp = Udp::new(ports[0], ports[1], rest.to_vec());
            Transport::Udp(Udp { checksum, ..udp })
        }
        2 => {
            let (chunk, rest) = rest.split_first().unwrap_or((&1, &[]));
            let sctp = Sctp::new(ports[0], ports[1], *chunk);
            Transport::Sctp(Sctp { rest: rest.to_vec(), ..sctp })
        }
        3 => echo([8, 128], ports[0]),
        _ => echo([0, 129], ports[1]),
    }
}

fn translate<A: NodeFamily>(frame: &mut Frame, wanted: &Packet, ports: [u16; 2], hop: Hop) {
    let Parsed::Facts(facts) = parse::<A>(frame) else { panic!("a whole packet has facts") };
    let of_family = |address| A::from_ip(address).expect("an address of the family");
    let translation = Translation {
        rewritten: FlowKey::new(
            of_family(wanted.source),
            Port::new(ports[0]),
            of_family(wanted.destination),
            Port::new(ports[1]),
            facts.flow.protocol(),
        ),
        way: Way::Pod(PodLink { interface: IfIndex::new(9), mac: Mac::from_bytes(RECEIVER) })
            .into(),
        service: ServiceId(1),
        hop,
    };
    apply(frame, &facts, &translation).expect("a frame in memory can be changed");
}
