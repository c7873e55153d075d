//! Stories of changes.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::model::{Kind, Object, ObjectName},
    compile::{CompileOptions, CompiledService, compile},
    source::{
        Change, Origin, SourceError,
        manifests::documents::{File, Item, read_file},
    },
};

fn object(yaml: &str) -> Object {
    let file = read_file(Path::new("x.yaml"), yaml.as_bytes(), &File::default()).unwrap();
    match &file.documents[0].items[0] {
        Item::Valid(object) => object.clone(),
        other => panic!("{yaml}: {other:?}"),
    }
}

fn set(cluster: &mut Cluster, yaml: &str) {
    cluster.apply(set_change(yaml));
}

fn set_change(yaml: &str) -> Change {
    let origin = Origin { file: Path::new("x.yaml").into(), document: Some(1) };
    Change::Set(object(yaml), origin)
}

fn remove(cluster: &mut Cluster, kind: Kind, name: &str) {
    let namespace = if kind == Kind::Node { "" } else { "default" };
    let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    cluster.apply(Change::Removed(kind, name));
}

fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

fn plain_service(name: &str, address: &str) -> String {
    service(name, &format!("clusterIP: {address}, ports: [{{port: 80}}]"))
}

fn created(yaml: &str, day: u8) -> String {
    yaml.replacen(
        "metadata: {",
        &format!("metadata: {{creationTimestamp: '2026-01-{day:02}T00:00:00Z', "),
        1,
    )
}

fn pod(name: &str, address: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: web}}}}, \
         status: {{podIP: {address}{rest}}}}}"
    )
}

fn slice(name: &str, service: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: \
         {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}}}"
    )
}

fn in_force(cluster: &Cluster) -> Vec<String> {
    let nodes = cluster.nodes().map(|node| node.name.clone());
    let pods = cluster.pods().map(|pod| pod.name.name.clone());
    let services = cluster.services().map(|service| service.name.name.clone());
    nodes.chain(pods).chain(services).collect()
}

fn dirty(cluster: &mut Cluster) -> Vec<String> {
    cluster.take_dirty().services.into_iter().map(|name| name.name).collect()
}

fn lost(cluster: &Cluster) -> Vec<(String, String)> {
    let lost =
        |error: SourceError| (error.name.unwrap_or_default(), error.field.unwrap_or_default());
    cluster.conflicts().into_iter().map(lost).collect()
}

fn pair(name: &str, field: &str) -> (String, String) {
    (name.to_owned(), field.to_owned())
}

#[test]
fn a_change_marks_the_services_that_it_concerns() {
    let cluster = &mut Cluster::new("node1");
    let selecting = "clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]";
    set(cluster, &service("web", selecting));
    set(cluster, &service("other", &selecting.replace("web", "x").replace("0.1", "0.2")));
    assert_eq!(dirty(cluster), ["other", "web"]);
    set(cluster, &service("web", selecting));
    assert_eq!(cluster.take_dirty(), Dirty::default());

    set(cluster, &pod("p", "10.244.0.1", ""));
    let marked = cluster.take_dirty();
    assert!(!marked.pods && !marked.nodes && marked.services.len() == 1);
    set(cluster, &pod("own", "10.244.0.9", "}, spec: {nodeName: node1").replace("web", "none"));
    assert!(cluster.take_dirty().pods, "only pods of this node are made here");
    set(cluster, &pod("p", "10.244.0.1", "").replace("app: web", "app: x"));
    assert_eq!(dirty(cluster), ["other", "web"]);
    remove(cluster, Kind::Pod, "p");
    assert_eq!(dirty(cluster), ["other"]);

    set(cluster, &slice("s", "web"));
    assert_eq!(dirty(cluster), ["web"]);
    set(cluster, &pod("p", "10.244.0.1", ""));
    assert_eq!(dirty(cluster), Vec::<String>::new());
    set(cluster, &slice("s", "other"));
    assert_eq!(dirty(cluster), ["other", "web"]);
    remove(cluster, Kind::EndpointSlice, "s");
    assert_eq!(dirty(cluster), ["other"]);

    let node = "{apiVersion: v1, kind: Node, metadata: {name: NAME}}";
    set(cluster, &node.replace("NAME", "node2"));
    let marked = cluster.take_dirty();
    assert!(marked.nodes && marked.services.is_empty());
    set(cluster, &node.replace("NAME", "node1"));
    assert_eq!(dirty(cluster), ["other", "web"]);
    remove(cluster, Kind::Service, "web");
    assert_eq!(dirty(cluster), ["web"]);
}

