//! Endpoints that a test writes by hand, as the EndpointSlice controller would.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};

use super::{Pod, Topology};
use crate::{one_node::TARGET_PORT, wait};

/// An endpoint of a Service, in both families.
#[derive(Clone, Debug)]
pub struct Endpoint {
    addresses: [IpAddr; 2],
    node: Option<String>,
    conditions: [bool; 3],
    hints: Value,
}

impl Endpoint {
    /// A ready one at these addresses, on the node of this name where it has one.
    pub fn at(addresses: [IpAddr; 2], node: Option<&str>) -> Self {
        Self {
            addresses,
            node: node.map(str::to_owned),
            conditions: [true, true, false],
            hints: Value::Null,
        }
    }

    /// The same, on its way out and still serving.
    #[must_use]
    pub fn terminating(self) -> Self {
        Self { conditions: [false, true, true], ..self }
    }

    /// The same, on its way out and serving no more.
    #[must_use]
    pub fn ending(self) -> Self {
        Self { conditions: [false, false, true], ..self }
    }

    /// The same, not ready yet.
    #[must_use]
    pub fn starting(self) -> Self {
        Self { conditions: [false, false, false], ..self }
    }

    /// The same, for these zones.
    #[must_use]
    pub fn for_zones(self, zones: &[&str]) -> Self {
        let zones: Vec<Value> = zones.iter().map(|zone| json!({"name": zone})).collect();
        Self { hints: json!({"forZones": zones}), ..self }
    }

    /// The same, for these zones and these nodes.
    #[must_use]
    pub fn for_zones_and_nodes(self, zones: &[&str], nodes: &[&str]) -> Self {
        let mut endpoint = self.for_zones(zones);
        let nodes: Vec<Value> = nodes.iter().map(|node| json!({"name": node})).collect();
        endpoint.hints["forNodes"] = json!(nodes);
        endpoint
    }

    fn object(&self, family: usize) -> Value {
        let [ready, serving, terminating] = self.conditions;
        let mut object = json!({
            "addresses": [self.addresses[family]],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        });
        if let Some(node) = &self.node {
            object["nodeName"] = json!(node);
        }
        if !self.hints.is_null() {
            object["hints"] = self.hints.clone();
        }
        object
    }
}

/// The slices of a Service with the ports of Service `web`, one for each family, whose names begin
/// with `name`.
pub fn slices(name: &str, service: &str, endpoints: &[Endpoint]) -> [Value; 2] {
    [(0, "IPv4"), (1, "IPv6")].map(|(family, address_type)| {
        let endpoints: Vec<Value> =
            endpoints.iter().map(|endpoint| endpoint.object(family)).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "default",
                "name": format!("{name}-{}", address_type.to_lowercase()),
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": address_type,
            "endpoints": endpoints,
            "ports": [
                {"name": "http", "protocol": "TCP", "port": TARGET_PORT},
                {"name": "ask", "protocol": "UDP", "port": TARGET_PORT},
            ],
        })
    })
}

/// What an agent shows of an endpoint: address, and whether it is ready, serves and is on its way
/// out.
type Shown = BTreeSet<(String, bool, bool, bool)>;

impl Topology {
    /// A pod as a ready endpoint.
    pub fn endpoint(&self, pod: &Pod) -> Endpoint {
        Endpoint::at(pod.addresses, Some(self.node(pod.node).name()))
    }

    /// Writes the slices of Service `web`, and waits until every agent has these endpoints, in
    /// these conditions, and no others. Hints are not waited for.
    pub fn put_endpoints(&self, endpoints: &[Endpoint]) {
        self.put_endpoints_of("web", endpoints);
    }

    /// The same for another Service with the same ports.
    pub fn put_endpoints_of(&self, service: &str, endpoints: &[Endpoint]) {
        self.write_endpoints_of(service, endpoints);
        let expected: Shown = endpoints
            .iter()
            .flat_map(|endpoint| {
                let [ready, serving, terminating] = endpoint.conditions;
                let shown = |ip: IpAddr| (ip.to_string(), ready, serving, terminating);
                endpoint.addresses.map(shown)
            })
            .collect();
        for agent in self.agents.iter().flatten() {
            wait::until(&format!("the endpoints of {service}"), wait::PATIENCE, || {
                let rows = agent.get("endpoints");
                let shown: Shown = rows
                    .iter()
                    .filter(|row| row["service"] == service)
                    .map(|row| {
                        let is = |what: &str| row[what] == true;
                        let address = row["address"].as_str().unwrap_or_default().to_owned();
                        (address, is("ready"), is("serving"), is("terminating"))
                    })
                    .collect();
                if shown == expected { Ok(()) } else { Err(format!("{shown:?}")) }
            });
        }
    }

    /// Writes the slices of a Service with the ports of Service `web`.
    pub fn write_endpoints_of(&self, service: &str, endpoints: &[Endpoint]) {
        let file = format!("slices-{service}.yaml");
        self.manifests.write(&file, &slices(service, service, endpoints));
    }
}
