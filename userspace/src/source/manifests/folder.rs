//! What is in force, given what the files say now and what they said before.
//!
//! Pure: it is told the contents of files that changed, and answers with a [`Batch`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    cluster::model::{Kind, Object, ObjectName},
    source::{
        Batch, Change, Origin, SourceError,
        manifests::documents::{File, Item, read_file},
    },
};

/// Names an object among those of all kinds.
type Key = (Kind, ObjectName);

/// What was found of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its contents.
    Content(Vec<u8>),
    /// It is there and cannot be read: why.
    Unreadable(String),
    /// It is not there.
    Gone,
}

/// The folder's files and what they have put in force.
#[derive(Debug, Default)]
pub struct Folder {
    files: BTreeMap<Arc<Path>, FileState>,
    objects: HashMap<Arc<Key>, Offers>,
    /// Objects that several documents offer.
    disputed: BTreeSet<Key>,
    warned_kinds: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct FileState {
    /// As last parsed without an error.
    file: File,
    /// Why it is refused as a whole.
    error: Option<SourceError>,
    /// Which of its objects are refused.
    refusals: Vec<SourceError>,
    /// What it offers.
    keys: HashSet<Arc<Key>>,
}

/// Who offers an object, and whose offer is in force.
#[derive(Debug, Default)]
struct Offers {
    offers: Vec<Offer>,
    in_force: Option<Offer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    object: Object,
    origin: Origin,
}

impl Folder {
    /// Takes what was found of files that changed.
    pub fn update(&mut self, readings: impl IntoIterator<Item = (Arc<Path>, Reading)>) -> Batch {
        let mut affected = HashSet::new();
        for (path, reading) in readings {
            match reading {
                Reading::Gone => {
                    if let Some(state) = self.files.remove(&path) {
                        self.withdraw(&path, &state.keys);
                        affected.extend(state.keys);
                    }
                }
                Reading::Unreadable(message) => {
                    self.files.entry(Arc::clone(&path)).or_default().error =
                        Some(SourceError::about_file(&path, message));
                }
                Reading::Content(bytes) => self.read(&path, &bytes, &mut affected),
            }
        }
        Batch { changes: self.decide(affected), errors: self.errors(), synced: true }
    }

    /// Everything that is refused at this moment.
    pub fn errors(&self) -> Vec<SourceError> {
        let mut errors: Vec<SourceError> = self
            .files
            .values()
            .flat_map(|state| state.error.iter().chain(&state.refusals))
            .cloned()
            .collect();
        for key in &self.disputed {
            let Some(Offers { offers, in_force: Some(winner) }) = self.objects.get(key) else {
                continue;
            };
            let losers = offers.iter().filter(|offer| offer.origin != winner.origin);
            errors.extend(losers.map(|loser| duplicate_error(key, loser, winner)));
        }
        errors.sort();
        errors
    }

    fn read(&mut self, path: &Arc<Path>, bytes: &[u8], affected: &mut HashSet<Arc<Key>>) {
        let state = self.files.entry(Arc::clone(path)).or_default();
        let file = match read_file(path, bytes, &state.file) {
            Ok(file) => file,
            Err(error) => {
                state.error = Some(*error);
                return;
            }
        };
        let FileState { file: _, error: _, refusals: _, keys: old_keys } = std::mem::take(state);
        let old = self.withdraw(path, &old_keys);
        affected.extend(old_keys);
        let mut new_state = FileState { file, ..FileState::default() };
        let new = self.offers_of(path, &mut new_state, old);
        for (key, offer) in new {
            // Nearly every object is offered once.
            let key = match self.objects.get_key_value(&key) {
                Some((known, _)) => Arc::clone(known),
                None => Arc::new(key),
            };
            affected.insert(Arc::clone(&key));
            new_state.keys.insert(Arc::clone(&key));
            let offers = &mut self.objects.entry(key).or_default().offers;
            offers.reserve_exact(1);
            offers.push(offer);
        }
        self.files.insert(Arc::clone(path), new_state);
    }

