//! How often maps are asked and changed.

use std::{cell::RefCell, collections::BTreeMap, fmt};

/// A kind of map; each family's are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    /// `SOURCES`, an array.
    Sources,
    /// `CONNECTIONS_V4` and `_V6`, hashes.
    Connections,
    /// `FRONTENDS_V4` and `_V6`, hashes.
    Frontends,
    /// `SERVICES`, an array.
    Services,
    /// `SLOTS`, an array.
    Slots,
    /// `BACKENDS`, an array.
    Backends,
    /// `ADDRESSES_V4` and `_V6`, hashes.
    Addresses,
    /// `NETWORKS_V4` and `_V6`, tries.
    Networks,
    /// `SOURCE_RANGES_V4` and `_V6`, tries.
    SourceRanges,
    /// `AFFINITY_RULES`, an array.
    AffinityRules,
    /// `AFFINITIES_V4` and `_V6`, hashes.
    Affinities,
}

/// What is done with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// An element is looked for; what the program then writes through the pointer is no access.
    Lookup,
    /// An element is added or replaced.
    Update,
    /// An element is removed.
    Delete,
}

/// How often each was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accesses(RefCell<BTreeMap<(Map, Access), u32>>);

impl Accesses {
    /// Counts one.
    pub(super) fn count(&self, map: Map, access: Access) {
        *self.0.borrow_mut().entry((map, access)).or_default() += 1;
    }

    /// What was counted; from now on, counting begins anew.
    #[must_use]
    pub fn take(&self) -> Self {
        Self(RefCell::new(self.0.take()))
    }
}

impl fmt::Display for Accesses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ((map, access), count) in self.0.borrow().iter() {
            let access = match access {
                Access::Lookup => "",
                Access::Update => " added",
                Access::Delete => " removed",
            };
            write!(formatter, "{separator}{count} {map:?}{access}")?;
            separator = ", ";
        }
        Ok(())
    }
}
