//! Packets from other nodes in VXLAN: answers that go on to a client outside. What is for a pod of
//! this node is the overlay device's.

use aya_ebpf::bindings::xdp_md;
use datapath::{
    decide::decide_arrival,
    family::IpFamily,
    parse::{Facts, Network, Parsed, Transport, network, parse},
    tables::Tables,
    verdict::Verdict,
    vxlan::{Underlay, has_met_congestion, network_identifier, traffic_class},
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire},
    service::AddressRole,
    way::{VNI_PODS, Way},
};

use super::{PacketFamily, Pending, stages::send, step::Step};
use crate::{
    config::vxlan_port,
    handover::leave,
    packet_xdp::XdpPacket,
    tables::{Kernel, Maps},
};

/// Whether the packet may be one that carries another to this node.
#[inline(always)]
pub(super) fn is_vxlan<A: IpFamily>(facts: &Facts<A>) -> bool {
    facts.transport == Transport::Udp && facts.flow.destination_port == vxlan_port()
}

/// Takes the headers off, translates what is inside, and sends it on.
#[inline(always)]
pub(super) fn unwrap<U: PacketFamily + Underlay, const START: u32>(frame: *mut xdp_md) -> Step {
    const { assert!(START == U::OVERHEAD) };
    if !is_for_this_node::<U>(frame) {
        return Step::PASS;
    }
    match network(&XdpPacket::<START>::new(frame)) {
        Network::Ipv4 => forward::<Ipv4Wire, START>(frame),
        Network::Ipv6 => forward::<Ipv6Wire, START>(frame),
        Network::NotOurs | Network::Malformed => Step::PASS,
    }
}

/// Whether the packet is of the pods' network, for this node, and of a form that needs no care.
#[inline(never)]
fn is_for_this_node<U: PacketFamily + Underlay>(frame: *mut xdp_md) -> bool {
    let packet = XdpPacket::<0>::new(frame);
    let Parsed::Facts(facts) = parse::<U>(&packet) else {
        return false;
    };
    let role = Maps.address(facts.flow.destination).map(|entry| entry.role());
    network_identifier::<U>(&packet, facts.transport_offset) == Some(VNI_PODS)
        && role == Some(AddressRole::Node)
        // The kernel passes on what was met on the way.
        && traffic_class::<U>(&packet).is_some_and(|class| !has_met_congestion(class))
}

#[inline(always)]
fn forward<A: PacketFamily, const START: u32>(frame: *mut xdp_md) -> Step {
    if decide::<A, START>(frame) { send::<A, START>(frame) } else { Step::PASS }
}

/// Whether what is inside goes on to another machine; its translation is left to [`send`].
#[inline(never)]
fn decide<A: PacketFamily, const START: u32>(frame: *mut xdp_md) -> bool {
    let Parsed::Facts(facts) = parse::<A>(&XdpPacket::<START>::new(frame)) else {
        return false;
    };
    match decide_arrival(&facts, None, &Maps, &Kernel::of_frame(frame)) {
        Verdict::Translate(translation) => {
            let leads_away = matches!(translation.way.way(), Way::Route(_) | Way::Outside);
            if leads_away {
                leave(A::PENDING, Pending { facts, translation });
            }
            leads_away
        }
        _ => false,
    }
}
