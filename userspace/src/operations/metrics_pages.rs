//! `/metrics`, and what else is to be seen beside it.

use std::{fmt, sync::Arc};

use hyper::{Request, StatusCode, body::Incoming, header::ACCEPT};
use serde_json::json;
use tokio::sync::Mutex;

use super::{TEXT, answer, no_such_page};
use crate::{
    config::Settings,
    http_server::{Answer, Answers},
    metrics::{Format, Metrics, Snapshot},
};

/// What `/proxyMode` says. Who reads it wants to know whose rules to look for: there are none, so
/// it is none of kube-proxy's own modes.
const PROXY_MODE: &str = "shunt";

/// Who knows what is so. It may block for a moment.
pub(crate) trait Scraped: Send + Sync + 'static {
    /// What is so now.
    fn snapshot(&self) -> Snapshot;
}

/// The pages.
pub(crate) struct MetricsPages {
    scraped: Arc<dyn Scraped>,
    metrics: Arc<Metrics>,
    settings: Settings,
    /// Held by whoever reads, so that many who ask at once cost no more than one after the other.
    turn: Arc<Mutex<()>>,
}

impl MetricsPages {
    pub(crate) fn new(
        scraped: Arc<dyn Scraped>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        Self { scraped, metrics, settings, turn: Arc::default() }
    }

    async fn metrics(&self, format: Format) -> Answer {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (scraped, metrics) = (Arc::clone(&self.scraped), Arc::clone(&self.metrics));
        let read = tokio::task::spawn_blocking(move || {
            // Until it is read, even where nobody waits for it any more.
            let _turn = turn;
            scraped.snapshot().encode(&metrics, format)
        });
        if let Ok(Ok(text)) = read.await {
            return answer(StatusCode::OK, format.content_type(), text);
        }
        log::error!("metrics could not be read");
        let text = "the agent failed to answer; see its log\n".to_owned();
        answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
    }
}

impl fmt::Display for MetricsPages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("/metrics")
    }
}

impl Answers for MetricsPages {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path() {
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                self.metrics(Format::accepted(accept)).await
            }
            "/healthz" => answer(StatusCode::OK, TEXT, "ok".to_owned()),
            "/proxyMode" => answer(StatusCode::OK, TEXT, PROXY_MODE.to_owned()),
            "/configz" => {
                let text = json!({"shunt.dev/agent": self.settings}).to_string();
                answer(StatusCode::OK, "application/json", text)
            }
            _ => no_such_page(),
        }
    }
}
