//! The stages as native code.

use std::collections::BTreeMap;

use datapath::{
    tables::Tables as _,
    testing::{
        frame::Frame,
        node::{Node, NodeFamily},
        stages::{self, Action, Hook},
    },
};
use maps_schema::{
    address::{Ipv4Wire, Ipv6Wire, Port},
    affinity::{Affinity, AffinityKey},
    counters::{Program, ServiceCounters},
    service::ServiceId,
};

use super::{
    fixture::Memory,
    machine::{Code, Machine, entry, regular},
    world::interface,
};

/// The stages, on native tables.
#[derive(Debug)]
pub struct NativeMachine(pub Node);

impl NativeMachine {
    fn entries_of<A: NodeFamily>(&self) -> Vec<String> {
        assert_eq!(self.0.require_whole_pairs::<A>(), Ok(()));
        let connections = A::tables(&self.0).connections.borrow();
        connections.iter().map(|(flow, connection)| entry(flow, connection)).collect()
    }
}

impl NativeMachine {
    fn remember_in<A: NodeFamily>(&mut self, memory: &Memory) {
        let Memory { client, group, endpoint, age } = memory;
        let (Some(client), Some(address)) = (A::from_ip(*client), A::from_ip(endpoint.ip())) else {
            return;
        };
        let opened = self.0.script.ago(*age);
        let affinity = Affinity::new(address, Port::new(endpoint.port()), opened);
        let key = AffinityKey::new(client, *group);
        A::tables(&self.0).remember_affinity(&key, &affinity);
    }

    fn regulars_of<A: NodeFamily>(&self) -> Vec<String> {
        let affinities = A::tables(&self.0).affinities.borrow();
        affinities.iter().map(|(key, affinity)| regular(key, affinity)).collect()
    }
}

impl Machine for NativeMachine {
    fn remember(&mut self, memory: &Memory) {
        self.remember_in::<Ipv4Wire>(memory);
        self.remember_in::<Ipv6Wire>(memory);
    }

    fn run(&mut self, program: Program, frame: &[u8]) -> (Code, Option<u32>, Vec<u8>) {
        let interface = interface(frame);
        let mut frame = Frame::new(frame.to_vec());
        let hook = Hook { program, interface, handed: false };
        let action = stages::run(&mut frame, &self.0, hook);
        let (code, to) = match action {
            Action::Ok => (Code::Ok, None),
            Action::Shot => (Code::Shot, None),
            Action::ToPod(interface) | Action::Back(interface) => {
                (Code::Redirect, Some(interface.get()))
            }
            Action::Tunnelled(_) | Action::Handed(_) | Action::Routed => (Code::Redirect, None),
        };
        (code, to, frame.bytes().to_vec())
    }

    fn drops(&self) -> BTreeMap<u32, u64> {
        self.0.drops.borrow().clone()
    }

    fn counters(&self) -> BTreeMap<ServiceId, ServiceCounters> {
        self.0.counters.borrow().clone()
    }

    fn entries(&self) -> Vec<String> {
        let mut entries = self.entries_of::<Ipv4Wire>();
        entries.extend(self.entries_of::<Ipv6Wire>());
        entries
    }

    fn regulars(&self) -> Vec<String> {
        let mut regulars = self.regulars_of::<Ipv4Wire>();
        regulars.extend(self.regulars_of::<Ipv6Wire>());
        regulars
    }
}
