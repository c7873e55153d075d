//! The programs' stages, native: the same calls in the same order as `ebpf/src/programs/tc.rs`.

use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, PodLink},
    counters::Program,
    drop_reason::DropReason,
    service::ServiceId,
};

use super::{
    frame::Frame,
    node::{Node, NodeFamily},
};
use crate::{
    apply::apply,
    connect::{NotConnected, connect, connect_beside},
    decide::{decide_bridge_egress, decide_pod_ingress},
    packet::PacketRead,
    parse::{Facts, Network, Parsed, network, parse, sender},
    refuse::{Unanswered, refuse},
    verdict::Verdict,
};

/// What a program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The kernel goes on with it.
    Ok,
    /// It is dropped.
    Shot,
    /// It is handed to the pod behind this interface.
    ToPod(IfIndex),
    /// It is sent back out of the interface that it came in by.
    Back(IfIndex),
}

enum Stage {
    Done(Action),
    Refuse,
    Connect(ServiceId),
}

/// What a pod sends, received at `interface`.
pub fn pod_ingress(frame: &mut Frame, node: &Node, interface: IfIndex) -> Action {
    match network(frame) {
        Network::Ipv4 => pod_stages::<Ipv4Wire>(frame, node, interface),
        Network::Ipv6 => pod_stages::<Ipv6Wire>(frame, node, interface),
        Network::NotOurs => Action::Ok,
        Network::Malformed => drop(node, Program::TcPodIngress, DropReason::Malformed),
    }
}

/// What the node sends to its pods.
pub fn bridge_egress(frame: &mut Frame, node: &Node) -> Action {
    match network(frame) {
        Network::Ipv4 => bridge_stages::<Ipv4Wire>(frame, node),
        Network::Ipv6 => bridge_stages::<Ipv6Wire>(frame, node),
        Network::NotOurs | Network::Malformed => Action::Ok,
    }
}

fn pod_stages<A: NodeFamily>(frame: &mut Frame, node: &Node, interface: IfIndex) -> Action {
    let mut stage = decide::<A>(frame, node);
    if let Stage::Connect(service) = stage {
        stage = match open::<A>(frame, node, service, interface) {
            Ok(()) => decide::<A>(frame, node),
            Err(stage) => stage,
        };
    }
    match stage {
        Stage::Done(action) => action,
        Stage::Refuse => answer::<A>(frame, node, interface),
        Stage::Connect(_) => drop(node, Program::TcPodIngress, DropReason::LostRace),
    }
}

fn decide<A: NodeFamily>(frame: &mut Frame, node: &Node) -> Stage {
    let facts = match parse::<A>(frame) {
        Parsed::Facts(facts) => facts,
        Parsed::NotOurs => return Stage::Done(Action::Ok),
        Parsed::Malformed => {
            return Stage::Done(drop(node, Program::TcPodIngress, DropReason::Malformed));
        }
    };
    let verdict = decide_pod_ingress(&facts, A::tables(node), &node.script);
    carry_out(frame, node, &facts, &verdict, Program::TcPodIngress)
}

fn open<A: NodeFamily>(
    frame: &Frame,
    node: &Node,
    service: ServiceId,
    interface: IfIndex,
) -> Result<(), Stage> {
    let program = Program::TcPodIngress;
    let Parsed::Facts(facts) = parse::<A>(frame) else {
        return Err(Stage::Done(drop(node, program, DropReason::Malformed)));
    };
    let link = PodLink { interface, mac: sender(frame).unwrap_or_default() };
    let tables = A::tables(node);
    let connected = if service == ServiceId::NONE {
        connect_beside(&facts, tables, &node.script, link)
    } else {
        connect(&facts, service, tables, &node.script, link, A::bridge(node))
    };
    match connected {
        Ok(()) if service == ServiceId::NONE => Ok(()),
        Ok(()) => {
            node.count_connection(service);
            Ok(())
        }
        Err(NotConnected::Refused(reason)) => {
            node.count_drop(program, reason);
            Err(Stage::Refuse)
        }
        Err(NotConnected::Dropped(reason)) => Err(Stage::Done(drop(node, program, reason))),
    }
}

fn bridge_stages<A: NodeFamily>(frame: &mut Frame, node: &Node) -> Action {
    let Parsed::Facts(facts) = parse::<A>(frame) else {
        return Action::Ok;
    };
    let verdict = decide_bridge_egress(&facts, A::tables(node), &node.script);
    match carry_out(frame, node, &facts, &verdict, Program::TcBridgeEgress) {
        Stage::Done(action) => action,
        Stage::Refuse | Stage::Connect(_) => Action::Shot,
    }
}

fn answer<A: NodeFamily>(frame: &mut Frame, node: &Node, interface: IfIndex) -> Action {
    let Parsed::Facts(facts) = parse::<A>(frame) else {
        return drop(node, Program::TcPodIngress, DropReason::Malformed);
    };
    match refuse(frame, &facts) {
        Ok(()) => Action::Back(interface),
        Err(Unanswered) => Action::Shot,
    }
}

fn carry_out<A: NodeFamily>(
    frame: &mut Frame,
    node: &Node,
    facts: &Facts<A>,
    verdict: &Verdict<A>,
    program: Program,
) -> Stage {
    Stage::Done(match verdict {
        Verdict::Pass => Action::Ok,
        Verdict::Deliver(link) => deliver(*link),
        Verdict::Connect(service) => return Stage::Connect(*service),
        Verdict::ConnectBeside => return Stage::Connect(ServiceId::NONE),
        Verdict::Translate(translation) => {
            if apply(frame, facts, translation).is_err() {
                return Stage::Done(drop(node, program, DropReason::RewriteFailed));
            }
            node.count_packet(translation.service, frame.length());
            deliver(translation.link)
        }
        Verdict::Refuse(reason) => {
            node.count_drop(program, *reason);
            return Stage::Refuse;
        }
        Verdict::Drop(reason) => drop(node, program, *reason),
    })
}

fn deliver(link: PodLink) -> Action {
    if link.interface == IfIndex::NONE { Action::Ok } else { Action::ToPod(link.interface) }
}

fn drop(node: &Node, program: Program, reason: DropReason) -> Action {
    node.count_drop(program, reason);
    Action::Shot
}
