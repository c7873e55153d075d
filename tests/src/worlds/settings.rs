//! Settings and Nodes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::pick::{once_in, one_of};

/// Settings that differ from the agent's own, by the names of its flags.
pub(super) fn any_settings() -> impl Strategy<Value = Value> {
    let node_ports = one_of::<Option<&'static [&str]>>(&[
        None,
        Some(&["192.168.1.0/24"]),
        Some(&["0.0.0.0/0"]),
        Some(&["192.168.0.0/16", "10.0.0.0/8"]),
        Some(&["172.16.0.0/12"]),
    ]);
    let rarely = (once_in(5), once_in(5), once_in(3), once_in(5));
    (rarely, node_ports).prop_map(|((masquerades, blind, localhost, no_cidr), node_ports)| {
        let mut settings = json!({
            "masquerade-all": masquerades,
            "detect-local": if blind { "off" } else { "pods" },
            "localhost-node-ports": localhost,
            "service-cidrs": if no_cidr { json!([]) } else { json!(["10.96.0.0/16"]) },
        });
        if let Some(networks) = node_ports {
            settings["node-port-addresses"] = json!(networks);
        }
        settings
    })
}

/// The own Node and another.
pub(super) fn any_nodes() -> impl Strategy<Value = Vec<Value>> {
    let own_zone = one_of(&[Some("zone-a"), Some("zone-b"), None]);
    (own_zone, once_in(4)).prop_map(|(own_zone, has_two_addresses)| {
        let mut own = vec!["192.168.0.2"];
        own.extend(has_two_addresses.then_some("192.168.1.2"));
        vec![
            node("node01", own_zone, "10.244.0.0/24", &own),
            node("node02", Some("zone-b"), "10.244.1.0/24", &["192.168.0.3"]),
        ]
    })
}

fn node(name: &str, zone: Option<&str>, network: &str, addresses: &[&str]) -> Value {
    let entry = |address: &&str| json!({"type": "InternalIP", "address": address});
    let addresses: Vec<Value> = addresses.iter().map(entry).collect();
    let mut metadata = json!({ "name": name });
    if let Some(zone) = zone {
        metadata["labels"] = json!({"topology.kubernetes.io/zone": zone});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": {"podCIDRs": [network]},
        "status": {"addresses": addresses},
    })
}
