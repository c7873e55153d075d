//! The programs' stages, native: the same calls in the same order as `ebpf/src/programs/tc`.

use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire, PodLink},
    connection::Connection,
    counters::Program,
    drop_reason::DropReason,
    service::Audience,
    way::{NodeId, Way},
};

use super::{
    frame::Frame,
    node::{Node, NodeFamily},
    tables::MemoryTables,
};
use crate::{
    answer::Answer,
    apply::{apply, apply_forward},
    connect::{NotConnected, connect, plan},
    decide::{
        decide_arrival, decide_arrival_by_address, decide_arrival_of, decide_node_egress,
        decide_pod_ingress, decide_pod_ingress_by_address, decide_pod_ingress_of, way_to_sender,
    },
    departure::{decide_uplink_egress, decide_uplink_egress_by_address},
    fragment::{Admission, Order, admit},
    packet::PacketRead,
    parse::{Facts, Network, Parsed, network, parse, sender},
    refuse::{Unanswered, refuse},
    related::related,
    tables::Tables as _,
    verdict::{Hop, Opening, Verdict},
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
    /// It is sent back to its sender, out of the interface that it came in by; into the interface that
    /// it was to leave by where it is the node's own.
    Back(IfIndex),
    /// It is sent to another node in VXLAN.
    Tunnelled(NodeId),
    /// It is handed over to another node in VXLAN.
    Handed(NodeId),
    /// It goes by the node's routes.
    Routed,
}

/// Where a packet is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program.
    pub program: Program,
    /// The interface that it is attached to.
    pub interface: IfIndex,
    /// Whether another node has handed the packet over.
    pub handed: bool,
}

enum Stage {
    Done(Action),
    Refuse(DropReason),
    Open(Opening),
    Related,
    ByAddress,
}

/// What a pod sends, received at `interface`.
pub fn pod_ingress(frame: &mut Frame, node: &Node, interface: IfIndex) -> Action {
    run(frame, node, Hook { program: Program::TcPodIngress, interface, handed: false })
}

/// What the node sends to its pods.
pub fn bridge_egress(frame: &mut Frame, node: &Node) -> Action {
    let interface = IfIndex::NONE;
    run(frame, node, Hook { program: Program::TcBridgeEgress, interface, handed: false })
}

/// Takes a packet through the stages of a program.
pub fn run(frame: &mut Frame, node: &Node, hook: Hook) -> Action {
    match network(frame) {
        Network::Ipv4 => hook.stages::<Ipv4Wire>(frame, node),
        Network::Ipv6 => hook.stages::<Ipv6Wire>(frame, node),
        Network::NotOurs => Action::Ok,
        Network::Malformed => hook.malformed(node),
    }
}

impl Hook {
    fn stages<A: NodeFamily>(self, frame: &mut Frame, node: &Node) -> Action {
        if A::may_be_fragment(frame)
            && let Err(action) = self.admit::<A>(frame, node)
        {
            return action;
        }
        let mut stage = self.decide::<A>(frame, node);
        if let Stage::Related = stage {
            stage = self.related::<A>(frame, node);
        }
        if let Stage::Open(opening) = stage {
            stage = match self.open::<A>(frame, node, opening) {
                Stage::ByAddress => match parse::<A>(frame) {
                    Parsed::Facts(facts) => self.by_address(frame, node, &facts),
                    _ => Stage::Done(self.malformed(node)),
                },
                stage => stage,
            };
        }
        match stage {
            Stage::Done(action) => action,
            Stage::Refuse(reason) => self.answer::<A>(frame, node, reason),
            Stage::Open(_) | Stage::Related | Stage::ByAddress => {
                self.drop(node, DropReason::LostRace)
            }
        }
    }

    fn decide<A: NodeFamily>(self, frame: &mut Frame, node: &Node) -> Stage {
        let facts = match parse::<A>(frame) {
            Parsed::Facts(facts) => facts,
            Parsed::NotOurs => return Stage::Done(Action::Ok),
            Parsed::Malformed => return Stage::Done(self.malformed(node)),
        };
        let tables = A::tables(node);
        let verdict = match self.program {
            Program::TcPodIngress => decide_pod_ingress(&facts, self.interface, tables, node),
            Program::TcUplinkIngress => {
                decide_arrival(&facts, Some(Audience::Outside), tables, node)
            }
            Program::TcOverlayIngress => {
                let audience = self.handed.then_some(Audience::Handed);
                decide_arrival(&facts, audience, tables, node)
            }
            Program::TcBridgeEgress => decide_node_egress(&facts, tables, node),
            Program::TcUplinkEgress => decide_uplink_egress(&facts, tables, node),
            other => panic!("{other:?} has no such stages"),
        };
        self.carry_out(frame, node, &facts, &verdict)
    }

    fn admit<A: NodeFamily>(self, frame: &mut Frame, node: &Node) -> Result<(), Action> {
        let order = if self.is_own() { Order::AsMade } else { Order::Any };
        let may_send = |source| {
            self.program != Program::TcPodIngress
                || A::tables(node).is_source(self.interface, source)
        };
        match admit::<A, _>(frame, order, may_send, &node.fragments, node) {
            Admission::Whole => Ok(()),
            Admission::Known(first) => {
                frame.leave_first_fragment(&first);
                Ok(())
            }
            Admission::Waits => Err(Action::Shot),
            Admission::Passes => Err(Action::Ok),
            Admission::Dropped(DropReason::Malformed) => Err(self.malformed(node)),
            Admission::Dropped(reason) => Err(self.drop(node, reason)),
        }
    }

