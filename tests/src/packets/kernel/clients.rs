//! What is remembered of clients, in maps.

use std::time::Duration;

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use maps_schema::{
    address::Port,
    affinity::{Affinity, AffinityKey},
    clock::Moment,
};
use nix::time::{ClockId, clock_gettime};

use super::{KernelMachine, Named};
use crate::packets::{fixture::Memory, machine::regular};

impl KernelMachine {
    pub(super) fn remember_in<A: Named>(&mut self, memory: &Memory)
    where
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
    {
        let Memory { client, group, endpoint, age } = memory;
        let (Some(client), Some(address)) = (A::from_ip(*client), A::from_ip(endpoint.ip())) else {
            return;
        };
        let affinity = Affinity::new(address, Port::new(endpoint.port()), ago(*age));
        let mut affinities: HashMap<&mut MapData, AffinityKey<A>, Affinity<A>> =
            self.map_mut(A::AFFINITIES, HashMap::try_from);
        let key = AffinityKey::new(client, *group);
        affinities.insert(key, affinity, 0).expect("writing a client");
    }

    pub(super) fn regulars_of<A: Named>(&self) -> Vec<String>
    where
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
    {
        let map = self.ebpf.map(A::AFFINITIES).expect("the object has the map");
        let affinities: HashMap<&MapData, AffinityKey<A>, Affinity<A>> =
            HashMap::try_from(map).expect("the map is a hash");
        affinities.iter().flatten().map(|(key, affinity)| regular(&key, &affinity)).collect()
    }
}

/// The moment so long ago, which may be before boot.
pub(super) fn ago(time: Duration) -> Moment {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock"));
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).expect("a day is short");
    Moment::from_nanoseconds(nanoseconds(now).wrapping_sub(nanoseconds(time)))
}
