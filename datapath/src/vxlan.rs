//! VXLAN (RFC 7348), where a program makes or removes it without the kernel's device.

use maps_schema::{
    address::{Address, Family, Ipv4Wire, Ipv6Wire, Mac, Port, Protocol},
    connection::FlowKey,
};

use crate::{
    checksum::ChecksumDelta,
    family::IpFamily,
    packet::{NETWORK_OFFSET, PacketRead, PacketWrite, WriteFailed},
    select::flow_hash,
};

/// What VXLAN puts before an Ethernet frame on an IPv4 network: Ethernet, IPv4, UDP and VXLAN
/// headers, in bytes.
pub const OVER_IPV4: u32 = NETWORK_OFFSET + 20 + UDP_AND_VXLAN;
/// The same on an IPv6 network.
pub const OVER_IPV6: u32 = NETWORK_OFFSET + 40 + UDP_AND_VXLAN;

const UDP_AND_VXLAN: u32 = 8 + 8;
const HOP_LIMIT: u8 = 64;

/// "The VNI is valid", which it has to be (RFC 7348 section 5).
const VNI_IS_VALID: u8 = 0x08;

/// "Congestion experienced" (RFC 3168).
const CE: u8 = 3;

/// The headers that carry a frame to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer<U> {
    /// This node's address.
    pub source: U,
    /// The other node's.
    pub destination: U,
    /// Of the UDP header: [`source_port`].
    pub source_port: Port,
    /// The nodes' port for VXLAN.
    pub destination_port: Port,
    /// The network identifier, of 24 bits.
    pub network: u32,
    /// The carried frame's type of service or traffic class (RFC 6040: its ECN bits are those of
    /// the outer header).
    pub traffic_class: u8,
    /// The carried frame's length.
    pub frame_length: u32,
    /// The Ethernet address that the frame is for: of the other node's overlay device.
    pub receiver: Mac,
}

/// A family that VXLAN packets are sent by.
pub trait Underlay: IpFamily {
    /// How many bytes are put before the frame.
    const OVERHEAD: u32;

    /// Writes the IP header of a packet that carries so many bytes.
    fn write_header(
        packet: &mut impl PacketWrite,
        outer: &Outer<Self>,
        carried: u16,
    ) -> Result<(), WriteFailed>;
}

/// Writes all headers but the Ethernet addresses, which the next hop decides on. There is room for
/// them before the frame.
#[inline(always)]
pub fn write_outer<U: Underlay>(
    packet: &mut impl PacketWrite,
    outer: &Outer<U>,
) -> Result<(), WriteFailed> {
    let carried = outer.frame_length.checked_add(UDP_AND_VXLAN).ok_or(WriteFailed)?;
    let carried = u16::try_from(carried).map_err(|_| WriteFailed)?;
    U::write_header(packet, outer, carried)?;
    let [s0, s1] = outer.source_port.bytes();
    let [d0, d1] = outer.destination_port.bytes();
    let [l0, l1] = carried.to_be_bytes();
    let [_, v0, v1, v2] = outer.network.to_be_bytes();
    let udp = U::OVERHEAD - UDP_AND_VXLAN;
    // No UDP checksum: what is carried has its own (RFC 7348; RFC 6935 for IPv6).
    packet.store(udp, [s0, s1, d0, d1, l0, l1, 0, 0, VNI_IS_VALID, 0, 0, 0, v0, v1, v2, 0])?;
    packet.store(U::OVERHEAD, outer.receiver.bytes())
}

impl Underlay for Ipv4Wire {
    const OVERHEAD: u32 = OVER_IPV4;

    #[inline(always)]
    fn write_header(
        packet: &mut impl PacketWrite,
        outer: &Outer<Self>,
        carried: u16,
    ) -> Result<(), WriteFailed> {
        let [l0, l1] = carried.checked_add(20).ok_or(WriteFailed)?.to_be_bytes();
        let [s0, s1, s2, s3] = outer.source.bytes();
        let [d0, d1, d2, d3] = outer.destination.bytes();
        // "Don't fragment": a VXLAN packet never is (RFC 7348 section 4.3), so it needs no
        // identification (RFC 6864).
        let first = [0x45, outer.traffic_class, l0, l1, 0, 0, 0x40, 0];
        let second = [HOP_LIMIT, Protocol::UDP.number()];
        let [c0, c1] = ChecksumDelta::ZERO
            .add_bytes(first)
            .add_word(second)
            .add_address(outer.source)
            .add_address(outer.destination)
            .finish();
        let [hop_limit, protocol] = second;
        packet.store(12, [0x08, 0x00])?;
        packet.store(NETWORK_OFFSET, first)?;
        packet.store(
            NETWORK_OFFSET + 8,
            [hop_limit, protocol, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3],
        )
    }
}

impl Underlay for Ipv6Wire {
    const OVERHEAD: u32 = OVER_IPV6;

    #[inline(always)]
    fn write_header(
        packet: &mut impl PacketWrite,
        outer: &Outer<Self>,
        carried: u16,
    ) -> Result<(), WriteFailed> {
        let [l0, l1] = carried.to_be_bytes();
        let class = outer.traffic_class;
        let first = [0x60 | class >> 4, class << 4, 0, 0];
        packet.store(12, [0x86, 0xdd])?;
        packet.store(NETWORK_OFFSET, first)?;
        packet.store(NETWORK_OFFSET + 4, [l0, l1, Protocol::UDP.number(), HOP_LIMIT])?;
        Self::store(packet, Self::SOURCE_OFFSET, outer.source)?;
        Self::store(packet, Self::DESTINATION_OFFSET, outer.destination)
    }
}

