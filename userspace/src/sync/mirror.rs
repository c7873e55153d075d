//! What a table holds, so that only what differs is written.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::TableError;

/// What a table holds.
#[derive(Debug)]
pub(super) struct Mirror<K, V> {
    written: BTreeMap<K, V>,
    /// What a former agent has left and nobody has asked for yet.
    leftovers: BTreeSet<K>,
    changes: u64,
}

impl<K: Ord + Copy, V: PartialEq + Copy> Mirror<K, V> {
    /// Takes over what the table holds. What `stays` is there until recovery is finished, even
    /// where nobody asks for it.
    pub(super) fn new(read: impl IntoIterator<Item = (K, V)>, stays: impl Fn(&V) -> bool) -> Self {
        let written: BTreeMap<K, V> = read.into_iter().collect();
        let leftovers =
            written.iter().filter(|(_, value)| stays(value)).map(|(&key, _)| key).collect();
        Self { written, leftovers, changes: 0 }
    }

    /// As the table has it.
    pub(super) const fn written(&self) -> &BTreeMap<K, V> {
        &self.written
    }

    /// Writes what is missing or differs.
    pub(super) fn put(
        &mut self,
        desired: &BTreeMap<K, V>,
        mut write: impl FnMut(K, V) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        for (&key, &value) in desired {
            self.leftovers.remove(&key);
            if self.written.get(&key) != Some(&value) {
                write(key, value)?;
                self.written.insert(key, value);
                self.changes += 1;
            }
        }
        Ok(())
    }

    /// Removes what is not desired.
    pub(super) fn remove_others(
        &mut self,
        desired: &BTreeMap<K, V>,
        remove: impl FnMut(K) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let is_surplus = |key: &&K| !desired.contains_key(key) && !self.leftovers.contains(key);
        let surplus = self.written.keys().filter(is_surplus).copied().collect();
        self.remove(surplus, remove)
    }

    /// Removes what a former agent has left and nobody has asked for.
    pub(super) fn remove_leftovers(
        &mut self,
        remove: impl FnMut(K) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        self.remove(self.leftovers.iter().copied().collect(), remove)
    }

    fn remove(
        &mut self,
        keys: Vec<K>,
        mut remove: impl FnMut(K) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        for key in keys {
            remove(key)?;
            self.written.remove(&key);
            self.leftovers.remove(&key);
            self.changes += 1;
        }
        Ok(())
    }

    /// How many elements were written or deleted so far.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }
}
