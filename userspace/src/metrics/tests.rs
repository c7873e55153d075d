//! Names, labels, and the document about them.

use std::collections::{BTreeMap, BTreeSet};

use maps_schema::counters::ServiceCounters;

use super::*;
use crate::maps::Gauge as MapGauge;

/// Something of everything.
fn snapshot() -> Snapshot {
    let counters = ServiceCounters { connections: 3, packets: 20, bytes: 1500 };
    Snapshot {
        version: "1.0".to_owned(),
        kernel: "6.18".to_owned(),
        is_ready: true,
        errors: BTreeMap::from([("Service".to_owned(), 2)]),
        watches: vec![("Service".to_owned(), true), ("Node".to_owned(), false)],
        without_endpoints: BTreeMap::from([(
            TrafficWithoutEndpoints { policy: "external", family: "IPv4" },
            1,
        )]),
        services: 5,
        ports: vec![ServicePortCounters {
            namespace: "shop".to_owned(),
            service: "web".to_owned(),
            port: "http".to_owned(),
            protocol: "TCP".to_owned(),
            counters,
        }],
        drops: vec![("socket", "no-endpoints", 7)],
        programs: vec![ProgramRuns {
            program: "tc_pod_ingress".to_owned(),
            hook: "tc ingress".to_owned(),
            mode: "tcx".to_owned(),
            attached: 2,
            runs: 9,
        }],
        maps: vec![MapGauge { name: "SERVICES", entries: 1, capacity: 10, bytes: 4096 }],
        process: Process::read(),
        ..Snapshot::default()
    }
}

/// Every metric's name and type, of Prometheus' own text.
fn types(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let metrics = Metrics::default();
    metrics.changes_wait(1, 1);
    metrics.synced(Duration::from_millis(3), SyncKind::Full, 12);
    let text = snapshot().encode(&metrics, Format::Prometheus).unwrap();
    let document = include_str!("../../../docs/metrics.md");
    let mut missing = Vec::new();
    for (name, kind) in types(&text) {
        let samples = text.lines().filter(|line| line.starts_with(&name));
        let labels: BTreeSet<&str> = samples
            .filter_map(|line| line.split_once('{')?.1.split_once('}'))
            .flat_map(|(labels, _)| labels.split("\",").filter_map(|label| label.split('=').next()))
            .filter(|label| *label != "le")
            .collect();
        let labels: Vec<String> = labels.into_iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{name}` | {kind} | {} |", labels.join(", "));
        if !document.contains(&row.replace("|  |", "| |")) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/metrics.md lacks:\n{}", missing.join("\n"));
    let kinds = ["gauge", "counter", "histogram"];
    let is_row = |line: &&str| kinds.iter().any(|kind| line.contains(&format!("` | {kind} |")));
    let rows = document.lines().filter(is_row);
    assert_eq!(rows.count(), types(&text).len(), "docs/metrics.md has others too");
}

#[test]
fn what_has_happened_is_counted_with_kube_proxys_names_labels_and_buckets() {
    let metrics = Metrics::default();
    let encode = || snapshot().encode(&metrics, Format::Prometheus).unwrap();
    let text = encode();
    for line in [
        "kubeproxy_proxy_healthz_total{code=\"503\"} 0",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 0",
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    metrics.changes_wait(2, 3);
    assert!(encode().contains("kubeproxy_sync_proxy_rules_endpoint_changes_pending 3\n"));
    metrics.synced(Duration::from_millis(3), SyncKind::Partial, 12);
    metrics.answered(HealthPage::Healthz, false);
    metrics.reaped(AddressFamily::V6, Duration::from_millis(1), 40, 5);
    let a_second_ago = Timestamp::now() - Duration::from_millis(1100);
    metrics.endpoints_programmed(AddressFamily::V4, a_second_ago);
    assert_eq!(metrics.connection_entries(AddressFamily::V6), Some(40));
    assert_eq!(metrics.connection_entries(AddressFamily::V4), None);
    let text = encode();
    for line in [
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 3",
        "kubeproxy_sync_proxy_rules_service_changes_total 2",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 5",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.002\"} 0",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.004\"} 1",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 0",
        "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv4\",le=\"1\"} 0",
        "kubeproxy_network_programming_duration_seconds_bucket{ip_family=\"IPv4\",le=\"2\"} 1",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",\
         ip_family=\"IPv4\"} 1",
        "shunt_map_changes_total 12",
        "shunt_service_bytes_total{namespace=\"shop\",service=\"web\",port=\"http\",\
         protocol=\"TCP\"} 1500",
        "shunt_drops_total{program=\"socket\",reason=\"no-endpoints\"} 7",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[test]
fn open_metrics_end_as_they_should() {
    let text = snapshot().encode(&Metrics::default(), Format::OpenMetrics).unwrap();
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    assert!(text.contains("# TYPE shunt_drops counter\n"), "{text}");
}
