//! Requests and answers.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{
        HeaderMap, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    response::Response,
    routing::post,
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::{
    events,
    store::{Fault, Store, Told},
};

/// How often a watch that has nothing to tell says which version it has come to.
const BOOKMARKS: Duration = Duration::from_millis(500);
/// The most that a watch may last.
const LONGEST_WATCH: u64 = 300;

/// Serves until it is stopped.
pub(super) async fn until(
    stopped: oneshot::Receiver<()>,
    listener: std::net::TcpListener,
    store: Arc<Store>,
) {
    let listener =
        tokio::net::TcpListener::from_std(listener).expect("a listener of the runtime's");
    let posted = "/apis/events.k8s.io/v1/namespaces/{namespace}/events";
    let router = Router::new().route(posted, post(events::create));
    let router = router.fallback(answer).with_state(store);
    tokio::select! {
        _ = stopped => {}
        _ = axum::serve(listener, router) => {}
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    watch: bool,
    resource_version: String,
    label_selector: String,
    field_selector: String,
    limit: usize,
    r#continue: String,
    timeout_seconds: Option<u64>,
    allow_watch_bookmarks: bool,
}

impl Parameters {
    /// Whether an object is asked for. Labels: `key` and `!key`; fields: `metadata.name=NAME`.
    fn select(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let has_labels = parts(&self.label_selector).all(|part| match part.strip_prefix('!') {
            Some(key) => labels.get(key).is_none(),
            None => labels.get(part).is_some(),
        });
        let has_fields = parts(&self.field_selector).all(|part| {
            let (path, wanted) = part.split_once('=').expect("a field and its value");
            let pointer = format!("/{}", path.replace('.', "/"));
            object.pointer(&pointer).and_then(Value::as_str) == Some(wanted.trim_start_matches('='))
        });
        has_labels && has_fields
    }
}

fn parts(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').filter(|part| !part.is_empty())
}

async fn answer(
    State(store): State<Arc<Store>>,
    uri: Uri,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> Response {
    if !store.admits(headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok())) {
        return status(401, "Unauthorized");
    }
    let resource = match uri.path() {
        "/api/v1/nodes" => "nodes",
        "/api/v1/pods" => "pods",
        "/api/v1/services" => "services",
        "/apis/discovery.k8s.io/v1/endpointslices" => "endpointslices",
        "/apis/networking.k8s.io/v1/servicecidrs" => "servicecidrs",
        other => return status(404, &format!("there is no {other}")),
    };
    match store.fault() {
        Fault::Status(code) => return status(code, "as the test wants it"),
        Fault::WrongContent => return body("text/html", Body::from("<html>not Kubernetes</html>")),
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::None | Fault::WrongKind | Fault::Half | Fault::Cut => {}
    }
    if parameters.watch {
        watch(store, resource, parameters)
    } else {
        list(&store, resource, &parameters)
    }
}

fn list(store: &Store, resource: &'static str, parameters: &Parameters) -> Response {
    let (objects, version) = store.list(resource, &parameters.r#continue);
    let selected: Vec<_> =
        objects.into_iter().filter(|(_, object)| parameters.select(object)).collect();
    let limit = if parameters.limit == 0 { usize::MAX } else { parameters.limit };
    let page: Vec<&Value> = selected.iter().take(limit).map(|(_, object)| object).collect();
    let next = match selected.get(limit - 1) {
        Some((key, _)) if selected.len() > limit => key.as_str(),
        _ => "",
    };
    let (kind, api_version) = match store.fault() {
        Fault::WrongKind => ("Pod", "v1"),
        _ => kind_of(resource),
    };
    let text = json!({
        "kind": format!("{kind}List"),
        "apiVersion": api_version,
        "metadata": {"resourceVersion": version.to_string(), "continue": next},
        "items": page,
    })
    .to_string();
    let half = || text[..text.len() / 2].to_owned();
    match store.fault() {
        Fault::Half => body("application/json", Body::from(half())),
        Fault::Cut => {
            body("application/json", Body::from_stream(stream::iter([Ok(half()), cut()])))
        }
        _ => body("application/json", Body::from(text)),
    }
}

/// The end of a connection that is cut.
fn cut() -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::ConnectionReset))
}