    fn by_address<A: NodeFamily>(self, frame: &mut Frame, node: &Node, facts: &Facts<A>) -> Stage {
        let verdict = match self.program {
            Program::TcPodIngress => decide_pod_ingress_by_address(facts, A::tables(node)),
            Program::TcUplinkIngress | Program::TcOverlayIngress => {
                decide_arrival_by_address(facts, A::tables(node))
            }
            Program::TcUplinkEgress => decide_uplink_egress_by_address(facts, A::tables(node)),
            _ => Verdict::Pass,
        };
        self.carry_out(frame, node, facts, &verdict)
    }

    fn related<A: NodeFamily>(self, frame: &mut Frame, node: &Node) -> Stage {
        let Parsed::Facts(facts) = parse::<A>(frame) else {
            return Stage::Done(self.malformed(node));
        };
        let hop = if self.is_own() { Hop::Own } else { Hop::Forwarded };
        match related(frame, &facts, A::tables(node), hop) {
            Ok(Some(way)) => Stage::Done(self.leave(way)),
            Ok(None) => self.by_address(frame, node, &facts),
            Err(reason) => Stage::Done(self.drop(node, reason)),
        }
    }

    fn open<A: NodeFamily>(self, frame: &mut Frame, node: &Node, opening: Opening) -> Stage {
        let Parsed::Facts(facts) = parse::<A>(frame) else {
            return Stage::Done(self.malformed(node));
        };
        let tables = A::tables(node);
        let way_back = self.way_back(frame, &facts, tables);
        let mut verdict = None;
        let made = |known: &Connection<A>| {
            verdict = match self.program {
                Program::TcPodIngress => Some(decide_pod_ingress_of(known, &facts)),
                _ if self.is_own() => None,
                _ => Some(decide_arrival_of(known, &facts)),
            };
        };
        let connected = plan(&facts, opening, tables, node)
            .and_then(|plan| connect(&facts, &plan, tables, node, way_back, made));
        match connected {
            Ok(()) => {
                if let Some(service) = opening.service() {
                    node.count_connection(service);
                }
                match verdict {
                    Some(verdict @ Verdict::Translate(_)) => {
                        self.carry_out(frame, node, &facts, &verdict)
                    }
                    _ => self.decide::<A>(frame, node),
                }
            }
            Err(NotConnected::NotOurs) => Stage::Done(Action::Ok),
            Err(NotConnected::Untracked) => Stage::ByAddress,
            Err(NotConnected::Refused(reason)) => {
                node.count_drop(self.program, reason);
                Stage::Refuse(reason)
            }
            Err(NotConnected::Dropped(reason)) => Stage::Done(self.drop(node, reason)),
        }
    }

    fn answer<A: NodeFamily>(self, frame: &mut Frame, node: &Node, reason: DropReason) -> Action {
        let Parsed::Facts(facts) = parse::<A>(frame) else {
            return self.malformed(node);
        };
        match refuse(frame, &facts, Answer::of(reason as u8, 0), A::bridge(node)) {
            Ok(()) => Action::Back(self.interface),
            Err(Unanswered) => Action::Shot,
        }
    }

    fn carry_out<A: NodeFamily>(
        self,
        frame: &mut Frame,
        node: &Node,
        facts: &Facts<A>,
        verdict: &Verdict<A>,
    ) -> Stage {
        Stage::Done(match verdict {
            Verdict::Pass => Action::Ok,
            Verdict::Deliver(link) => self.leave(Way::Pod(*link)),
            Verdict::Open(opening) => return Stage::Open(*opening),
            Verdict::Forward(way) => match apply_forward::<A>(frame, *way) {
                Ok(()) => self.leave(*way),
                Err(_) => self.drop(node, DropReason::RewriteFailed),
            },
            Verdict::Translate(translation) => {
                if apply(frame, facts, translation).is_err() {
                    return Stage::Done(self.drop(node, DropReason::RewriteFailed));
                }
                node.count_packet(translation.service, frame.length());
                self.leave(translation.way.way())
            }
            Verdict::Related => return Stage::Related,
            Verdict::Fragment => self.drop(node, DropReason::LostRace),
            Verdict::Refuse(reason) => {
                node.count_drop(self.program, *reason);
                return Stage::Refuse(*reason);
            }
            Verdict::Drop(reason) => self.drop(node, *reason),
        })
    }

    fn way_back<A: NodeFamily>(
        self,
        frame: &Frame,
        facts: &Facts<A>,
        tables: &MemoryTables<A>,
    ) -> Way {
        match self.program {
            Program::TcPodIngress => {
                let mac = sender(frame).unwrap_or_default();
                Way::Pod(PodLink { interface: self.interface, mac })
            }
            Program::TcBridgeEgress | Program::TcUplinkEgress => Way::Stack,
            _ => way_to_sender(facts, tables),
        }
    }

    fn leave(self, way: Way) -> Action {
        if self.is_own() {
            return Action::Ok;
        }
        match way {
            Way::Stack => Action::Ok,
            Way::Pod(link) => Action::ToPod(link.interface),
            Way::Tunnel(node) => Action::Tunnelled(node),
            Way::Hand(node) => Action::Handed(node),
            Way::Route(_) | Way::Outside => Action::Routed,
            Way::Nowhere => Action::Shot,
        }
    }

    fn is_own(self) -> bool {
        matches!(self.program, Program::TcBridgeEgress | Program::TcUplinkEgress)
    }

    fn malformed(self, node: &Node) -> Action {
        if self.is_own() { Action::Ok } else { self.drop(node, DropReason::Malformed) }
    }

    fn drop(self, node: &Node, reason: DropReason) -> Action {
        node.count_drop(self.program, reason);
        Action::Shot
    }
}
