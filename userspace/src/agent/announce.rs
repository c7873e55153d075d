//! What is wrong with objects, as events about them.

use std::collections::BTreeSet;

use crate::{
    cluster::model::Kind,
    events::{Events, Notice, Regarding, Whose},
    operations::{Door, DoorError},
    source::SourceError,
};

/// Why there is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The object does not validate.
    Refused,
    /// Another object has what it claims.
    Conflict,
    /// It could not be put in force on this node.
    NotInForce,
    /// Its health checks are not answered on this node.
    NoHealthCheck,
}

/// Says each error once: when it appears, not again at every later change. Without an API server,
/// nobody hears it.
#[derive(Debug)]
pub(super) struct Announcer {
    events: Option<Events>,
    node: String,
    standing: BTreeSet<(Why, SourceError)>,
}

impl Announcer {
    pub(super) fn new(node: &str, events: Option<Events>) -> Self {
        Self { events, node: node.to_owned(), standing: BTreeSet::new() }
    }

    /// Whether there is anybody who hears it.
    pub(super) const fn is_heard(&self) -> bool {
        self.events.is_some()
    }

    /// Says that the agent starts.
    pub(super) fn starting(&self) {
        self.about_node(Notice::starting(Regarding::node(&self.node)));
    }

    /// Says that the agent cannot answer, and ends.
    pub(super) fn no_door(&self, error: &DoorError) {
        let reason = match error.door {
            Door::Healthz => "FailedToStartProxierHealthcheck",
            Door::Metrics => "FailedToStartMetricServer",
        };
        let regarding = Regarding::node(&self.node);
        self.about_node(Notice::warning(
            regarding,
            Whose::Nodes,
            reason,
            "Start",
            &error.to_string(),
        ));
    }

    fn about_node(&self, notice: Notice) {
        if let Some(events) = &self.events {
            events.tell(notice);
        }
    }

    /// Takes all that is wrong now, and says what was not wrong before.
    pub(super) fn update(&mut self, errors: Vec<(Why, SourceError)>) {
        let Some(events) = &self.events else { return };
        let now: BTreeSet<_> = errors.into_iter().collect();
        for (why, error) in now.difference(&self.standing) {
            if let Some(notice) = notice(*why, error) {
                events.tell(notice);
            }
        }
        self.standing = now;
    }
}

/// What is said of an error; nothing of one that is about no object.
fn notice(why: Why, error: &SourceError) -> Option<Notice> {
    let SourceError { kind, namespace, name, field, message, .. } = error;
    let kinds = [Kind::Node, Kind::Service, Kind::EndpointSlice, Kind::ServiceCidr, Kind::Pod];
    let kind = kinds.into_iter().find(|known| Some(known.to_string()) == *kind)?;
    let (whose, reason, action) = match why {
        Why::Refused => (Whose::Clusters, "Refused", "Validate"),
        Why::Conflict => (Whose::Clusters, "Conflict", "Claim"),
        Why::NotInForce => (Whose::Nodes, "NotInForce", "Program"),
        Why::NoHealthCheck => (Whose::Nodes, "FailedToStartServiceHealthcheck", "Listen"),
    };
    let regarding = Regarding { kind, namespace: namespace.clone(), name: name.clone()? };
    let note = match field {
        Some(field) => format!("{field}: {message}"),
        None => message.clone(),
    };
    Some(Notice::warning(regarding, whose, reason, action, &note))
}