/// The type of service or traffic class of an IP packet of this family.
#[inline(always)]
pub fn traffic_class<A: Address>(packet: &impl PacketRead) -> Option<u8> {
    let [first, second] = packet.load::<2>(NETWORK_OFFSET)?;
    Some(match A::FAMILY {
        Family::V4 => second,
        Family::V6 => first << 4 | second >> 4,
    })
}

/// Whether a packet was marked on its way as having met congestion, which whoever takes its headers
/// off has to tell the packet inside (RFC 6040 section 4.2).
#[inline(always)]
pub const fn has_met_congestion(traffic_class: u8) -> bool {
    traffic_class & CE == CE
}

/// The UDP source port for a flow: of all flows to one node, the network makes several by it
/// (RFC 7348 section 5, RFC 6335's range for it from 32768 on).
#[inline(always)]
pub fn source_port<A: Address>(flow: &FlowKey<A>) -> Port {
    Port::new((flow_hash(flow) >> 16) as u16 | 0x8000)
}

/// The network identifier in the VXLAN header of a UDP packet whose IP header has neither options
/// nor extensions; none where there is no such header.
#[inline(always)]
pub fn network_identifier<U: Underlay>(
    packet: &impl PacketRead,
    transport_offset: u32,
) -> Option<u32> {
    if transport_offset != U::OVERHEAD - UDP_AND_VXLAN {
        return None;
    }
    let [flags, _, _, _, v0, v1, v2, _] = packet.load::<8>(U::OVERHEAD - 8)?;
    (flags & VNI_IS_VALID != 0).then(|| u32::from_be_bytes([0, v0, v1, v2]))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use maps_schema::way::VNI_HANDED;

    use super::*;
    use crate::testing::{
        frame::Frame,
        packet::{Packet, Transport, Udp},
    };

    const CARRIED: [u8; 60] = [0xc5; 60];

    fn outer<U: Underlay>(source: U, destination: U) -> Outer<U> {
        Outer {
            source,
            destination,
            source_port: Port::new(40000),
            destination_port: Port::new(8472),
            network: VNI_HANDED,
            traffic_class: 0xb9,
            frame_length: 60,
            receiver: Mac::from_bytes([2, 0x73, 1, 2, 3, 4]),
        }
    }

    /// A described UDP packet whose payload is a VXLAN header and the frame.
    fn expected(source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut payload = vec![8, 0, 0, 0, 0, 0, 2, 0, 2, 0x73, 1, 2, 3, 4];
        payload.extend_from_slice(&CARRIED[6..]);
        let mut udp = Udp::new(40000, 8472, payload);
        udp.checksum = false;
        let mut packet = Packet::new(source, destination, Transport::Udp(udp));
        packet.ether_source = [0; 6];
        packet.ether_destination = [0; 6];
        packet.hop_limit = 64;
        packet.traffic_class = 0xb9;
        packet.identification = 0;
        packet.bytes()
    }

    fn written<U: Underlay>(outer: &Outer<U>) -> Frame {
        let mut bytes = vec![0; U::OVERHEAD as usize];
        bytes.extend(CARRIED);
        let mut frame = Frame::new(bytes);
        write_outer(&mut frame, outer).unwrap();
        frame
    }

    fn is_written_as_described<U: Underlay>(source: U, destination: U) {
        let frame = written(&outer(source, destination));
        assert_eq!(frame.bytes(), expected(source.ip(), destination.ip()));
        let offset = U::OVERHEAD - UDP_AND_VXLAN;
        assert_eq!(network_identifier::<U>(&frame, offset), Some(VNI_HANDED));
        assert_eq!(network_identifier::<U>(&frame, offset + 4), None, "behind an option");
        assert_eq!(traffic_class::<U>(&frame), Some(0xb9));
    }

    #[test]
    fn the_headers_are_those_of_a_udp_packet_without_checksum() {
        is_written_as_described(
            Ipv4Wire::from_bytes([172, 18, 0, 2]),
            Ipv4Wire::from_bytes([172, 18, 0, 3]),
        );
        is_written_as_described(Ipv6Wire::from_bytes([0xfd; 16]), Ipv6Wire::from_bytes([0xfc; 16]));
    }

    #[test]
    fn what_is_longer_than_a_packet_can_be_is_not_written() {
        let address = Ipv4Wire::from_bytes([172, 18, 0, 2]);
        let mut headers = outer(address, address);
        for (length, fits) in [(65_499, true), (65_500, false), (65_536, false), (u32::MAX, false)]
        {
            headers.frame_length = length;
            let mut frame = Frame::new(vec![0; 200]);
            assert_eq!(write_outer(&mut frame, &headers).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn a_header_without_an_identifier_is_none() {
        let address = Ipv4Wire::from_bytes([172, 18, 0, 2]);
        let mut frame = written(&outer(address, address));
        frame.store(OVER_IPV4 - 8, [0, 0]).unwrap();
        assert_eq!(network_identifier::<Ipv4Wire>(&frame, 34), None);
    }

    #[test]
    fn flows_spread_over_the_upper_half_of_the_ports() {
        let address = Ipv4Wire::from_bytes([172, 18, 0, 2]);
        let port = |number| {
            let to = Port::new(80);
            source_port(&FlowKey::new(address, Port::new(number), address, to, Protocol::TCP))
        };
        let ports: BTreeSet<_> = (1..=1000).map(|number| port(number).number()).collect();
        assert!(ports.len() > 950, "{} ports", ports.len());
        assert!(ports.iter().all(|port| *port >= 32768));
    }

    #[test]
    fn congestion_is_both_bits() {
        assert!(has_met_congestion(0xbb));
        assert!(![0xb8, 0xb9, 0xba].into_iter().any(has_met_congestion));
    }
}
