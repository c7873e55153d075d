//! `/healthz` and `/livez`: whether new traffic may come, and whether the agent is to be started
//! anew.

use std::{fmt, future::ready, sync::Arc, time::Instant};

use hyper::{Request, StatusCode, body::Incoming};
use jiff::Timestamp;
use serde::Serialize;

use super::{answer, no_such_page};
use crate::{
    health::{Judgement, ProxyHealth},
    http_server::{Answer, Answers},
    metrics::{HealthPage, Metrics},
};

/// The pages.
#[derive(Debug)]
pub(crate) struct HealthPages {
    health: Arc<ProxyHealth>,
    metrics: Arc<Metrics>,
}

/// The body, field by field as kube-proxy has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: Status,
}

/// Both families are put in force together.
#[derive(Serialize)]
struct Status {
    #[serde(rename = "IPv4")]
    v4: OfFamily,
    #[serde(rename = "IPv6")]
    v6: OfFamily,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfFamily {
    last_updated: Timestamp,
    healthy: bool,
}

impl HealthPages {
    pub(crate) const fn new(health: Arc<ProxyHealth>, metrics: Arc<Metrics>) -> Self {
        Self { health, metrics }
    }

    fn page(&self, page: HealthPage) -> Answer {
        let judgement = self.health.judge(Instant::now());
        let Judgement { is_healthy, is_node_eligible, last_updated } = judgement;
        let node_eligible = (page == HealthPage::Healthz).then_some(is_node_eligible);
        let is_well = is_healthy && node_eligible != Some(false);
        self.metrics.answered(page, is_well);
        let now = Timestamp::now();
        let of_family = OfFamily { last_updated, healthy: is_healthy };
        let body = Body {
            // Who is well is up to date, whenever it last had something to do.
            last_updated: if is_well { now } else { last_updated },
            current_time: now,
            node_eligible,
            healthy: is_healthy,
            status: Status { v4: of_family, v6: of_family },
        };
        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // Times and booleans cannot fail to be written.
        let text = serde_json::to_string(&body).unwrap_or_default();
        answer(status, "application/json", text)
    }
}

impl fmt::Display for HealthPages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("/healthz")
    }
}

impl Answers for HealthPages {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send {
        ready(match request.uri().path() {
            "/healthz" => self.page(HealthPage::Healthz),
            "/livez" => self.page(HealthPage::Livez),
            _ => no_such_page(),
        })
    }
}
