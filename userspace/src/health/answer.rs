//! The answer about one Service, to the byte that of kube-proxy.

use std::{
    fmt,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::ProxyHealth;
use crate::{
    cluster::model::ObjectName,
    http_server::{Answer, Answers},
};

/// Tells a load balancer that weighs nodes how much this one can take.
const ENDPOINT_WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// What a listener tells of.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) service: ObjectName,
    local_endpoints: AtomicUsize,
    proxy_health: Arc<ProxyHealth>,
}

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: BodyService<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct BodyService<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl Subject {
    pub(super) fn new(
        service: ObjectName,
        local_endpoints: usize,
        proxy_health: Arc<ProxyHealth>,
    ) -> Self {
        Self { service, local_endpoints: AtomicUsize::new(local_endpoints), proxy_health }
    }

    pub(super) fn set_local_endpoints(&self, count: usize) {
        self.local_endpoints.store(count, Ordering::Relaxed);
    }

    /// The answer at this moment.
    fn answer(&self) -> Answer {
        let local_endpoints = self.local_endpoints.load(Ordering::Relaxed);
        let service_proxy_healthy = self.proxy_health.judge(Instant::now()).is_healthy;
        let ObjectName { namespace, name } = &self.service;
        let body = Body {
            service: BodyService { namespace, name },
            local_endpoints,
            service_proxy_healthy,
        };
        let mut response = Response::new(Full::from(indented(&body)));
        if local_endpoints == 0 || !service_proxy_healthy {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(ENDPOINT_WEIGHT, HeaderValue::from(local_endpoints));
        response
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "health check of service={}", self.service)
    }
}

impl Answers for Subject {
    /// The same, whatever is asked.
    fn answer(&self, _: Request<Incoming>) -> impl Future<Output = Answer> + Send {
        ready(Self::answer(self))
    }
}

/// JSON indented by tabs.
fn indented(body: &Body<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    // Text, a number and a boolean cannot fail to be written into memory.
    let _ = body.serialize(&mut serializer);
    text
}
