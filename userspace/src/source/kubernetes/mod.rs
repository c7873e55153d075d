//! Objects of a Kubernetes API server, watched.
//!
//! Each kind has a watch of its own; what all of them tell meets in the [`mirror`], which says what
//! has changed since it was last asked. While the agent is at work, changes gather there: of an
//! object that changes twice only the second is told. While the server cannot be reached, nothing
//! changes.

mod answers;
mod causes;
mod client;
mod mirror;
mod patience;
mod renewal;

use std::{
    fmt::Debug,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

pub(crate) use self::causes::with_causes;
pub use self::{
    client::{AccessError, from_kubeconfig, in_cluster},
    mirror::KINDS,
};
use self::{
    mirror::{Mirror, Watched},
    patience::Patience,
};
use crate::{
    cluster::model::Kind,
    source::{Batch, Origin, error_log::ErrorLog},
};

/// What has no endpoints of its own to be served: the EndpointSlice controller marks them.
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";

/// How often it is looked whether outages are over.
const LOOK: Duration = Duration::from_secs(1);

/// What a watch has told, of any kind.
type Told = Box<dyn FnOnce(&mut Mirror) + Send>;

/// Watches the objects of an API server, until the receiver is dropped.
///
/// The first batch with changes has everything: nothing is told before all kinds were listed. New
/// errors are logged.
pub fn watch(client: &Client, origin: Origin) -> mpsc::Receiver<Batch> {
    let (sender, receiver) = mpsc::channel(1);
    // Services of other proxies are watched, too: their addresses are theirs, and not nobody's
    // (docs/adr/0032).
    let mut told = stream::select_all([
        told::<Node>(client, Config::default()),
        told::<ServiceCIDR>(client, Config::default()),
        told::<Service>(client, Config::default()),
        told::<EndpointSlice>(client, Config::default().labels(NOT_HEADLESS)),
    ]);
    let mut mirror = Mirror::new(origin);
    let mut error_log = ErrorLog::default();
    let mut look = tokio::time::interval(LOOK);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = look.tick() => mirror.forget_outages(Instant::now()),
                Some(told) = told.next() => told(&mut mirror),
                permit = sender.reserve(), if mirror.has_news() => {
                    let Ok(permit) = permit else { return };
                    let batch = mirror.take();
                    error_log.update(&batch.errors);
                    permit.send(batch);
                }
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

/// What the watch of a kind tells, for ever: it begins anew after failures, ever more slowly.
fn told<K>(client: &Client, config: Config) -> BoxStream<'static, Told>
where
    K: Watched<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    // Watches and nodes that fail together are not to come back together.
    let seed = RandomState::new().hash_one(K::KIND);
    let client = client.clone();
    let begin = move || watcher(Api::<K>::all(client.clone()), config.clone()).boxed();
    let events = stream::unfold((begin(), begin), |(mut events, begin)| async move {
        let told = events.next().await?;
        if told.as_ref().is_err_and(has_missed) {
            events = begin();
        }
        Some((told, (events, begin)))
    });
    let events = events.boxed().backoff(Patience::new(seed));
    events.map(|told| Box::new(|mirror: &mut Mirror| hear::<K>(mirror, told)) as Told).boxed()
}

fn hear<K: Watched>(mirror: &mut Mirror, told: Result<Event<K>, watcher::Error>) {
    match told {
        Ok(event) => mirror.hear(event),
        // ServiceCIDRs are there since Kubernetes 1.33.
        Err(error) if K::KIND == Kind::ServiceCidr && is_unknown(&error) => {
            mirror.go_without(K::KIND);
        }
        // The server has forgotten what has changed since: everything is listed anew.
        Err(error) if is_expired(&error) => {}
        Err(error) => mirror.lose(K::KIND, with_causes(&error), Instant::now()),
    }
}

/// Whether a watch has told something that was not understood, and goes on behind it: what that was
/// is known only when everything is listed anew.
fn has_missed(error: &watcher::Error) -> bool {
    use kube::Error::ReadEvents;
    // Where the connection breaks, a watch goes on from what it has told last.
    matches!(error, watcher::Error::WatchFailed(cause) if !matches!(cause, ReadEvents(_)))
}

/// Whether the API server has forgotten what a watch or a list was to go on from.
fn is_expired(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    let (WatchError(status)
    | InitialListFailed(kube::Error::Api(status))
    | WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 410
}

/// Whether the API server does not know the kind.
fn is_unknown(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