    /// What a file offers now: what is valid in it; and, for an object that it refuses, the version
    /// that it offered before. Where it refuses something that does not say which object it is,
    /// that may be any of those that it offered before, so all of them stay.
    fn offers_of(
        &mut self,
        path: &Arc<Path>,
        state: &mut FileState,
        mut old: HashMap<Key, Vec<Offer>>,
    ) -> Vec<(Key, Offer)> {
        let mut offers = Vec::new();
        let mut refused = Vec::new();
        let mut keep_all = false;
        for document in &mut state.file.documents {
            let origin = Origin::document(path, document.number);
            for item in &mut document.items {
                match item {
                    Item::Valid(object) => {
                        let key = (object.kind(), object.name());
                        let same = old.get(&key).into_iter().flatten();
                        if let Some(same) =
                            same.map(|offer| &offer.object).find(|old| *old == object)
                        {
                            *object = same.clone();
                        }
                        let offer = Offer { object: object.clone(), origin: origin.clone() };
                        offers.push((key, offer));
                    }
                    Item::Refused(refusal) => {
                        state.refusals.push(refusal.to_error(path, document.number));
                        match &refusal.key {
                            Some(key) => refused.push(key.clone()),
                            None => keep_all = true,
                        }
                    }
                    Item::Skipped(kind) => {
                        if self.warned_kinds.insert(kind.clone()) {
                            log::warn!("skipped kind={kind:?} file={}: not read", path.display());
                        }
                    }
                }
            }
        }
        for (key, _) in &offers {
            old.remove(key);
        }
        if !keep_all {
            old.retain(|key, _| refused.contains(key));
        }
        let kept = old.into_iter();
        offers.extend(
            kept.flat_map(|(key, offers)| {
                offers.into_iter().map(move |offer| (key.clone(), offer))
            }),
        );
        offers
    }

    /// Takes back what a file offers, and returns it.
    fn withdraw(&mut self, path: &Arc<Path>, keys: &HashSet<Arc<Key>>) -> HashMap<Key, Vec<Offer>> {
        let mut withdrawn = HashMap::new();
        for key in keys {
            if let Some(offers) = self.objects.get_mut(key) {
                let taken: Vec<Offer> =
                    offers.offers.extract_if(.., |offer| offer.origin.file == *path).collect();
                withdrawn.insert((**key).clone(), taken);
            }
        }
        withdrawn
    }

    fn decide(&mut self, affected: HashSet<Arc<Key>>) -> Vec<Change> {
        let mut removed = Vec::new();
        let mut set = Vec::new();
        for key in affected {
            let Some(entry) = self.objects.get_mut(&key) else {
                continue;
            };
            if entry.offers.len() > 1 {
                self.disputed.insert((*key).clone());
            } else {
                self.disputed.remove(&key);
            }
            let Some(winner) = entry.winner().cloned() else {
                self.objects.remove(&key);
                removed.push(key);
                continue;
            };
            if entry.in_force.as_ref() != Some(&winner) {
                set.push((key, winner.clone()));
                entry.in_force = Some(winner);
            }
        }
        removed.sort();
        set.sort_by(|(one, _), (other, _)| one.cmp(other));
        let removed = removed.into_iter().map(|key| Change::Removed(key.0, key.1.clone()));
        let set = set.into_iter().map(|(_, offer)| Change::Set(offer.object, offer.origin));
        removed.chain(set).collect()
    }
}

impl Offers {
    /// The offer that is to be in force: the oldest; of those the one that is in force already.
    fn winner(&self) -> Option<&Offer> {
        let in_force = self.in_force.as_ref();
        self.offers.iter().min_by_key(|offer| {
            let other_file = in_force.is_none_or(|served| served.origin.file != offer.origin.file);
            let other_object = in_force.is_none_or(|served| served.object != offer.object);
            let created = offer.object.created().unwrap_or(Timestamp::MAX);
            (created, other_file, other_object, &offer.origin.file, offer.origin.document)
        })
    }
}

fn duplicate_error(key: &Key, loser: &Offer, winner: &Offer) -> SourceError {
    let (kind, name) = key;
    let place = winner.origin.file.file_name().unwrap_or_default().to_string_lossy();
    let reason = if loser.object.created() == winner.object.created() {
        "was there first"
    } else {
        "is older (metadata.creationTimestamp)"
    };
    SourceError {
        message: format!(
            "{kind} {name} is also in document {} of {place}, which {reason} and stays in force: \
             remove one of them",
            winner.origin.document.unwrap_or_default()
        ),
        ..SourceError::about_object(&loser.origin, *kind, name)
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
