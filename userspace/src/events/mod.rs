//! Events: what whoever describes an object with kubectl is to see of it.
//!
//! They are for people, so there are few of them: each error is told when it appears, all nodes tell
//! of one that is the object's own by one name, so that the API server keeps one, and whoever has
//! too much to say is not heard. Nothing waits for them, and no failure of theirs is more than a line
//! in the log.

mod allowance;
mod post;
mod uid;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::Client;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    cluster::model::Kind,
    metrics::{EventOutcome, Metrics},
};

/// Who reports.
const CONTROLLER: &str = "shunt";
/// How many may wait to be posted.
const QUEUE: usize = 64;
/// The most that a note may have, in bytes (`ValidateEventCreate` of Kubernetes).
const LONGEST_NOTE: usize = 1024;
/// The most of an object's name in an event's, which has a dot and 16 digits behind it.
const LONGEST_NAME: usize = 236;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Regarding {
    /// The object's kind.
    pub kind: Kind,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Regarding {
    /// A Node.
    pub fn node(name: &str) -> Self {
        Self { kind: Kind::Node, namespace: None, name: name.to_owned() }
    }

    fn reference(&self, uid: Option<String>) -> ObjectReference {
        let api_version = match self.kind {
            Kind::Node | Kind::Pod | Kind::Service => "v1",
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::ServiceCidr => "networking.k8s.io/v1",
        };
        ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(self.kind.to_string()),
            namespace: self.namespace.clone(),
            name: Some(self.name.clone()),
            uid,
            ..ObjectReference::default()
        }
    }
}

/// Whose matter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The object's: every node says the same.
    Clusters,
    /// This node's.
    Nodes,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    regarding: Regarding,
    whose: Whose,
    kind: &'static str,
    reason: &'static str,
    action: &'static str,
    note: String,
    /// When, where each time is an event of its own.
    at: Option<Timestamp>,
}

impl Notice {
    /// Something is wrong.
    pub fn warning(
        regarding: Regarding,
        whose: Whose,
        reason: &'static str,
        action: &'static str,
        note: &str,
    ) -> Self {
        let note = note.get(..note.floor_char_boundary(LONGEST_NOTE)).unwrap_or_default();
        let note = note.to_owned();
        Self { regarding, whose, kind: "Warning", reason, action, note, at: None }
    }

    /// An agent starts, as kube-proxy says it.
    pub fn starting(regarding: Regarding) -> Self {
        Self {
            regarding,
            whose: Whose::Nodes,
            kind: "Normal",
            reason: "Starting",
            action: "Start",
            note: String::new(),
            at: Some(Timestamp::now()),
        }
    }

    /// The event, as posted from a node; `uid` is the object's.
    fn event(&self, node: &str, uid: Option<String>) -> Event {
        let Self { regarding, kind, reason, action, note, .. } = self;
        let name = regarding.name.get(..LONGEST_NAME).unwrap_or(&regarding.name);
        let name = format!("{}.{:016x}", name.trim_end_matches(['.', '-']), self.digest(node));
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(self.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            action: Some((*action).to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(note.clone()).filter(|note| !note.is_empty()),
            reason: Some((*reason).to_owned()),
            regarding: Some(regarding.reference(uid)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(node.to_owned()),
            type_: Some((*kind).to_owned()),
            ..Event::default()
        }
    }

    /// Events of objects without a namespace are kept there.
    fn namespace(&self) -> &str {
        self.regarding.namespace.as_deref().unwrap_or("default")
    }

    /// What is the same makes the same event.
    fn digest(&self, node: &str) -> u64 {
        let Self { regarding, whose, kind: _, reason, action: _, note, at } = self;
        let mut hasher = DefaultHasher::new();
        (regarding, whose, reason, note).hash(&mut hasher);
        at.map(Timestamp::as_nanosecond).hash(&mut hasher);
        if *whose == Whose::Nodes {
            node.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Takes notices, and has them posted.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Notice>,
    metrics: Arc<Metrics>,
}

/// Posts notices until all [`Events`] are dropped.
#[derive(Debug)]
pub struct Poster(JoinHandle<()>);

/// Starts to post, as this node's agent. To be called within the runtime.
pub fn start(client: Client, node: &str, metrics: &Arc<Metrics>) -> (Events, Poster) {
    let (sender, notices) = mpsc::channel(QUEUE);
    let task = post::post(client, node.to_owned(), notices, Arc::clone(metrics));
    (Events { sender, metrics: Arc::clone(metrics) }, Poster(tokio::spawn(task)))
}

impl Events {
    /// Tells it, if there is room; nothing is waited for.
    pub fn tell(&self, notice: Notice) {
        if self.sender.try_send(notice).is_err() {
            self.metrics.event(EventOutcome::Suppressed);
        }
    }
}

impl Poster {
    /// Waits until all that was told is posted, but no longer than that.
    pub async fn finish(self, patience: Duration) {
        // What is not posted by then is not missed by anybody.
        let _ = timeout(patience, self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regarding(name: &str) -> Regarding {
        let namespace = Some("shop".to_owned());
        Regarding { kind: Kind::Service, namespace, name: name.to_owned() }
    }

    fn name(notice: &Notice, node: &str) -> String {
        notice.event(node, None).metadata.name.unwrap()
    }

    #[test]
    fn what_is_the_same_on_all_nodes_is_one_event_and_what_is_a_nodes_own_is_not() {
        let of =
            |whose, note| Notice::warning(regarding("web"), whose, "Refused", "Validate", note);
        let refused = of(Whose::Clusters, "spec.ports[0]: no");
        assert_eq!(name(&refused, "a"), name(&refused, "b"));
        assert_eq!(name(&refused, "a"), name(&refused.clone(), "a"));
        assert_ne!(name(&refused, "a"), name(&of(Whose::Clusters, "another"), "a"));
        let own = of(Whose::Nodes, "spec.ports[0]: no");
        assert_ne!(name(&own, "a"), name(&own, "b"));
        let start = || Notice::starting(Regarding::node("a"));
        assert_ne!(name(&start(), "a"), name(&start(), "a"));
    }

    #[test]
    fn an_event_is_what_the_api_server_takes() {
        let long = "ä".repeat(2000);
        let notice = Notice::warning(
            regarding(&"x.".repeat(126)),
            Whose::Nodes,
            "Refused",
            "Validate",
            &long,
        );
        let event = notice.event("node1", Some("u-1".to_owned()));
        let name = event.metadata.name.as_deref().unwrap();
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.reporting_instance.as_deref(), Some("node1"));
        let reference = event.regarding.unwrap();
        assert_eq!(reference.uid.as_deref(), Some("u-1"));
        assert_eq!(reference.api_version.as_deref(), Some("v1"));
        let starting = Notice::starting(Regarding::node("node1")).event("node1", None);
        assert_eq!(starting.metadata.namespace.as_deref(), Some("default"));
        assert_eq!((starting.type_.as_deref(), starting.note), (Some("Normal"), None));
    }
}
