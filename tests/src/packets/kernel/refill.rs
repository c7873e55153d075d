//! One set of loaded programs for many nodes, one after the other: loading takes seconds, and
//! filling maps does not.

use std::{collections::BTreeMap, time::Duration};

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, MapData},
};
use datapath::testing::node::Node;
use maps_schema::{
    address::{IfIndex, Ipv4Wire, Ipv6Wire},
    affinity::{Affinity, AffinityKey},
    counters::Program,
    maps,
    service::{AddressEntry, Frontend, FrontendKey, SourceKey},
    way::{Network, Node as PeerNode},
};

use super::{KernelMachine, Named, clients::ago};
use crate::packets::machine::Code;

/// How long ago clients' endpoints were noted, as far as time was made to pass: what was noted
/// since has the moment that the program has written.
#[derive(Clone, Debug, Default)]
pub struct Ages {
    v4: BTreeMap<AffinityKey<Ipv4Wire>, (Affinity<Ipv4Wire>, Duration)>,
    v6: BTreeMap<AffinityKey<Ipv6Wire>, (Affinity<Ipv6Wire>, Duration)>,
}

impl KernelMachine {
    /// Lets the maps hold a node's tables, and no other's; its bridge is the one that the programs
    /// were loaded with. What programs have written stays.
    pub fn refill(&mut self, node: &Node) {
        self.empty::<Ipv4Wire>();
        self.empty::<Ipv6Wire>();
        self.fill(node);
    }

    /// Forgets connections and clients.
    pub fn forget(&mut self) {
        self.clear_flows::<Ipv4Wire>();
        self.clear_flows::<Ipv6Wire>();
    }

    /// Removes what is known of other nodes.
    pub fn forget_nodes(&mut self, count: u32) {
        let mut nodes: Array<&mut MapData, PeerNode> = self.map_mut(maps::NODES, Array::try_from);
        for number in 0..count {
            nodes.set(number, PeerNode::default(), 0).expect("clearing a node");
        }
    }

    /// Runs a program on a frame that came in by, or leaves by, an interface, which there is; returns
    /// what it returns, and what the frame has become.
    pub fn run_at(
        &mut self,
        program: Program,
        interface: IfIndex,
        frame: &[u8],
    ) -> (Code, Vec<u8>) {
        self.test_run(program, interface, frame)
    }

    /// Makes clients' endpoints look as if they were noted so much longer ago.
    pub fn age_clients(&mut self, ages: &mut Ages, by: Duration) {
        self.age_clients_of(&mut ages.v4, by);
        self.age_clients_of(&mut ages.v6, by);
    }

    fn age_clients_of<A: Named>(
        &mut self,
        known: &mut BTreeMap<AffinityKey<A>, (Affinity<A>, Duration)>,
        by: Duration,
    ) where
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
    {
        let mut affinities: HashMap<&mut MapData, AffinityKey<A>, Affinity<A>> =
            self.map_mut(A::AFFINITIES, HashMap::try_from);
        let entries: Vec<_> = affinities.iter().flatten().collect();
        for (key, affinity) in entries {
            let age = match known.get(&key) {
                Some((written, age)) if *written == affinity => *age + by,
                _ => by,
            };
            let aged = Affinity::new(affinity.address, affinity.port, ago(age));
            affinities.insert(key, aged, 0).expect("writing a client");
            known.insert(key, (aged, age));
        }
    }

    fn empty<A: Named>(&mut self)
    where
        FrontendKey<A>: Pod,
        AffinityKey<A>: Pod,
        Affinity<A>: Pod,
        SourceKey<A>: Pod,
    {
        self.clear::<FrontendKey<A>, Frontend>(A::FRONTENDS);
        self.clear::<A, AddressEntry>(A::ADDRESSES);
        let mut networks: LpmTrie<&mut MapData, A, Network> =
            self.map_mut(A::NETWORKS, LpmTrie::try_from);
        let keys: Vec<_> = networks.keys().flatten().collect();
        for key in keys {
            networks.remove(&key).expect("removing a network");
        }
        let mut ranges: LpmTrie<&mut MapData, SourceKey<A>, u8> =
            self.map_mut(A::SOURCE_RANGES, LpmTrie::try_from);
        let keys: Vec<_> = ranges.keys().flatten().collect();
        for key in keys {
            ranges.remove(&key).expect("removing a source range");
        }
    }
}
