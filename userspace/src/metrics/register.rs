//! The names of what is counted when it happens. A counter's name ends with `_total`, which is added.

use super::Metrics;

impl Metrics {
    /// With a name for each.
    pub(super) fn registered(mut self) -> Self {
        let mut registry = std::mem::take(&mut self.registry);
        let both = "both families at once, so the same for each";
        registry.register(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            format!("How long it took to put changes in force, {both}"),
            self.sync.clone(),
        );
        registry.register(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            format!("The same, where everything was looked at, {both}"),
            self.full_sync.clone(),
        );
        registry.register(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            format!("The same, where what had changed was looked at, {both}"),
            self.partial_sync.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When changes were put in force last",
            self.last_sync.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When there was a change to put in force last",
            self.last_queued.clone(),
        );
        registry.register(
            "kubeproxy_network_programming_duration_seconds",
            "From the change that an EndpointSlice was written for, by its annotation, until the \
             slice was in force",
            self.network_programming.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlices that are not in force yet",
            self.endpoint_changes_pending.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_service_changes",
            "Changes of Services",
            self.service_changes.clone(),
        );
        registry.register(
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "Changes of Services that are not in force yet",
            self.service_changes_pending.clone(),
        );
        registry.register(
            "kubeproxy_proxy_healthz",
            "Answers of /healthz, by HTTP status",
            self.healthz.clone(),
        );
        registry.register(
            "kubeproxy_proxy_livez",
            "Answers of /livez, by HTTP status",
            self.livez.clone(),
        );
        registry.register(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "How long it took to go through the connection table",
            self.reaping.clone(),
        );
        registry.register(
            "kubeproxy_conntrack_reconciler_deleted_entries",
            "Flows that were removed from the connection table because they were over",
            self.reaped.clone(),
        );
        registry.register(
            "shunt_sync_failures",
            "Times that changes could not be put in force; they are tried again",
            self.sync_failures.clone(),
        );
        registry.register(
            "shunt_map_changes",
            "Map elements that were written or deleted",
            self.map_changes.clone(),
        );
        registry.register(
            "shunt_events",
            "Events for the API server, by what became of them",
            self.events.clone(),
        );
        self.registry = registry;
        self
    }
}
