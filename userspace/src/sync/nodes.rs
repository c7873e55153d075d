//! Other nodes and their numbers. A node keeps its number while it is known: connections name it.
//! After a restart it is known by its address on the node network.
//!
//! A number is given to another node only when all others were, and long after it was given up, so
//! that no connection names it any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use maps_schema::{
    address::{Address as _, Ipv4Wire, Ipv6Wire},
    maps::MAX_NODES,
    way::{Node, NodeId},
};

use super::tables::{NetworkTables, TableError};

/// How long a number rests after it was given up: far longer than the reaper of connections needs.
const REST: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Nodes {
    /// As the table has them.
    written: BTreeMap<NodeId, Node>,
    by_name: BTreeMap<String, NodeId>,
    /// What a former agent has left and nobody has asked for yet.
    leftovers: BTreeSet<NodeId>,
    resting: BTreeMap<NodeId, Instant>,
    last: NodeId,
    changes: u64,
}

impl Nodes {
    /// Takes over what the table has.
    pub(super) fn read(tables: &impl NetworkTables) -> Result<Self, TableError> {
        let written: BTreeMap<NodeId, Node> = tables.nodes()?.into_iter().collect();
        Ok(Self {
            by_name: BTreeMap::new(),
            leftovers: written.keys().copied().collect(),
            resting: BTreeMap::new(),
            last: written.last_key_value().map_or(NodeId::NONE, |(&id, _)| id),
            changes: 0,
            written,
        })
    }

    /// Writes nodes, and returns their numbers; one that does not fit has none.
    pub(super) fn set(
        &mut self,
        desired: &BTreeMap<String, Node>,
        tables: &mut impl NetworkTables,
        now: Instant,
    ) -> Result<BTreeMap<String, NodeId>, TableError> {
        self.by_name.retain(|name, _| desired.contains_key(name));
        let mut nameless = self.nameless();
        let mut is_full = false;
        for (name, node) in desired {
            let known = self.by_name.get(name).copied();
            let known = known.or_else(|| nameless.get_mut(&endpoint(node))?.pop());
            let known = known.or_else(|| if is_full { None } else { self.free(now) });
            let Some(id) = known else {
                is_full = true;
                continue;
            };
            if self.written.get(&id) != Some(node) {
                tables.put_node(id, *node)?;
                self.written.insert(id, *node);
                self.resting.remove(&id);
                self.changes += 1;
            }
            self.leftovers.remove(&id);
            self.by_name.insert(name.clone(), id);
        }
        Ok(self.by_name.clone())
    }

    /// Forgets the nodes that are gone, but for leftovers and those that networks lead to. No service
    /// leads to them any more.
    pub(super) fn forget(
        &mut self,
        leads_there: impl Fn(NodeId) -> bool,
        tables: &mut impl NetworkTables,
        now: Instant,
    ) -> Result<(), TableError> {
        let named: BTreeSet<NodeId> = self.by_name.values().copied().collect();
        let stays =
            |id: NodeId| named.contains(&id) || self.leftovers.contains(&id) || leads_there(id);
        let gone: Vec<NodeId> = self.written.keys().copied().filter(|&id| !stays(id)).collect();
        for id in gone {
            tables.put_node(id, Node::default())?;
            self.written.remove(&id);
            self.resting.insert(id, now);
            self.changes += 1;
        }
        Ok(())
    }

    /// From now on, what a former agent has left is gone where nobody has asked for it.
    pub(super) fn give_up_leftovers(&mut self) {
        self.leftovers.clear();
    }

    /// The numbers that name a node.
    pub(super) fn ids(&self) -> BTreeSet<NodeId> {
        self.written.keys().copied().collect()
    }

    /// How many elements were written so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The numbers of nodes that have lost their names, or whose names are not known any more, by
    /// their addresses on the node network.
    fn nameless(&self) -> BTreeMap<Endpoint, Vec<NodeId>> {
        let named: BTreeSet<NodeId> = self.by_name.values().copied().collect();
        let mut nameless: BTreeMap<_, Vec<NodeId>> = BTreeMap::new();
        for (&id, node) in self.written.iter().filter(|(id, _)| !named.contains(id)) {
            nameless.entry(endpoint(node)).or_default().push(id);
        }
        nameless
    }

    /// The next number in the round that nothing names.
    #[expect(clippy::cast_possible_truncation, reason = "below MAX_NODES")]
    fn free(&mut self, now: Instant) -> Option<NodeId> {
        let count = MAX_NODES - 1;
        let is_free = |id: &NodeId| {
            let rests = self.resting.get(id).is_some_and(|&since| now.duration_since(since) < REST);
            !self.written.contains_key(id) && !rests
        };
        let round = (0..count).map(|step| (u32::from(self.last.0) + step) % count + 1);
        let id = round.map(|number| NodeId(number as u16)).find(is_free)?;
        self.last = id;
        Some(id)
    }
}

/// A node's address on the node network, as its element has it.
type Endpoint = (u16, [u8; 16]);

fn endpoint(node: &Node) -> Endpoint {
    let slot = match node.ip_version() {
        4 => node.endpoint::<Ipv4Wire>().to_slot(),
        _ => node.endpoint::<Ipv6Wire>().to_slot(),
    };
    (node.ip_version(), slot)
}
