//! Any frame is parsed without a panic, and the facts are those that a plain, slow parser finds.

use std::net::IpAddr;

use datapath::{
    parse::{Facts, Network, Parsed, Piece, Transport, network, parse as fast_parse},
    testing::{frame::Frame, node::NodeFamily},
};
use maps_schema::address::{Ipv4Wire, Ipv6Wire};

use super::{
    frames,
    slow_parser::{self, Carried, Found, Headers, Kind, Part},
};

/// The frames of all packet fixtures.
pub fn seeds() -> Vec<Vec<u8>> {
    frames::of_fixtures().flatten().map(|(_, frame)| frame).collect()
}

/// The input is a frame.
pub fn check(input: &[u8]) {
    let frame = Frame::new(input.to_vec());
    let kind = match network(&frame) {
        Network::Ipv4 => Kind::Ipv4,
        Network::Ipv6 => Kind::Ipv6,
        Network::NotOurs => Kind::NotOurs,
        Network::Malformed => Kind::Malformed,
    };
    assert_eq!(kind, slow_parser::kind(input), "what the frame carries");
    // Whatever its type says: neither parser may rely on it.
    assert_eq!(found::<Ipv4Wire>(&frame), slow_parser::ipv4(input), "as IPv4");
    assert_eq!(found::<Ipv6Wire>(&frame), slow_parser::ipv6(input), "as IPv6");
}

fn found<A: NodeFamily>(frame: &Frame) -> Found {
    match fast_parse::<A>(frame) {
        Parsed::Malformed => Found::Malformed,
        Parsed::NotOurs => Found::NotOurs,
        Parsed::Facts(facts) => Found::Headers(headers(&facts)),
    }
}

fn headers<A: NodeFamily>(facts: &Facts<A>) -> Headers {
    let ip = |address: A| -> IpAddr { address.ip() };
    Headers {
        source: ip(facts.flow.source),
        destination: ip(facts.flow.destination),
        protocol: facts.flow.protocol().number(),
        ports: (facts.flow.source_port.number(), facts.flow.destination_port.number()),
        carried: match facts.transport {
            Transport::Tcp(flags) => Carried::Tcp {
                opens: flags.opens(),
                ack: flags.ack(),
                rst: flags.rst(),
                length: flags.sequence_length(),
            },
            Transport::Udp => Carried::Udp,
            transport @ Transport::Sctp(_) => Carried::Sctp {
                opens: transport.opens(),
                begins: transport.begins(),
                aborts: transport.aborts(),
            },
            Transport::EchoRequest => Carried::EchoRequest,
            Transport::EchoReply => Carried::EchoReply,
            Transport::IcmpQuery => Carried::IcmpQuery,
            Transport::IcmpError => Carried::IcmpError,
            Transport::FirstFragment => Carried::FirstFragment,
            Transport::LaterFragment => Carried::LaterFragment,
            Transport::Other => Carried::Other,
        },
        part: match facts.piece {
            Piece::WithHeader => Part::Whole,
            Piece::First => Part::First,
            Piece::WithoutHeader => Part::Later,
        },
        transport_offset: facts.transport_offset as usize,
        end: facts.end as usize,
        hop_limit: facts.hop_limit,
    }
}
