//! Posting, one after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

use super::{Notice, allowance::Allowance, uid};
use crate::{
    metrics::{EventOutcome, Metrics},
    source::kubernetes::with_causes,
};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often an event is posted to a server that does not answer, and how long is waited between.
const ATTEMPTS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// What the API server says of an event that it has.
const CONFLICT: u16 = 409;

/// Posts what is to be told, until nobody tells anything any more.
pub(super) async fn post(
    client: Client,
    node: String,
    mut notices: Receiver<Notice>,
    metrics: Arc<Metrics>,
) {
    let mut allowance = Allowance::new(Instant::now());
    let mut has_failed = false;
    while let Some(notice) = notices.recv().await {
        if !allowance.take(Instant::now()) {
            log::debug!("too many events: not posted: {notice:?}");
            metrics.event(EventOutcome::Suppressed);
            continue;
        }
        match create(&client, &notice, &node).await {
            Ok(()) => {
                metrics.event(EventOutcome::Posted);
                has_failed = false;
            }
            Err(reason) => {
                metrics.event(EventOutcome::Failed);
                if !has_failed {
                    log::warn!(
                        "events are not posted: {reason}; the agent's service account needs \
                         `create` on `events` of events.k8s.io. Nothing else depends on it"
                    );
                }
                has_failed = true;
            }
        }
    }
}

async fn create(client: &Client, notice: &Notice, node: &str) -> Result<(), String> {
    let events: Api<Event> = Api::namespaced(client.clone(), notice.namespace());
    let uid = timeout(PATIENCE, uid::of(client, &notice.regarding)).await.ok().flatten();
    let event = notice.event(node, uid);
    let mut attempt = 1;
    loop {
        let parameters = PostParams::default();
        let reason = match timeout(PATIENCE, events.create(&parameters, &event)).await {
            Ok(Ok(_)) => return Ok(()),
            // Another node, or an agent of this one before, has said it.
            Ok(Err(kube::Error::Api(status))) if status.code == CONFLICT => return Ok(()),
            Ok(Err(kube::Error::Api(status))) => return Err(status.message.clone()),
            Ok(Err(error)) => with_causes(&error),
            Err(_) => "the API server does not answer".to_owned(),
        };
        if attempt == ATTEMPTS {
            return Err(reason);
        }
        attempt += 1;
        sleep(BETWEEN).await;
    }
}