/// The kind of a resource's objects, and its version.
fn kind_of(resource: &str) -> (&'static str, &'static str) {
    match resource {
        "nodes" => ("Node", "v1"),
        "pods" => ("Pod", "v1"),
        "services" => ("Service", "v1"),
        "endpointslices" => ("EndpointSlice", "discovery.k8s.io/v1"),
        _ => ("ServiceCIDR", "networking.k8s.io/v1"),
    }
}

/// A watch that goes on.
struct Watch {
    store: Arc<Store>,
    changed: watch::Receiver<u64>,
    resource: &'static str,
    parameters: Parameters,
    version: u64,
    lines: VecDeque<Value>,
    /// What is said after the fault that has ended it.
    last_words: VecDeque<io::Result<String>>,
    ends: tokio::time::Instant,
}

fn watch(store: Arc<Store>, resource: &'static str, parameters: Parameters) -> Response {
    let version = parameters.resource_version.parse().unwrap_or(0);
    let seconds = parameters.timeout_seconds.unwrap_or(LONGEST_WATCH);
    let ends = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let changed = store.watch();
    let watch = Watch {
        store,
        changed,
        resource,
        parameters,
        version,
        lines: VecDeque::new(),
        last_words: VecDeque::new(),
        ends,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = match watch.next().await {
            Some(line) => Ok(format!("{line}\n")),
            None => watch.last_words.pop_front()?,
        };
        Some((line, watch))
    });
    body("application/json", Body::from_stream(lines))
}

impl Watch {
    /// The next line; none where the watch ends.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.store.fault() != Fault::None {
                self.fail();
                return None;
            }
            let Some((told, version)) = self.store.since(self.resource, self.version) else {
                // As the real one: an event, in an answer that begins well.
                self.ends = tokio::time::Instant::now();
                self.version = u64::MAX;
                return Some(json!({"type": "ERROR", "object": status_of(410, "too old")}));
            };
            if self.version == u64::MAX {
                return None;
            }
            self.version = version;
            self.lines = told.iter().filter_map(|told| self.line(told)).collect();
            if !self.lines.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep(BOOKMARKS), if self.parameters.allow_watch_bookmarks => {
                    return Some(self.bookmark());
                }
            }
        }
    }

    /// What a watch with its selectors is told of a change: what does not match any more is gone.
    fn line(&self, told: &Told) -> Option<Value> {
        let selected =
            |object: &Option<Value>| object.clone().filter(|object| self.parameters.select(object));
        let (kind, object) = match (selected(&told.before), selected(&told.after)) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(before), None) => ("DELETED", before),
        };
        Some(json!({"type": kind, "object": object}))
    }

    /// Says what the fault has it say, once.
    fn fail(&mut self) {
        let bookmark = self.bookmark().to_string();
        let half = || Ok(bookmark[..bookmark.len() / 2].to_owned());
        if std::mem::replace(&mut self.version, u64::MAX) == u64::MAX {
            return;
        }
        match self.store.fault() {
            Fault::Cut => self.last_words.extend([half(), cut()]),
            Fault::Half => self.last_words.push_back(half()),
            Fault::WrongKind => {
                let metadata = json!({"namespace": "default", "name": "a", "resourceVersion": "1"});
                let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata});
                let line = json!({"type": "MODIFIED", "object": pod});
                self.last_words.push_back(Ok(format!("{line}\n")));
            }
            _ => {}
        }
    }

    fn bookmark(&self) -> Value {
        let (kind, api_version) = kind_of(self.resource);
        let metadata = json!({"resourceVersion": self.version.to_string()});
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        json!({"type": "BOOKMARK", "object": object})
    }
}

fn status_of(code: u16, message: &str) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        410 => "Expired",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn status(code: u16, message: &str) -> Response {
    let mut response = body("application/json", Body::from(status_of(code, message).to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn body(kind: &'static str, body: Body) -> Response {
    let response = Response::builder().header(CONTENT_TYPE, kind).body(body);
    response.expect("a response of fixed headers")
}
