//! Packets described field by field, and the bytes that they are: every checksum computed from its
//! definition.

use std::net::IpAddr;

use super::{
    checksum::{crc32c, internet_checksum, internet_sum, pseudo_header},
    frame::{ChecksumState, Frame},
};

/// TCP flags.
pub mod flags {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 1 << 1;
    /// RST.
    pub const RST: u8 = 1 << 2;
    /// PSH.
    pub const PSH: u8 = 1 << 3;
    /// ACK.
    pub const ACK: u8 = 1 << 4;
}

/// Types of SCTP chunks.
pub mod chunks {
    /// DATA.
    pub const DATA: u8 = 0;
    /// INIT.
    pub const INIT: u8 = 1;
    /// INIT ACK.
    pub const INIT_ACK: u8 = 2;
    /// HEARTBEAT.
    pub const HEARTBEAT: u8 = 4;
    /// ABORT.
    pub const ABORT: u8 = 6;
    /// SHUTDOWN.
    pub const SHUTDOWN: u8 = 7;
    /// SHUTDOWN ACK.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// COOKIE ECHO.
    pub const COOKIE_ECHO: u8 = 10;
    /// COOKIE ACK.
    pub const COOKIE_ACK: u8 = 11;
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// An IP packet in an Ethernet frame. Both addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sends the frame.
    pub ether_source: [u8; 6],
    /// Who receives the frame.
    pub ether_destination: [u8; 6],
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Type of service or traffic class.
    pub traffic_class: u8,
    /// The IPv4 identification, or the one of an IPv6 fragment header.
    pub identification: u16,
    /// The IPv4 "don't fragment" bit.
    pub dont_fragment: bool,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers before a fragment header: their numbers and what follows the first
    /// two bytes (6 bytes, or 8 more each).
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Which fragment it is: the offset in units of 8 bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// What it carries.
    pub transport: Transport,
    /// Bytes behind the IP packet, as short Ethernet frames have.
    pub padding: usize,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An SCTP packet.
    Sctp(Sctp),
    /// An ICMP or ICMPv6 message, after the family.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// The four bytes behind the checksum, and all others.
        body: Vec<u8>,
    },
    /// Anything else.
    Raw {
        /// The protocol number.
        protocol: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number.
    pub acknowledgement: u32,
    /// The flags.
    pub flags: u8,
    /// The window.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// Whether it has a checksum.
    pub checksum: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

/// An SCTP packet (RFC 9260).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The verification tag.
    pub tag: u32,
    /// The type of the first chunk.
    pub chunk: u8,
    /// What the first chunk holds behind its header, and all other chunks.
    pub rest: Vec<u8>,
}

