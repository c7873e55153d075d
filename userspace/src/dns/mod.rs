//! Cluster DNS: the names of the Services that this node has in force, by the Kubernetes DNS
//! specification 1.1, answered from within a pod, so that queries cross the datapath as any other
//! packets do.
//!
//! What a Service's names lead to is pure ([`names`]), so is what a zone of them has under a name
//! ([`zone`]), and what a message gets for an answer ([`answer`]). A thread of its own
//! ([`server`]) stays in the pod's network namespace with its sockets, and asks others
//! ([`upstream`]) about what is outside of the zone. Messages are read and written by
//! hickory-proto; why there is no hickory-server around it says
//! `docs/adr/0037-answer-names-from-within-a-pod.md`.

mod answer;
pub mod domain;
pub mod names;
mod server;
mod tcp;
mod upstream;
mod zone;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod zone_tests;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use jiff::Timestamp;
use tokio::sync::watch;

pub use self::{
    domain::{ClusterDomain, InvalidDomain},
    server::ServeError,
};
use self::{
    names::ServiceNames,
    server::{Place, Running, Service},
    zone::Zone,
};
use crate::cluster::model::ObjectName;

/// The Service that pods ask for names.
pub fn dns_service() -> ObjectName {
    ObjectName { namespace: "kube-system".to_owned(), name: "kube-dns".to_owned() }
}

/// The server of a zone, and the pod that it is in.
#[derive(Debug)]
pub struct NameServer {
    zone: Arc<RwLock<Zone>>,
    /// Whether the zone is whole. Until then queries wait in their sockets.
    whole: watch::Sender<bool>,
    upstreams: watch::Sender<Arc<[SocketAddr]>>,
    running: Option<Running>,
}

impl NameServer {
    /// A server of an empty zone, nowhere yet. Names outside of the zone are asked at `upstreams`,
    /// the first one first.
    pub fn new(domain: &ClusterDomain, upstreams: Vec<SocketAddr>) -> Self {
        Self {
            zone: Arc::new(RwLock::new(Zone::new(domain, serial()))),
            whole: watch::Sender::new(false),
            upstreams: watch::Sender::new(upstreams.into()),
            running: None,
        }
    }

    /// Serves in the network namespace at a path, whose cookie (`SO_NETNS_COOKIE`) is known, and in
    /// no other one. What is served there already goes on.
    pub async fn serve_in(&mut self, path: &Path, cookie: u64) -> Result<(), ServeError> {
        if self.running.as_ref().is_some_and(|running| running.is_at(cookie)) {
            return Ok(());
        }
        self.stop();
        let service = Service {
            zone: Arc::clone(&self.zone),
            whole: self.whole.subscribe(),
            upstreams: self.upstreams.subscribe(),
        };
        let place = Place { path: path.to_owned(), cookie };
        self.running = Some(Running::start(place, service).await?);
        Ok(())
    }

    /// Ends the server; its sockets are closed a moment later.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Says that the zone is whole: answers begin.
    pub fn open(&self) {
        self.whole.send_replace(true);
    }

    /// Has others asked from now on.
    pub fn set_upstreams(&self, upstreams: Vec<SocketAddr>) {
        let differs = |now: &mut Arc<[SocketAddr]>| {
            let differs = **now != *upstreams;
            if differs {
                *now = upstreams.into();
            }
            differs
        };
        self.upstreams.send_if_modified(differs);
    }

    /// Gives these Services the names that they have now, and none to those that have none: all of
    /// them at once, for whoever asks.
    pub fn set(&self, services: impl IntoIterator<Item = (ObjectName, Option<ServiceNames>)>) {
        let mut zone = self.zone();
        for (service, names) in services {
            zone.set(&service, names);
        }
        zone.set_serial(serial());
    }

    fn zone(&self) -> RwLockWriteGuard<'_, Zone> {
        self.zone.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A serial number that grows with time (RFC 1912, 2.2): seconds since 1970, which are more than 32
/// bits from 2106 on, where serial numbers begin anew (RFC 1982).
fn serial() -> u32 {
    u32::try_from(Timestamp::now().as_second() & i64::from(u32::MAX)).unwrap_or_default()
}