#[test]
fn a_cluster_ip_is_one_services_alone() {
    let cluster = &mut Cluster::new("node1");
    set(cluster, &plain_service("b", "10.96.0.1"));
    set(cluster, &plain_service("a", "10.96.0.1").replace("80", "81"));
    assert_eq!(in_force(cluster), ["b"]);
    assert_eq!(lost(cluster), [pair("a", "spec.clusterIP")]);
    let error = cluster.conflicts().remove(0);
    assert!(error.message.contains("10.96.0.1 is taken by Service default/b"), "{}", error.message);
    cluster.take_dirty();
    remove(cluster, Kind::Service, "b");
    assert_eq!((in_force(cluster), lost(cluster)), (vec!["a".to_owned()], vec![]));
    assert_eq!(dirty(cluster), ["a", "b"]);
    set(cluster, &created(&plain_service("b", "10.96.0.1"), 1));
    assert_eq!(in_force(cluster), ["b"]);
    set(cluster, &created(&plain_service("b", "10.96.0.2"), 1));
    assert_eq!((in_force(cluster).len(), lost(cluster)), (2, vec![]));
}

#[test]
fn one_that_reaches_for_what_another_has_loses_what_it_had() {
    let cluster = &mut Cluster::new("node1");
    set(cluster, &plain_service("a", "10.96.0.1"));
    set(cluster, &plain_service("b", "10.96.0.2"));
    set(cluster, &plain_service("c", "10.96.0.1"));
    assert_eq!(in_force(cluster), ["a", "b"]);
    set(cluster, &plain_service("a", "10.96.0.2"));
    assert_eq!(in_force(cluster), ["b", "c"]);
    set(cluster, &plain_service("b", "10.96.0.3"));
    assert_eq!(in_force(cluster), ["a", "b", "c"]);
}

