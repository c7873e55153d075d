//! The table is complete: every row of kube-proxy's own tables is in it, and every part of the
//! semantics that packets show.

use std::collections::BTreeMap;

use tests::conformance::{Case, Proxy, Scenario, Table};

/// A test of kube-proxy's that states what becomes of packets.
struct UpstreamTest {
    name: &'static str,
    /// How many rows its source has, in mode iptables and in mode nftables.
    rows: [usize; 2],
    /// How many fates it checks: each row once for each of its settings.
    fates: [usize; 2],
}

const fn test(name: &'static str, rows: [usize; 2], fates: [usize; 2]) -> UpstreamTest {
    UpstreamTest { name, rows, fates }
}

/// Those of `pkg/proxy/iptables/proxier_test.go` and `pkg/proxy/nftables/proxier_test.go`.
const UPSTREAM: [UpstreamTest; 11] = [
    test("NoEndpointsReject", [6, 6], [6, 6]),
    test("ClusterIPGeneral", [9, 10], [9, 10]),
    test("LoadBalancer", [13, 13], [13, 13]),
    test("NodePorts", [7, 5], [7 * 5, 4 * 4]),
    test("HealthCheckNodePort", [2, 0], [2, 0]),
    test("ExternalTrafficPolicyLocal", [7, 7], [7, 7]),
    test("ExternalTrafficPolicyCluster", [7, 7], [7, 7]),
    test("InternalTrafficPolicy", [5, 5], [8, 8]),
    test("TerminatingEndpointsTrafficPolicyLocal", [10, 10], [16, 16]),
    test("TerminatingEndpointsTrafficPolicyCluster", [10, 10], [16, 16]),
    test("InternalExternalMasquerade", [30, 27], [4 * 30, 4 * 27]),
];

/// Rows by which mode iptables' tests check their own tracer: they say nothing of the proxy.
const TRACER_ROWS: usize = 7;

fn cases(table: &Table) -> impl Iterator<Item = (&Scenario, &Case)> {
    table.scenarios.iter().flat_map(|scenario| {
        let cases = scenario.steps.iter().flat_map(|step| &step.cases);
        cases.map(move |case| (scenario, case))
    })
}

#[test]
fn every_row_of_kube_proxys_own_tables_is_in_the_table() {
    let table = Table::read();
    let mut found: BTreeMap<(&str, Proxy), usize> = BTreeMap::new();
    for (scenario, case) in cases(&table) {
        let Some(upstream) = &scenario.upstream else { continue };
        for proxy in &case.upstream {
            *found.entry((&upstream.test, *proxy)).or_default() += 1;
        }
    }
    for test in &UPSTREAM {
        for (proxy, fates) in [Proxy::Iptables, Proxy::Nftables].into_iter().zip(test.fates) {
            let found = found.get(&(test.name, proxy)).copied().unwrap_or_default();
            assert_eq!(found, fates, "{} in mode {proxy}", test.name);
        }
    }
    let rows = |mode: usize| UPSTREAM.iter().map(|test| test.rows[mode]).sum::<usize>();
    assert_eq!([rows(0) + TRACER_ROWS, rows(1)], [113, 100]);
}

#[test]
fn every_part_of_the_semantics_has_cases_in_both_families() {
    let table = Table::read();
    for section in ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "7.5"] {
        for is_ipv4 in [true, false] {
            let of_it = |(_, case): &(&Scenario, &Case)| {
                case.section == section && case.packet.source.is_ipv4() == is_ipv4
            };
            let count = cases(&table).filter(of_it).count();
            assert!(count > 0, "no case of {section}, IPv4: {is_ipv4}");
        }
    }
}

#[test]
fn nothing_is_left_out_without_a_reason() {
    let table = Table::read();
    for (scenario, reason) in &table.without_twin {
        assert!(!reason.is_empty(), "{scenario} has no twin, and no reason why");
    }
    for (scenario, case) in cases(&table) {
        let is_mute = |reason: &String| reason.trim().is_empty();
        assert!(!case.skip.values().any(is_mute), "{}: {}", scenario.id(), case.name);
        for difference in case.differs.values() {
            assert!(!is_mute(&difference.because), "{}: {}", scenario.id(), case.name);
            let is_other = difference.expected != case.expected;
            assert!(is_other, "{}: {}: no difference", scenario.id(), case.name);
        }
    }
}
