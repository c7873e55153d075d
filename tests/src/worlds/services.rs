//! Services. What is a service's own is numbered by it, so that no two claim the same.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::pick::{once_in, one_of};

/// How many services a world has at most.
pub(super) const MOST_SERVICES: usize = 6;
/// How many ports a service has at most.
pub(super) const MOST_PORTS: usize = 4;

/// The protocol and the number of each port of every service: protocols share numbers.
pub(super) const PORTS: [(&str, u16); MOST_PORTS] =
    [("TCP", 80), ("UDP", 53), ("TCP", 53), ("SCTP", 80)];

/// The cluster IP of a service.
pub(super) fn cluster_ip(service: usize) -> String {
    format!("10.96.0.{}", 10 + service)
}

/// The external address of a service.
pub(super) fn external_ip(service: usize) -> String {
    format!("172.29.0.{}", 10 + service)
}

/// The load balancer's address of a service.
pub(super) fn balancer_ip(service: usize) -> String {
    format!("172.28.0.{}", 10 + service)
}

/// The node port of a service's port.
pub(super) fn node_port(service: usize, port: usize) -> u16 {
    u16::try_from(30_000 + service * 10 + port).unwrap_or(u16::MAX)
}

/// The name of a service.
pub(super) fn name(service: usize) -> String {
    format!("service-{service}")
}

/// The name of a port.
pub(super) fn port_name(port: usize) -> String {
    format!("port-{port}")
}

/// A service of this number.
pub(super) fn any_service(number: usize) -> impl Strategy<Value = Value> {
    let kind = one_of(&["ClusterIP", "NodePort", "LoadBalancer"]);
    let ports = vec(any::<bool>(), MOST_PORTS);
    let addresses = (once_in(3), once_in(2), one_of(&[None, Some("VIP"), Some("Proxy")]));
    let policies = (once_in(3), once_in(2));
    let affinity = one_of(&[None, None, Some(0), Some(1), Some(10)]);
    let oddities = (once_in(12), once_in(12), once_in(6));
    (kind, ports, addresses, policies, affinity, source_ranges(), oddities).prop_map(
        move |(kind, ports, addresses, policies, affinity, ranges, oddities)| {
            let (has_external, has_balancer, ip_mode) = addresses;
            let (is_anothers, is_headless, publishes) = oddities;
            let mut metadata = json!({"namespace": "default", "name": name(number)});
            if is_anothers {
                metadata["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
            }
            let mut spec = json!({
                "type": kind,
                "clusterIP": if is_headless { "None".to_owned() } else { cluster_ip(number) },
                "ports": written_ports(number, kind, &ports),
                "publishNotReadyAddresses": publishes,
            });
            if is_headless {
                spec["type"] = json!("ClusterIP");
                spec["ports"] = written_ports(number, "ClusterIP", &ports);
            } else {
                add_policies(&mut spec, policies, has_external || kind != "ClusterIP");
                if has_external {
                    spec["externalIPs"] = json!([external_ip(number)]);
                }
                if let Some(ranges) = ranges {
                    spec["loadBalancerSourceRanges"] = json!(ranges);
                }
            }
            match affinity {
                None => {}
                Some(0) => spec["sessionAffinity"] = json!("ClientIP"),
                Some(seconds) => {
                    spec["sessionAffinity"] = json!("ClientIP");
                    spec["sessionAffinityConfig"] =
                        json!({"clientIP": {"timeoutSeconds": seconds}});
                }
            }
            let mut service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec,
            });
            if has_balancer && kind == "LoadBalancer" && !is_headless {
                let mut entry = json!({"ip": balancer_ip(number)});
                if let Some(mode) = ip_mode {
                    entry["ipMode"] = json!(mode);
                }
                service["status"] = json!({"loadBalancer": {"ingress": [entry]}});
            }
            service
        },
    )
}

fn add_policies(spec: &mut Value, (internal, external): (bool, bool), is_accessible: bool) {
    if internal {
        spec["internalTrafficPolicy"] = json!("Local");
    }
    if external && is_accessible {
        spec["externalTrafficPolicy"] = json!("Local");
    }
}

fn written_ports(service: usize, kind: &str, present: &[bool]) -> Value {
    let written = |(port, _): (usize, &bool)| {
        let (protocol, number) = PORTS[port];
        let mut written = json!({
            "name": port_name(port), "protocol": protocol, "port": number,
        });
        if kind != "ClusterIP" {
            written["nodePort"] = json!(node_port(service, port));
        }
        written
    };
    // At least one.
    let numbered = present.iter().enumerate();
    numbered.filter(|(port, present)| **present || *port == 0).map(written).collect()
}

fn source_ranges() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    let range = one_of(&[
        "172.31.0.0/25",
        " 172.31.0.128/25 ",
        "10.244.0.0/24",
        "10.244.1.2/32",
        "192.168.0.3/24",
        "0.0.0.0/0",
        "172.031.000.000/28",
    ]);
    (once_in(3), vec(range, 1..3)).prop_map(|(has_ranges, ranges)| has_ranges.then_some(ranges))
}
