//! `sessionAffinity`: connections one after the other, and what is remembered of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{World, service::PortId};
use crate::conformance::{Fate, Packet, packet::Outcome};

/// Connections that were opened, as far as affinity remembers them.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    remembered: BTreeMap<(PortId, IpAddr), (SocketAddr, u64)>,
}

impl Connections {
    /// Opens a connection at a time, in seconds, and `choose`s one of so many backends where there
    /// is a choice.
    ///
    /// A client of a service port with affinity gets the backend that it got before, at whichever
    /// of its addresses, if that was no longer ago than the timeout, and the backend may still be
    /// chosen. Each connection begins the timeout anew.
    pub fn open(
        &mut self,
        world: &World,
        packet: &Packet,
        seconds: u64,
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> Outcome {
        let judged = world.judge(packet);
        let backends: Vec<SocketAddr> = match judged.fate {
            Fate::Backends(backends) => backends.into_iter().collect(),
            Fate::Refuse => return Outcome::Refused,
            Fate::Drop => return Outcome::Dropped,
            Fate::Pass => return Outcome::Passed,
        };
        let key = judged.port.and_then(|port| {
            let timeout = world.affinity_seconds(&port)?;
            Some(((port, packet.source), timeout))
        });
        let remembered = key.as_ref().and_then(|(key, timeout)| {
            let (backend, since) = self.remembered.get(key)?;
            let is_fresh = seconds.saturating_sub(*since) <= u64::from(*timeout);
            (is_fresh && backends.contains(backend)).then_some(*backend)
        });
        let backend = remembered
            .or_else(|| backends.get(choose(backends.len())).copied())
            .expect("a choice is one of those there are");
        if let Some((key, _)) = key {
            self.remembered.insert(key, (backend, seconds));
        }
        let masqueraded = world.sees_the_node(packet, backend.ip());
        Outcome::Reached { backend, masqueraded: Some(masqueraded) }
    }
}

impl World {
    fn affinity_seconds(&self, id: &PortId) -> Option<u32> {
        let mut ports = self.services.iter().flat_map(|service| &service.ports);
        ports.find(|port| port.id() == *id)?.affinity_seconds
    }
}