#[test]
fn other_addresses_and_ports_are_claimed_too() {
    let node_port = "type: NodePort, ports: [{port: 80, nodePort: 30000}]";
    let asked_at = |port: u16, node_port: u16| {
        format!(
            "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: {port}, \
             ports: [{{port: 80, nodePort: {node_port}}}]"
        )
    };
    let node = |name, cidrs| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, spec: {{podCIDRs: [{cidrs}]}}}}"
        )
    };
    let table = [
        (
            service("a", "clusterIP: 10.96.0.1, externalIPs: [10.240.0.1], ports: [{port: 80}]"),
            service("b", "clusterIP: 10.96.0.2, externalIPs: [10.240.0.1], ports: [{port: 80}]"),
            Some("spec.externalIPs[0]"),
        ),
        (
            service("a", "clusterIP: 10.96.0.1, externalIPs: [10.240.0.1], ports: [{port: 80}]"),
            service("b", "clusterIP: 10.96.0.2, externalIPs: [10.240.0.1], ports: [{port: 81}]"),
            None,
        ),
        (
            plain_service("a", "10.96.0.1"),
            service("b", "clusterIP: 10.96.0.2, externalIPs: [10.96.0.1], ports: [{port: 81}]"),
            Some("spec.externalIPs[0]"),
        ),
        (
            service("a", "clusterIP: 10.96.0.1, externalIPs: [10.240.0.1], ports: [{port: 80}]"),
            plain_service("b", "10.240.0.1"),
            Some("spec.clusterIP"),
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {node_port}")),
            service("b", &format!("clusterIP: 10.96.0.2, {node_port}")),
            Some("spec.ports[0].nodePort"),
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {node_port}")),
            service(
                "b",
                &format!("clusterIP: 10.96.0.2, {node_port}")
                    .replace("port: 80", "protocol: UDP, port: 80"),
            ),
            None,
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {}", asked_at(32000, 30001))),
            service("b", &format!("clusterIP: 10.96.0.2, {}", asked_at(32000, 30002))),
            Some("spec.healthCheckNodePort"),
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {node_port}")),
            service("b", &format!("clusterIP: 10.96.0.2, {}", asked_at(30000, 30001))),
            Some("spec.healthCheckNodePort"),
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {}", asked_at(30000, 30001))),
            service("b", &format!("clusterIP: 10.96.0.2, {node_port}")),
            Some("spec.ports[0].nodePort"),
        ),
        (
            service("a", &format!("clusterIP: 10.96.0.1, {}", asked_at(30000, 30001))),
            service("b", &format!("clusterIP: 10.96.0.2, {}", asked_at(30000, 30002)))
                .replace("Policy: Local", "Policy: Cluster"),
            None,
        ),
        (pod("a", "10.244.0.1", ""), pod("b", "10.244.0.1", ""), Some("status.podIPs[0].ip")),
        (pod("a", "10.244.0.1", ""), pod("b", "10.244.0.1", ", phase: Failed"), None),
        (
            pod("a", "10.244.0.1", "").replace("status", "spec: {hostNetwork: true}, status"),
            pod("b", "10.244.0.1", ""),
            None,
        ),
        (node("a", "10.244.0.0/24"), node("b", "10.244.1.0/24"), None),
        (node("a", "10.244.0.0/24"), node("b", "10.244.0.0/24"), Some("spec.podCIDRs[0]")),
        (node("a", "10.244.0.0/16"), node("b", "10.244.7.0/24"), Some("spec.podCIDRs[0]")),
        (node("a", "10.244.7.0/24"), node("b", "10.244.0.0/16"), Some("spec.podCIDRs[0]")),
        (
            node("a", "10.244.0.0/24, 'fd00::/64'"),
            node("b", "10.244.1.0/24, 'fd00::/56'"),
            Some("spec.podCIDRs[1]"),
        ),
    ];
    for (first, second, field) in table {
        let cluster = &mut Cluster::new("node1");
        set(cluster, &first);
        set(cluster, &second);
        let expected: Vec<_> = field.iter().map(|field| pair("b", field)).collect();
        assert_eq!(lost(cluster), expected, "{first}\n{second}");
        let cluster = &mut Cluster::new("node1");
        set(cluster, &created(&first, 2));
        set(cluster, &created(&second, 1));
        assert_eq!(lost(cluster).len(), expected.len());
        assert_eq!(in_force(cluster).contains(&"a".to_owned()), field.is_none(), "{first}");
    }
}

/// Everything that can be asked of a cluster.
fn seen(cluster: &Cluster) -> (Vec<String>, Vec<SourceError>, Vec<Option<CompiledService>>) {
    let names = ["a", "b", "c", "d"];
    let compiled = names.map(|name| {
        let name = ObjectName { namespace: "default".to_owned(), name: name.to_owned() };
        compile(cluster, "node1", &CompileOptions::default(), &name)
    });
    (in_force(cluster), cluster.conflicts(), compiled.to_vec())
}

