//! What watches have told, and the changes that follow from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use kube::runtime::watcher::Event;

use crate::{
    cluster::model::{Kind, Object, ObjectName},
    source::{
        Batch, Change, Origin, SourceError,
        validate::{self, FieldError},
    },
};

/// How long an outage counts that was not heard of again. A watch that goes on where it ended has
/// nothing to tell.
const OUTAGE: Duration = Duration::from_secs(10);

/// The kinds that are watched.
pub const KINDS: [Kind; 4] = [Kind::Node, Kind::ServiceCidr, Kind::Service, Kind::EndpointSlice];

/// A kind of object of the API server's.
pub(super) trait Watched: kube::Resource {
    /// Which one.
    const KIND: Kind;

    /// The object as the agent knows it.
    fn read(&self) -> Result<Object, FieldError>;
}

macro_rules! watched {
    ($($kind:ident: $api:ty, $validate:path, $object:path;)*) => {$(
        impl Watched for $api {
            const KIND: Kind = Kind::$kind;

            fn read(&self) -> Result<Object, FieldError> {
                $validate(self).map(|object| $object(Arc::new(object)))
            }
        }
    )*};
}

watched! {
    Node: Node, validate::node, Object::Node;
    Service: Service, validate::service, Object::Service;
    EndpointSlice: EndpointSlice, validate::endpoint_slice, Object::EndpointSlice;
    ServiceCidr: ServiceCIDR, validate::service_cidr, Object::ServiceCidr;
}

/// The API server's objects as far as they are known here: their names, and not their contents,
/// which the agent has.
#[derive(Debug)]
pub(super) struct Mirror {
    origin: Origin,
    kinds: BTreeMap<Kind, OneKind>,
    refused: BTreeMap<(Kind, ObjectName), SourceError>,
    /// What is to be told, by object: of what changed twice, the second.
    news: BTreeMap<(Kind, ObjectName), Change>,
    /// Whether errors have changed since they were told.
    has_other_errors: bool,
}

#[derive(Debug, Default)]
struct OneKind {
    known: BTreeSet<ObjectName>,
    /// What a list that is under way has shown so far.
    listed: Option<BTreeSet<ObjectName>>,
    /// Whether all were listed once.
    is_complete: bool,
    /// Why the API server was not heard when it was asked last.
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    message: String,
    heard: Instant,
}

impl Mirror {
    /// Nothing is known yet.
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            kinds: KINDS.into_iter().map(|kind| (kind, OneKind::default())).collect(),
            refused: BTreeMap::new(),
            news: BTreeMap::new(),
            has_other_errors: false,
        }
    }

    /// Takes in what the watch of a kind has told.
    ///
    /// A list that begins anew, after an outage or because the server has forgotten what changed
    /// since, changes nothing by itself: what it shows is set, and what it does not show is removed
    /// when it is whole.
    pub(super) fn hear<K: Watched>(&mut self, event: Event<K>) {
        self.end_outage(K::KIND);
        match event {
            Event::Init => self.kind(K::KIND).listed = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                let name = name_of(&object);
                if let Some(listed) = &mut self.kind(K::KIND).listed {
                    listed.insert(name.clone());
                }
                self.set(name, &object);
            }
            Event::InitDone => {
                let kind = self.kind(K::KIND);
                kind.is_complete = true;
                let listed = kind.listed.take().unwrap_or_default();
                let gone: Vec<ObjectName> = kind.known.difference(&listed).cloned().collect();
                for name in gone {
                    self.remove(K::KIND, name);
                }
            }
            Event::Apply(object) => self.set(name_of(&object), &object),
            Event::Delete(object) => self.remove(K::KIND, name_of(&object)),
        }
    }

    /// Notes that a kind cannot be watched at this moment. What is known of it stays.
    pub(super) fn lose(&mut self, kind: Kind, message: String, heard: Instant) {
        let before = self.kind(kind).outage.replace(Outage { message, heard });
        let before = before.map(|outage| outage.message);
        let after = self.kind(kind).outage.as_ref().map(|outage| &outage.message);
        self.has_other_errors |= before.as_ref() != after;
    }

    /// Ends the outages that were not heard of again.
    pub(super) fn forget_outages(&mut self, now: Instant) {
        let is_over = |outage: &Outage| now.saturating_duration_since(outage.heard) > OUTAGE;
        for kind in KINDS {
            if self.kind(kind).outage.as_ref().is_some_and(is_over) {
                self.end_outage(kind);
            }
        }
    }

    /// Notes that the API server does not have a kind: an older version of Kubernetes.
    pub(super) fn go_without(&mut self, kind: Kind) {
        self.end_outage(kind);
        self.kind(kind).is_complete = true;
        let known = std::mem::take(&mut self.kind(kind).known);
        for name in known {
            self.remove(kind, name);
        }
    }

    /// Whether there is something to tell. Before every kind was listed once there are only errors.
    pub(super) fn has_news(&self) -> bool {
        self.has_other_errors || (self.is_complete() && !self.news.is_empty())
    }

    /// What is to be told.
    pub(super) fn take(&mut self) -> Batch {
        self.has_other_errors = false;
        let synced = self.is_complete();
        let news = if synced { std::mem::take(&mut self.news) } else { BTreeMap::new() };
        let outages = self.kinds.iter().filter_map(|(kind, one)| {
            let message = one.outage.as_ref()?.message.clone();
            Some(SourceError { kind: Some(kind.to_string()), ..self.origin.error(message) })
        });
        let errors = outages.chain(self.refused.values().cloned()).collect();
        Batch { changes: news.into_values().collect(), errors, synced }
    }

    fn is_complete(&self) -> bool {
        self.kinds.values().all(|one| one.is_complete)
    }

    fn kind(&mut self, kind: Kind) -> &mut OneKind {
        self.kinds.entry(kind).or_default()
    }

    fn set<K: Watched>(&mut self, name: ObjectName, object: &K) {
        self.kind(K::KIND).known.insert(name.clone());
        let key = (K::KIND, name);
        match object.read() {
            Ok(read) => {
                self.has_other_errors |= self.refused.remove(&key).is_some();
                self.news.insert(key, Change::Set(read, self.origin.clone()));
            }
            Err(error) => {
                let error = SourceError {
                    field: Some(error.field),
                    message: error.message,
                    ..SourceError::about_object(&self.origin, key.0, &key.1)
                };
                self.has_other_errors |= self.refused.get(&key) != Some(&error);
                self.refused.insert(key, error);
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: ObjectName) {
        self.kind(kind).known.remove(&name);
        let key = (kind, name.clone());
        self.has_other_errors |= self.refused.remove(&key).is_some();
        self.news.insert(key, Change::Removed(kind, name));
    }

    fn end_outage(&mut self, kind: Kind) {
        self.has_other_errors |= self.kind(kind).outage.take().is_some();
    }
}

fn name_of<K: Watched>(object: &K) -> ObjectName {
    let metadata = object.meta();
    let name = metadata.name.clone().unwrap_or_default();
    match K::KIND {
        Kind::Node => ObjectName { namespace: String::new(), name: name.to_ascii_lowercase() },
        _ => ObjectName { namespace: metadata.namespace.clone().unwrap_or_default(), name },
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
