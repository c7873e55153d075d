//! The objects and their history.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{PostedEvents, resource_of};

/// How many changes are remembered.
const REMEMBERED: usize = 20_000;

/// What goes wrong with the next answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every request is answered with this status.
    Status(u16),
    /// Answers are what no Kubernetes says.
    WrongContent,
    /// Lists and watches are of another kind of object, and well-formed.
    WrongKind,
    /// Answers end well in the middle of an object.
    Half,
    /// Connections are cut in the middle of an object.
    Cut,
    /// Answers take so long.
    Slow(Duration),
}

/// A change, as a watch tells of it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) version: u64,
    pub(super) resource: &'static str,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<(&'static str, String), Value>,
    /// In the order of their versions.
    history: VecDeque<Told>,
    version: u64,
    /// What is older is not remembered.
    oldest: u64,
    fault: Fault,
    lists: u64,
    /// Without it requests are answered 401.
    token: Option<String>,
}

/// What an API server knows.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    events: PostedEvents,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            events: PostedEvents::default(),
        }
    }
}

impl Store {
    /// Sets objects, one change each.
    pub fn apply(&self, objects: &[Value]) {
        for object in objects {
            self.change(resource_of(object), &key_of(object), Some(object.clone()));
        }
    }

    /// Removes objects.
    pub fn delete(&self, objects: &[Value]) {
        for object in objects {
            self.change(resource_of(object), &key_of(object), None);
        }
    }

    /// Forgets what has changed until now: watches that know less begin anew.
    pub fn forget(&self) {
        let mut state = self.state();
        state.oldest = state.version;
        state.history.clear();
    }

    /// What goes wrong from now on. Watches that are open end.
    pub fn fail(&self, fault: Fault) {
        let version = {
            let mut state = self.state();
            state.fault = fault;
            state.version
        };
        self.changed.send_replace(version);
    }

    /// Answers only those who show this token, from the next request on.
    pub fn require_token(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Whether a request with this header is answered.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        let state = self.state();
        let shown = authorization.and_then(|header| header.strip_prefix("Bearer "));
        state.token.as_deref().is_none_or(|token| shown == Some(token))
    }

    /// The events that were posted.
    pub fn events(&self) -> &PostedEvents {
        &self.events
    }

    /// How many lists were asked for, pages of one counted each.
    pub fn lists(&self) -> u64 {
        self.state().lists
    }

    pub(super) fn fault(&self) -> Fault {
        self.state().fault
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// All objects of a resource behind a key, and the version that they are of.
    pub(super) fn list(&self, resource: &str, behind: &str) -> (Vec<(String, Value)>, u64) {
        let mut state = self.state();
        state.lists += 1;
        let of_resource = state
            .objects
            .iter()
            .filter(|((one, key), _)| *one == resource && key.as_str() > behind);
        let objects = of_resource.map(|((_, key), object)| (key.clone(), object.clone()));
        (objects.collect(), state.version)
    }

    /// What has changed since a version; none where that is not remembered.
    pub(super) fn since(&self, resource: &str, version: u64) -> Option<(Vec<Told>, u64)> {
        let state = self.state();
        if version < state.oldest {
            return None;
        }
        let known = state.history.partition_point(|told| told.version <= version);
        let told = state.history.range(known..).filter(|told| told.resource == resource);
        Some((told.cloned().collect(), state.version))
    }

    fn change(&self, resource: &'static str, key: &str, after: Option<Value>) {
        let version = {
            let mut state = self.state();
            state.version += 1;
            let version = state.version;
            let key = (resource, key.to_owned());
            let written = after.map(|mut object| {
                object["metadata"]["resourceVersion"] = json!(version.to_string());
                object
            });
            let before = match &written {
                Some(object) => state.objects.insert(key, object.clone()),
                None => state.objects.remove(&key),
            };
            state.history.push_back(Told { version, resource, before, after: written });
            if state.history.len() > REMEMBERED
                && let Some(forgotten) = state.history.pop_front()
            {
                state.oldest = forgotten.version;
            }
            version
        };
        self.changed.send_replace(version);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}