/// Changes of few objects with few addresses, so that they meet. Each object has a time of its own,
/// because between objects of one age the order of events decides.
fn any_change() -> impl Strategy<Value = Change> {
    (0..4_u8, 0..4_usize, 0..4_u8, 0..4_u8, any::<bool>()).prop_map(
        |(kind, which, one, other, flag)| {
            let name = ["a", "b", "c", "d"][which];
            let day = 1 + kind * 4 + u8::try_from(which).unwrap();
            let app = ["w", "x"][usize::from(flag)];
            let (kind, yaml) = match kind {
                0 => (
                    Kind::Node,
                    format!(
                        "{{apiVersion: v1, kind: Node, metadata: {{name: node{which}, labels: \
                         {{topology.kubernetes.io/zone: z{one}}}}}, spec: {{podCIDR: \
                         10.244.{one}.0/{}}}, status: {{addresses: [{{type: InternalIP, address: \
                         172.18.0.{}}}]}}}}",
                        if one == 0 { 16 } else { 24 },
                        other + 1,
                    ),
                ),
                1 => (
                    Kind::Pod,
                    format!(
                        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: \
                         {app}}}}}, spec: {{nodeName: node{one}, hostNetwork: {}}}, status: \
                         {{podIP: {}}}}}",
                        other == 3,
                        if other == 3 {
                            "''".to_owned()
                        } else {
                            format!("10.244.0.{}", other + 1)
                        },
                    ),
                ),
                2 => (
                    Kind::Service,
                    service(
                        name,
                        &format!(
                            "clusterIP: 10.96.0.{}, externalIPs: [10.96.0.{}, 172.18.0.{}], \
                             selector: {{app: {app}}}, ports: [{{port: 80, nodePort: 3000{which}}}]",
                            one + 1,
                            other + 1,
                            which + 1,
                        ),
                    ),
                ),
                _ => (
                    Kind::EndpointSlice,
                    slice(name, ["a", "b", "c", "''"][usize::from(one)]).replace(
                        "addressType",
                        &format!(
                            "ports: [{{port: 1}}], endpoints: [{{addresses: [10.244.1.{}], \
                             nodeName: node1}}], addressType",
                            other + 1
                        ),
                    ),
                ),
            };
            let change = set_change(&created(&yaml, day));
            match (&change, (one + other) % 3) {
                (Change::Set(object, _), 0) => Change::Removed(kind, object.name()),
                _ => change,
            }
        },
    )
}

proptest! {
    #[test]
    fn the_order_of_events_leaves_no_trace(changes in prop::collection::vec(any_change(), 0..40)) {
        let mut cluster = Cluster::new("node1");
        let mut last = std::collections::BTreeMap::new();
        let mut compiled = std::collections::BTreeMap::new();
        for change in changes {
            match &change {
                Change::Set(object, _) => {
                    last.insert((object.kind(), object.name()), change.clone());
                }
                Change::Removed(kind, name) => {
                    last.remove(&(*kind, name.clone()));
                }
            }
            cluster.apply(change);
            // What is not marked must compile to what it did.
            for name in cluster.take_dirty().services {
                let options = CompileOptions::default();
                let now = compile(&cluster, "node1", &options, &name);
                compiled.insert(name.name.clone(), now);
            }
        }
        let mut fresh = Cluster::new("node1");
        for change in last.into_values() {
            fresh.apply(change);
        }
        prop_assert_eq!(seen(&cluster), seen(&fresh));
        for (name, expected) in ["a", "b", "c", "d"].into_iter().zip(seen(&fresh).2) {
            prop_assert_eq!(compiled.get(name).cloned().flatten(), expected, "{}", name);
        }
    }
}

#[test]
fn many_that_claim_one_address_are_judged_quickly() {
    let mut cluster = Cluster::new("node1");
    let Object::Service(first) = object(&plain_service("s", "10.96.0.1")) else { panic!() };
    for number in 0..300 {
        let mut service = (*first).clone();
        service.name.name = format!("s{number:03}");
        let origin = Origin { file: Path::new("x.yaml").into(), document: Some(number) };
        cluster.apply(Change::Set(Object::Service(Arc::new(service)), origin));
    }
    assert_eq!(in_force(&cluster), ["s000"]);
    assert_eq!(cluster.conflicts().len(), 299);
}