impl Packet {
    /// A packet with nothing unusual.
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            ether_source: [2, 0, 0, 0, 0, 1],
            ether_destination: [2, 0, 0, 0, 0, 2],
            source,
            destination,
            hop_limit: 63,
            traffic_class: 0,
            identification: 0x1234,
            dont_fragment: true,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            transport,
            padding: 0,
        }
    }

    /// The number of the transport protocol.
    pub fn protocol(&self) -> u8 {
        match (&self.transport, self.source) {
            (Transport::Tcp(_), _) => 6,
            (Transport::Udp(_), _) => 17,
            (Transport::Sctp(_), _) => 132,
            (Transport::Icmp { .. }, IpAddr::V4(_)) => 1,
            (Transport::Icmp { .. }, IpAddr::V6(_)) => 58,
            (Transport::Raw { protocol, .. }, _) => *protocol,
        }
    }

    /// The frame's bytes, with complete checksums.
    ///
    /// # Panics
    ///
    /// The two addresses are of different families.
    pub fn bytes(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let mut frame = Vec::from(self.ether_destination);
        frame.extend(self.ether_source);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend([8, 0]);
                frame.extend(self.ipv4_header(source.octets(), destination.octets(), &transport));
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend([0x86, 0xdd]);
                let extensions = self.extension_bytes();
                frame.extend([0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0, 0]);
                frame.extend(length16(extensions.len() + transport.len()));
                frame.extend([self.first_header(), self.hop_limit]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
                frame.extend(extensions);
            }
            mixed => panic!("addresses of two families: {mixed:?}"),
        }
        frame.extend(transport);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    /// The fragments that the packet is cut into, each with so many bytes behind its headers, a
    /// multiple of eight; the last one with the rest.
    ///
    /// No packet is longer than a fragment's offset can say.
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Self> {
        let bytes = self.transport_bytes();
        let count = bytes.chunks(size).len();
        let fragment = |(index, bytes): (usize, &[u8])| Self {
            dont_fragment: false,
            fragment: Some((
                u16::try_from(index * size / 8).unwrap_or(u16::MAX),
                index + 1 < count,
            )),
            transport: Transport::Raw { protocol: self.protocol(), bytes: bytes.to_vec() },
            ..self.clone()
        };
        bytes.chunks(size).enumerate().map(fragment).collect()
    }

    /// Where the transport header begins, from the start of the frame.
    pub fn transport_offset(&self) -> usize {
        match self.source {
            IpAddr::V4(_) => 34 + self.options.len(),
            IpAddr::V6(_) => 54 + self.extension_bytes().len(),
        }
    }

    /// The frame as a pod's stack hands it over: TCP's and UDP's checksums are left to a device.
    /// So is SCTP's, of which nothing is in the frame yet.
    pub fn offloaded(&self) -> Frame {
        let start = self.transport_offset();
        let mut bytes = self.bytes();
        let field = match &self.transport {
            Transport::Tcp(_) => 16,
            Transport::Udp(_) => 6,
            Transport::Sctp(_) => {
                bytes[start + 8..start + 12].fill(0);
                return Frame::with_checksum(bytes, ChecksumState::PartialCrc { start });
            }
            Transport::Icmp { .. } | Transport::Raw { .. } => return Frame::new(bytes),
        };
        let length = bytes.len() - self.padding - start;
        let pseudo = pseudo_header(self.source, self.destination, self.protocol(), length);
        bytes[start + field..start + field + 2]
            .copy_from_slice(&internet_sum(&pseudo).to_be_bytes());
        Frame::with_checksum(bytes, ChecksumState::Partial { start, field })
    }

    fn ipv4_header(&self, source: [u8; 4], destination: [u8; 4], transport: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let words = u8::try_from(header_length / 4).unwrap_or(15);
        let mut header = vec![0x40 | words, self.traffic_class];
        header.extend(length16(header_length + transport.len()));
        header.extend(self.identification.to_be_bytes());
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let bits = u16::from(self.dont_fragment) << 14 | u16::from(more) << 13 | offset;
        header.extend(bits.to_be_bytes());
        header.extend([self.hop_limit, self.protocol(), 0, 0]);
        header.extend(source);
        header.extend(destination);
        header.extend(&self.options);
        let checksum = internet_checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&checksum);
        header
    }

    fn first_header(&self) -> u8 {
        match (self.extensions.first(), self.fragment) {
            (Some((kind, _)), _) => *kind,
            (None, Some(_)) => 44,
            (None, None) => self.protocol(),
        }
    }

    fn extension_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let behind = if self.fragment.is_some() { 44 } else { self.protocol() };
        for (index, (_, body)) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(index + 1).map_or(behind, |(kind, _)| *kind);
            let length = u8::try_from((body.len() + 2) / 8 - 1).unwrap_or(u8::MAX);
            bytes.extend([next, length]);
            bytes.extend(body);
        }
        if let Some((offset, more)) = self.fragment
            && self.source.is_ipv6()
        {
            bytes.extend([self.protocol(), 0]);
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(u32::from(self.identification).to_be_bytes());
        }
        bytes
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let (mut bytes, field) = match &self.transport {
            Transport::Tcp(tcp) => (tcp.bytes(), 16),
            Transport::Udp(udp) if !udp.checksum => return udp.bytes(),
            Transport::Udp(udp) => (udp.bytes(), 6),
            Transport::Sctp(sctp) => return sctp.bytes(),
            Transport::Icmp { kind, code, body } => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(body);
                (bytes, 2)
            }
            Transport::Raw { bytes, .. } => return bytes.clone(),
        };
        let mut covered =
            pseudo_header(self.source, self.destination, self.protocol(), bytes.len());
        if self.protocol() == 1 {
            covered.clear();
        }
        covered.extend(&bytes);
        let checksum = match internet_checksum(&covered) {
            0 if self.protocol() == 17 => 0xffff,
            checksum => checksum,
        };
        bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl Tcp {
    /// A segment without payload.
    pub fn new(source_port: u16, destination_port: u16, flags: u8) -> Self {
        Self {
            source_port,
            destination_port,
            sequence: 0x0102_0304,
            acknowledgement: if flags & flags::ACK == 0 { 0 } else { 0xa1a2_a3a4 },
            flags,
            window: 64240,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        let words = u8::try_from(5 + self.options.len() / 4).unwrap_or(15);
        bytes.extend([words << 4, self.flags]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        bytes
    }
}

impl Udp {
    /// A datagram with a checksum.
    pub fn new(source_port: u16, destination_port: u16, payload: Vec<u8>) -> Self {
        Self { source_port, destination_port, checksum: true, payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(length16(8 + self.payload.len()));
        bytes.extend([0; 2]);
        bytes.extend(&self.payload);
        bytes
    }
}

impl Sctp {
    /// A packet of one chunk that holds nothing.
    pub const fn new(source_port: u16, destination_port: u16, chunk: u8) -> Self {
        Self { source_port, destination_port, tag: 0x0a0b_0c0d, chunk, rest: Vec::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([self.chunk, 0]);
        bytes.extend(length16(4 + self.rest.len()));
        bytes.extend(&self.rest);
        // The lowest byte first (RFC 9260 appendix A).
        let checksum = crc32c(&bytes).to_le_bytes();
        bytes[8..12].copy_from_slice(&checksum);
        bytes
    }
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).map_or([0; 2], u16::to_be_bytes)
}
