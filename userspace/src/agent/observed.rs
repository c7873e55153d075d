//! What the agent's loop notes for those who watch it: whether changes are in force, how long that
//! took, and how many there were.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use maps_schema::address::Family;

use crate::{
    cluster::{
        Cluster,
        model::{Kind, Object},
    },
    config::Operations,
    health::{NodeState, ProxyHealth},
    metrics::{Metrics, SyncKind},
    source::Change,
};

/// What is noted.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) health: Arc<ProxyHealth>,
    pub(super) metrics: Arc<Metrics>,
    begun: Timestamp,
    /// The changes that EndpointSlices were written for which are not in force yet.
    triggers: Vec<(Family, Timestamp)>,
}

/// Changes that there are now.
#[derive(Debug, Default)]
pub(super) struct News {
    services: u64,
    endpoint_slices: u64,
    triggers: Vec<(Family, Timestamp)>,
}

impl Observed {
    pub(super) fn new(operations: &Operations) -> Self {
        Self {
            health: Arc::new(ProxyHealth::new(operations.health_timeout)),
            metrics: Arc::default(),
            begun: Timestamp::now(),
            triggers: Vec::new(),
        }
    }

    /// Notes what has changed, once it is known to the cluster.
    pub(super) fn take(&mut self, news: News, cluster: &Cluster, own_node: &str) {
        let News { services, endpoint_slices, triggers } = news;
        if services + endpoint_slices > 0 {
            self.metrics.changes_wait(services, endpoint_slices);
        }
        // What an older slice was written for was measured by a former agent, or by nobody.
        self.triggers.extend(triggers.into_iter().filter(|(_, trigger)| *trigger > self.begun));
        self.health.set_node(match cluster.node(own_node) {
            None => NodeState::Missing,
            Some(node) if node.leaving => NodeState::Leaving,
            Some(_) => NodeState::Staying,
        });
    }

    /// Notes that changes are worked on.
    pub(super) fn begins(&self) {
        self.health.update_waits(Instant::now());
    }

    /// Notes that everything is in force.
    pub(super) fn synced(&mut self, took: Duration, kind: SyncKind, changes: u64) {
        self.health.updated();
        self.metrics.synced(took, kind, changes);
        for (family, trigger) in self.triggers.drain(..) {
            self.metrics.endpoints_programmed(family, trigger);
        }
    }

    /// Notes that changes wait for objects that are not there.
    pub(super) fn put_off(&self) {
        self.health.put_off();
    }

    /// Notes that changes ask for nothing to be done.
    pub(super) fn nothing_to_do(&mut self) {
        self.metrics.nothing_waits();
        self.triggers.clear();
    }

    /// Notes that something failed, which is tried again.
    pub(super) fn failed(&self) {
        self.metrics.sync_failed();
    }
}

impl News {
    /// Counts a change that the cluster is about to learn of.
    pub(super) fn count(&mut self, change: &Change, cluster: &Cluster) {
        match change {
            Change::Set(object, _) if cluster.knows(object) => {}
            Change::Set(Object::Service(_), _) | Change::Removed(Kind::Service, _) => {
                self.services += 1;
            }
            Change::Set(Object::EndpointSlice(slice), _) => {
                self.endpoint_slices += 1;
                self.triggers.extend(slice.family.zip(slice.last_change_trigger));
            }
            // What is removed tells of the last change before, which is not this one.
            Change::Removed(Kind::EndpointSlice, _) => self.endpoint_slices += 1,
            Change::Set(..) | Change::Removed(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{
        config::{BindFailure, Operations},
        metrics::{Format, Snapshot},
        source::{Origin, validate},
    };

    fn slice(address: &str, trigger: &str) -> Change {
        let yaml = format!(
            "{{metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}, annotations: \
             {{endpoints.kubernetes.io/last-change-trigger-time: '{trigger}'}}}},
              addressType: IPv4, ports: [{{port: 80}}], endpoints: [{{addresses: [{address}]}}]}}"
        );
        let slice = serde_yaml_ng::from_str(&yaml).unwrap();
        let slice = validate::endpoint_slice(&slice).unwrap();
        Change::Set(Object::EndpointSlice(Arc::new(slice)), Origin::server("here"))
    }

    fn count(metrics: &Metrics, name: &str) -> u64 {
        let text = Snapshot::default().encode(metrics, Format::Prometheus).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn slices_are_measured_once_and_only_for_changes_since_the_agent_began() {
        let mut observed = Observed::new(&Operations {
            healthz: None,
            metrics: None,
            bind_failure: BindFailure::IsTriedAgain,
            health_timeout: Duration::from_mins(1),
            max_service_metrics: NonZeroU32::MIN.get(),
        });
        let mut cluster = Cluster::new("node");
        let changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
        let measured = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
        let soon = (Timestamp::now() + Duration::from_secs(1)).to_string();
        for (change, seen, in_time) in [
            (slice("10.0.0.1", "2020-01-01T00:00:00Z"), 1, 0),
            (slice("10.0.0.2", &soon), 2, 1),
            // A relist tells the same again.
            (slice("10.0.0.2", &soon), 2, 1),
            (slice("10.0.0.3", "no time"), 3, 1),
        ] {
            let mut news = News::default();
            news.count(&change, &cluster);
            cluster.apply(change);
            observed.take(news, &cluster, "node");
            observed.synced(Duration::ZERO, SyncKind::Partial, 0);
            let counted = [changes, measured].map(|name| count(&observed.metrics, name));
            assert_eq!(counted, [seen, in_time]);
        }
    }
}
