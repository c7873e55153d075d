//! EndpointSlices.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    pick::{once_in, one_of},
    services::{MOST_PORTS, PORTS, name, port_name},
};

/// The addresses that endpoints have: pods of both nodes, the nodes themselves, and one outside.
pub(super) const ADDRESSES: [(&str, Option<&str>); 9] = [
    ("10.244.0.2", Some("node01")),
    ("10.244.0.3", Some("node01")),
    ("10.244.0.4", Some("node01")),
    ("10.244.1.2", Some("node02")),
    ("10.244.1.3", Some("node02")),
    ("10.244.1.4", Some("NODE02")),
    ("192.168.0.2", Some("node01")),
    ("192.168.0.3", Some("node02")),
    ("172.31.0.50", None),
];

/// The slices of a service.
pub(super) fn any_slices(service: usize) -> impl Strategy<Value = Vec<Value>> {
    vec(any_slice(service), 0..4).prop_map(move |mut slices| {
        for (number, slice) in slices.iter_mut().enumerate() {
            slice["metadata"]["name"] = json!(format!("{}-{number}", name(service)));
        }
        slices
    })
}

fn any_slice(service: usize) -> impl Strategy<Value = Value> {
    let ports = vec((once_in(8), 0..3_u16), MOST_PORTS);
    let endpoints = vec(any_endpoint(), 0..7);
    (ports, endpoints, once_in(15), once_in(15)).prop_map(
        move |(ports, endpoints, is_headless, is_strangers)| {
            let owner = if is_strangers { "nobody".to_owned() } else { name(service) };
            let mut labels = json!({"kubernetes.io/service-name": owner});
            if is_headless {
                labels["service.kubernetes.io/headless"] = json!("");
            }
            let port = |(index, (is_missing, offset)): (usize, &(bool, u16))| {
                let (protocol, number) = PORTS[index];
                (!is_missing).then(|| {
                    json!({
                        "name": port_name(index), "protocol": protocol, "port": 8000 + number + offset,
                    })
                })
            };
            let ports: Vec<Value> = ports.iter().enumerate().filter_map(port).collect();
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"namespace": "default", "labels": labels},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints,
            })
        },
    )
}

fn any_endpoint() -> impl Strategy<Value = Value> {
    let condition = || one_of(&[None, Some(true), Some(false)]);
    let conditions = (one_of(&[0, 0, 0, 1]), condition(), condition(), condition());
    let hint = || one_of::<&'static [&str]>(&[&[], &[], &["a"], &["b"], &["a", "b"]]);
    (one_of(&ADDRESSES), once_in(8), conditions, (once_in(2), hint(), hint())).prop_map(
        |((address, node), is_homeless, conditions, (has_hints, zones, nodes))| {
            let mut endpoint = json!({"addresses": [address]});
            if let Some(node) = node.filter(|_| !is_homeless) {
                endpoint["nodeName"] = json!(node);
            }
            let (is_odd, ready, serving, terminating) = conditions;
            if is_odd == 1 {
                let mut written = serde_json::Map::new();
                for (name, value) in
                    [("ready", ready), ("serving", serving), ("terminating", terminating)]
                {
                    if let Some(value) = value {
                        written.insert(name.to_owned(), json!(value));
                    }
                }
                endpoint["conditions"] = Value::Object(written);
            }
            if has_hints {
                endpoint["hints"] = hints(zones, nodes);
            }
            endpoint
        },
    )
}

fn hints(zones: &[&str], nodes: &[&str]) -> Value {
    let named = |prefix: &str, names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({"name": format!("{prefix}{name}")})).collect()
    };
    let nodes: Vec<&str> =
        nodes.iter().map(|node| if *node == "a" { "01" } else { "02" }).collect();
    let mut hints = json!({});
    if !zones.is_empty() {
        hints["forZones"] = json!(named("zone-", zones));
    }
    if !nodes.is_empty() {
        hints["forNodes"] = json!(named("node", &nodes));
    }
    hints
}
