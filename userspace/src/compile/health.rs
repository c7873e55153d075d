//! What load balancers are told of a Service: how many endpoints this node has
//! (`LocalReadyEndpoints` of Kubernetes' `pkg/proxy/endpointschangetracker.go`).

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{CompiledService, Here};
use crate::cluster::model::Service;

/// An address of the node where load balancers ask for a Service's endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    /// Where.
    pub address: SocketAddr,
    /// How many addresses of this node's pods are ready, in the family of `address`, whatever the
    /// port. One that is on its way out is none, though it may still get traffic.
    pub local_endpoints: usize,
}

/// Where a Service's endpoints are asked for: on the addresses of the node that answer on node
/// ports, in the families in which the Service exists.
pub(super) fn health_checks(
    service: &Service,
    compiled: &CompiledService,
    here: Here<'_>,
) -> Vec<HealthCheck> {
    let Some(port) = service.health_check_port() else {
        return Vec::new();
    };
    let addresses: BTreeSet<IpAddr> = here
        .node_port_addresses()
        .iter()
        .copied()
        .filter(|&address| service.serves_family_of(address))
        .collect();
    let check = |address: IpAddr| HealthCheck {
        address: SocketAddr::new(address, port),
        local_endpoints: local_endpoints(compiled, address.is_ipv4()),
    };
    addresses.into_iter().map(check).collect()
}

fn local_endpoints(compiled: &CompiledService, is_ipv4: bool) -> usize {
    let endpoints = compiled.service_ports().flat_map(|port| port.endpoints.iter());
    let ready = endpoints
        .filter(|endpoint| endpoint.local && endpoint.conditions.ready)
        .map(|endpoint| endpoint.address.ip())
        .filter(|address| address.is_ipv4() == is_ipv4);
    ready.collect::<BTreeSet<IpAddr>>().len()
}

#[cfg(test)]
mod tests {
    use crate::{
        cluster::{Cluster, model::ObjectName},
        compile::{CompileOptions, NodePortAddresses, compile},
        source::{
            Change, Origin,
            manifests::documents::{File, Item, read_file},
        },
    };

    const WEB: &str = "
{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: [
  {type: InternalIP, address: 172.18.0.1}, {type: InternalIP, address: 'fd00:172::1'}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIPs: [10.96.0.1, 'fd10::1'],
  type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000,
  ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30081}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: four, labels: {kubernetes.io/service-name: web}},
  ports: [{name: a, port: 8080}, {name: b, port: 8081}], endpoints: [
    {addresses: [10.244.1.1], nodeName: node1},
    {addresses: [10.244.1.2], nodeName: node1},
    {addresses: [10.244.1.3], nodeName: node1, conditions: {ready: false}},
    {addresses: [10.244.1.4], nodeName: node1,
      conditions: {ready: false, serving: true, terminating: true}},
    {addresses: [10.244.2.1], nodeName: node2},
    {addresses: [10.244.2.2]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv6,
  metadata: {name: six, labels: {kubernetes.io/service-name: web}},
  ports: [{name: a, port: 8080}], endpoints: [{addresses: ['fd44::1'], nodeName: node1}]}
";

    /// Each address, and what is answered there.
    fn checks(yaml: &str, options: &CompileOptions) -> Vec<(String, usize)> {
        let mut cluster = Cluster::new("node1");
        let path = std::path::Path::new("test.yaml");
        let file = read_file(path, yaml.as_bytes(), &File::default()).unwrap();
        let origin = Origin { file: path.into(), document: Some(1) };
        for item in file.documents.into_iter().flat_map(|document| document.items) {
            let Item::Valid(object) = item else { panic!("{item:?}") };
            cluster.apply(Change::Set(object, origin.clone()));
        }
        let name = ObjectName { namespace: "default".to_owned(), name: "web".to_owned() };
        let compiled = compile(&cluster, "node1", options, &name).unwrap();
        let checks = compiled.health_checks.iter();
        checks.map(|check| (check.address.to_string(), check.local_endpoints)).collect()
    }

    fn expected(rows: &[(&str, usize)]) -> Vec<(String, usize)> {
        rows.iter().map(|(address, count)| ((*address).to_owned(), *count)).collect()
    }

    #[test]
    fn ready_addresses_of_this_node_count_once_in_their_family() {
        assert_eq!(
            checks(WEB, &CompileOptions::default()),
            expected(&[("172.18.0.1:32000", 2), ("[fd00:172::1]:32000", 1)])
        );
    }

    #[test]
    fn it_is_asked_where_node_ports_are_and_the_service_is() {
        let chosen = vec!["172.18.0.9".parse().unwrap(), "172.18.0.1".parse().unwrap()];
        let options = CompileOptions {
            node_ports: NodePortAddresses::Chosen(chosen),
            ..CompileOptions::default()
        };
        let both = [("172.18.0.1:32000", 2), ("172.18.0.9:32000", 2)];
        assert_eq!(checks(WEB, &options), expected(&both));
        let single = WEB.replace("[10.96.0.1, 'fd10::1']", "[10.96.0.1]");
        assert_eq!(
            checks(&single, &CompileOptions::default()),
            expected(&[("172.18.0.1:32000", 2)])
        );
    }

    #[test]
    fn nobody_asks_where_type_policy_or_port_is_another() {
        for (from, to) in [
            ("type: LoadBalancer", "type: NodePort"),
            ("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster"),
            ("healthCheckNodePort: 32000,", ""),
        ] {
            let yaml = WEB.replace(from, to);
            assert_eq!(checks(&yaml, &CompileOptions::default()), [], "{to}");
        }
    }
}
