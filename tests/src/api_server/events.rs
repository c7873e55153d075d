//! Events that are posted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::Store;

/// What was posted, and whether more may be.
#[derive(Debug, Default)]
pub struct PostedEvents(Mutex<Posted>);

#[derive(Debug, Default)]
struct Posted {
    events: BTreeMap<String, Value>,
    requests: u64,
    is_forbidden: bool,
}

impl PostedEvents {
    /// All of them, by namespace and name.
    pub fn all(&self) -> Vec<Value> {
        self.posted().events.values().cloned().collect()
    }

    /// How often somebody has posted one, taken or not.
    pub fn requests(&self) -> u64 {
        self.posted().requests
    }

    /// Takes no more of them, as where a role does not allow it.
    pub fn forbid(&self) {
        self.posted().is_forbidden = true;
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, namespace: &str, mut event: Value) -> (StatusCode, Value) {
        let mut posted = self.posted();
        posted.requests += 1;
        let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = format!("{namespace}/{name}");
        let refusal = |code: u16, reason: &str| {
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": format!("events.events.k8s.io {name:?}: {reason}"),
                "reason": reason, "code": code,
            })
        };
        if posted.is_forbidden {
            return (StatusCode::FORBIDDEN, refusal(403, "Forbidden"));
        }
        if event["metadata"]["namespace"] != namespace || is_incomplete(&event) {
            return (StatusCode::UNPROCESSABLE_ENTITY, refusal(422, "Invalid"));
        }
        if posted.events.contains_key(&key) {
            return (StatusCode::CONFLICT, refusal(409, "AlreadyExists"));
        }
        event["metadata"]["resourceVersion"] = json!("1");
        posted.events.insert(key, event.clone());
        (StatusCode::CREATED, event)
    }
}

/// What the real one insists on (`pkg/apis/core/validation/events.go` of Kubernetes).
fn is_incomplete(event: &Value) -> bool {
    let says = |field: &str| event[field].as_str().is_some_and(|text| !text.is_empty());
    let fields = ["reportingController", "reportingInstance", "action", "reason", "eventTime"];
    let regards = &event["regarding"]["namespace"];
    let namespace = event["metadata"]["namespace"].as_str();
    !fields.into_iter().all(says)
        || !matches!(event["type"].as_str(), Some("Normal" | "Warning"))
        || event["note"].as_str().is_some_and(|note| note.len() > 1024)
        || regards.as_str().unwrap_or("default") != namespace.unwrap_or_default()
}

/// Takes one that is posted.
pub(super) async fn create(
    State(store): State<Arc<Store>>,
    Path(namespace): Path<String>,
    Json(event): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let (status, answer) = store.events().post(&namespace, event);
    (status, Json(answer))
}
