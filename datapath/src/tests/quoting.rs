//! ICMP errors at random, about packets that were translated.

use std::net::IpAddr;

use maps_schema::address::{Family, Port};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::strategies::{address, family, sctp, tcp, udp};
use crate::testing::packet::{Packet, Transport};

pub(super) const WAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 77];

/// A packet, and what it is translated to.
#[derive(Clone, Debug)]
pub(super) struct Translated {
    pub(super) sent: Packet,
    pub(super) forwarded: Packet,
}

impl Translated {
    /// The bytes of the packet that was sent, as an error about it is to quote them. SCTP's checksum
    /// is left as it is in the quoted packet.
    pub(super) fn sent_as_quoted(&self) -> Vec<u8> {
        let mut bytes = self.sent.bytes();
        if let Transport::Sctp(_) = self.sent.transport {
            let field = self.sent.transport_offset() + 8;
            let (quoted, field) = (self.forwarded.bytes(), field..field + 4);
            bytes[field.clone()].copy_from_slice(&quoted[field]);
        }
        bytes
    }
}

/// An ICMP error about a translated packet.
#[derive(Clone, Debug)]
pub(super) struct Error {
    pub(super) about: Translated,
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) rest: [u8; 4],
    /// How many bytes are quoted, from the IP header on.
    pub(super) quoted: usize,
    /// None: the packet's destination.
    pub(super) router: Option<IpAddr>,
    pub(super) options: usize,
    pub(super) padding: usize,
    pub(super) hop_limit: u8,
}

impl Error {
    /// The error from `source` about a packet of these bytes.
    fn packet(&self, source: IpAddr, about: &Packet, bytes: &[u8]) -> Packet {
        let mut body = self.rest.to_vec();
        body.extend(&bytes[14..14 + self.quoted]);
        let transport = Transport::Icmp { kind: self.kind, code: self.code, body };
        let mut packet = Packet::new(source, about.source, transport);
        packet.hop_limit = self.hop_limit;
        packet.padding = self.padding;
        match source {
            IpAddr::V4(_) => packet.options = vec![1; self.options * 4],
            IpAddr::V6(_) => packet.extensions = vec![(60, vec![0; 6]); self.options],
        }
        packet
    }

    /// As the translated packet's destination, or a router on its way, sends it.
    pub(super) fn reported(&self) -> Packet {
        let destination = self.about.forwarded.destination;
        let forwarded = &self.about.forwarded;
        self.packet(self.router.unwrap_or(destination), forwarded, &forwarded.bytes())
    }

    /// As it would have been sent had nothing been translated.
    pub(super) fn wanted(&self) -> Packet {
        let Translated { sent, forwarded } = &self.about;
        let source = match self.router {
            Some(router) if router != forwarded.destination => router,
            _ => sent.destination,
        };
        Packet {
            ether_destination: WAY_MAC,
            hop_limit: self.hop_limit.wrapping_sub(1),
            ..self.packet(source, sent, &self.about.sent_as_quoted())
        }
    }
}

pub(super) fn echo(family: Family) -> impl Strategy<Value = Transport> {
    let kinds = match family {
        Family::V4 => [8, 0],
        Family::V6 => [128, 129],
    };
    (0..2_usize, vec(any::<u8>(), 4..40)).prop_map(move |(reply, body)| Transport::Icmp {
        kind: kinds[reply],
        code: 0,
        body,
    })
}

pub(super) fn with_ports(packet: &Packet, source: u16, destination: u16) -> Transport {
    let mut transport = packet.transport.clone();
    match &mut transport {
        Transport::Tcp(tcp) => (tcp.source_port, tcp.destination_port) = (source, destination),
        Transport::Udp(udp) => (udp.source_port, udp.destination_port) = (source, destination),
        Transport::Sctp(sctp) => (sctp.source_port, sctp.destination_port) = (source, destination),
        Transport::Icmp { body, .. } => body[..2].copy_from_slice(&source.to_be_bytes()),
        Transport::Raw { .. } => {}
    }
    transport
}

pub(super) fn ports(packet: &Packet) -> (Port, Port) {
    match &packet.transport {
        Transport::Tcp(tcp) => (Port::new(tcp.source_port), Port::new(tcp.destination_port)),
        Transport::Udp(udp) => (Port::new(udp.source_port), Port::new(udp.destination_port)),
        Transport::Sctp(sctp) => (Port::new(sctp.source_port), Port::new(sctp.destination_port)),
        Transport::Icmp { kind, body, .. } => {
            let identifier = Port::from_bytes([body[0], body[1]]);
            if [8, 128].contains(kind) {
                (identifier, Port::NONE)
            } else {
                (Port::NONE, identifier)
            }
        }
        Transport::Raw { .. } => (Port::NONE, Port::NONE),
    }
}

pub(super) fn translated(family: Family) -> impl Strategy<Value = Translated> {
    let addresses = (address(family), address(family), address(family), address(family));
    let transport = prop_oneof![tcp(), udp(), sctp(), echo(family)];
    let wrapping = (any::<bool>(), 0..=10_usize, 0..3_usize, any::<bool>(), any::<u8>());
    (addresses, transport, any::<(u16, u16)>(), wrapping).prop_map(
        move |(addresses, mut transport, new_ports, wrapping)| {
            let (source, destination, new_source, new_destination) = addresses;
            let (checksum, options, extensions, fragmented, hop_limit) = wrapping;
            if let Transport::Udp(udp) = &mut transport {
                udp.checksum = checksum;
            }
            let mut sent = Packet::new(source, destination, transport);
            sent.hop_limit = hop_limit;
            sent.fragment = fragmented.then_some((0, true));
            match family {
                Family::V4 => sent.options = vec![1; options * 4],
                Family::V6 => sent.extensions = vec![(60, vec![0; 6]); extensions],
            }
            let forwarded = Packet {
                source: new_source,
                destination: new_destination,
                transport: with_ports(&sent, new_ports.0, new_ports.1),
                ..sent.clone()
            };
            Translated { sent, forwarded }
        },
    )
}

pub(super) fn error_in(family: Family) -> impl Strategy<Value = Error> {
    let kinds = match family {
        Family::V4 => vec![3_u8, 11, 12],
        Family::V6 => vec![1, 2, 3, 4],
    };
    let router = prop_oneof![Just(None), address(family).prop_map(Some)];
    let quoted = prop_oneof![Just(None), any::<Index>().prop_map(Some)];
    let message = (proptest::sample::select(kinds), any::<u8>(), any::<[u8; 4]>());
    let wrapping = (0..3_usize, 0..20_usize, 2..=255_u8);
    (translated(family), message, router, quoted, wrapping).prop_map(
        |(about, (kind, code, rest), router, quoted, (options, padding, hop_limit))| {
            let least = about.forwarded.transport_offset() - 14 + 8;
            let most = about.forwarded.bytes().len() - 14;
            let mut quoted = quoted.map_or(least, |index| least + index.index(most - least + 1));
            if quoted == least + 9 && about.forwarded.protocol() == 6 {
                quoted += 1; // Half a checksum cannot be corrected.
            }
            Error { about, kind, code, rest, quoted, router, options, padding, hop_limit }
        },
    )
}

pub(super) fn error() -> impl Strategy<Value = Error> {
    family().prop_flat_map(error_in)
}
