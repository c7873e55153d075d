use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proptest::prelude::*;

use super::*;
use crate::{
    compile::{CompiledService, compile_host_ports},
    source::{
        Change,
        manifests::documents::{File, Item, read_file},
    },
};

fn change(yaml: &str) -> Change {
    let path = Path::new("x.yaml");
    let file = read_file(path, yaml.as_bytes(), &File::default()).unwrap();
    let Item::Valid(object) = file.documents[0].items[0].clone() else { panic!("{yaml}") };
    Change::Set(object, Origin { file: path.into(), document: Some(1) })
}

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

fn with(objects: &[String]) -> Cluster {
    let mut cluster = Cluster::new("node1");
    cluster.set_own_addresses(&own(true));
    for object in objects {
        cluster.apply(change(object));
    }
    cluster
}

fn own(has_both: bool) -> BTreeSet<IpAddr> {
    let addresses = ["172.18.0.1", "172.18.0.9"].map(|it| it.parse().unwrap());
    addresses.into_iter().take(1 + usize::from(has_both)).collect()
}

/// A pod of this node that was created on a day of January.
fn pod(name: &str, day: u8, number: u8, ports: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, creationTimestamp: \
         '2026-01-{day:02}T00:00:00Z'}}, spec: {{nodeName: node1, containers: [{{ports: \
         [{ports}]}}]}}, status: {{podIP: 10.244.1.{number}}}}}"
    )
}

fn service(name: &str, day: u8, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, creationTimestamp: \
         '2026-01-{day:02}T00:00:00Z'}}, spec: {{clusterIP: 10.96.0.{day}, {spec}}}}}"
    )
}

fn lost(cluster: &Cluster) -> Vec<(String, String)> {
    let text = |error: SourceError| (error.name.unwrap(), error.field.unwrap());
    cluster.conflicts().into_iter().map(text).collect()
}

fn has_host_ports(cluster: &Cluster, pod: &str) -> bool {
    compile_host_ports(cluster, &name(pod)).is_some()
}

const PORT: &str = "{containerPort: 1, hostPort: 80}";

#[test]
fn one_port_of_one_address_is_one_pods_and_no_services() {
    let at = |address: &str| PORT.replace('}', &format!(", hostIP: '{address}'}}"));
    let node_port = "type: NodePort, ports: [{port: 1, nodePort: 80}]";
    let external = |address: &str| format!("externalIPs: [{address}], ports: [{{port: 80}}]");
    let pods: [(&str, String, bool); 12] = [
        ("all of the node's", PORT.to_owned(), true),
        ("the same address", at("172.18.0.1"), true),
        ("all of its family", at("0.0.0.0"), true),
        ("another address", at("172.18.0.9"), false),
        ("a loopback address", at("127.0.0.1"), false),
        ("all of the other family", at("::"), false),
        ("another port", at("172.18.0.1").replace("80", "81"), false),
        ("another protocol", at("172.18.0.1").replace('}', ", protocol: UDP}"), false),
        ("the node port", node_port.to_owned(), true),
        ("another node port", node_port.replace("80", "81"), false),
        ("the external address", external("172.18.0.1"), true),
        ("another external address", external("172.18.0.9"), false),
    ];
    for (what, other, is_taken) in pods {
        let object = |day| {
            if other.starts_with('{') {
                pod("b", day, 2, &other)
            } else {
                service("b", day, &other)
            }
        };
        let first = pod("a", 2, 1, &at("172.18.0.1"));
        let cluster = &with(&[first.clone(), object(3)]);
        assert!(has_host_ports(cluster, "a"), "{what}");
        let names: Vec<_> = lost(cluster).into_iter().map(|(name, _)| name).collect();
        let expected: &[&str] = if is_taken { &["b"] } else { &[] };
        assert_eq!(names, expected, "{what}");
        let cluster = &with(&[first, object(1)]);
        assert_eq!(has_host_ports(cluster, "a"), !is_taken, "{what}, which is older");
        let field = "spec.containers[].ports[].hostPort".to_owned();
        let expected: Vec<_> = is_taken.then(|| ("a".to_owned(), field)).into_iter().collect();
        assert_eq!(lost(cluster), expected, "{what}, which is older");
    }
}

#[test]
fn a_pod_without_its_host_port_has_its_network_and_its_other_ports() {
    let both = format!("{PORT}, {{containerPort: 2, hostPort: 82}}");
    let mut cluster = with(&[pod("a", 1, 1, PORT), pod("b", 2, 2, &both)]);
    assert!(cluster.pod(&name("b")).is_some());
    let ports = compile_host_ports(&cluster, &name("b")).unwrap().ports;
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].backends[0].port(), 2);
    let errors = cluster.lost_host_ports(&name("b"));
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let expected = "172.18.0.1 port 80/TCP is taken by Pod default/a, which is older";
    assert!(error.message.starts_with(expected), "{}", error.message);
    // It comes into its own as soon as the other is gone, or finished.
    cluster.take_dirty();
    cluster.apply(change(&pod("a", 1, 1, PORT).replace("podIP", "phase: Failed, podIP")));
    assert_eq!(cluster.take_dirty().host_ports, BTreeSet::from([name("a"), name("b")]));
    assert!(!has_host_ports(&cluster, "a"));
    assert_eq!(compile_host_ports(&cluster, &name("b")).unwrap().ports.len(), 2);
    assert_eq!(cluster.conflicts(), []);
}

#[test]
fn an_address_that_is_not_the_nodes_is_an_error_until_it_is() {
    let ports = PORT.replace('}', ", hostIP: 172.18.0.9}");
    let mut cluster = Cluster::new("node1");
    cluster.apply(change(&pod("a", 1, 1, &ports)));
    assert_eq!(lost(&cluster), [], "nothing is known of the node yet");
    cluster.set_own_addresses(&own(false));
    let field = "spec.containers[].ports[].hostIP".to_owned();
    assert_eq!(lost(&cluster), [("a".to_owned(), field)]);
    assert!(cluster.conflicts()[0].message.starts_with("172.18.0.9 is no address of this node"));
    cluster.take_dirty();
    cluster.set_own_addresses(&own(true));
    assert_eq!(cluster.take_dirty().host_ports, BTreeSet::from([name("a")]));
    assert_eq!(lost(&cluster), []);
    assert!(has_host_ports(&cluster, "a"));
}

#[derive(Clone, Debug)]
enum Event {
    Change(Change),
    OwnAddresses(bool),
}

/// Changes of few objects, each with a time of its own, so that the order decides nothing.
fn any_event() -> impl Strategy<Value = Event> {
    (0..4_u8, 0..3_u8, 0..5_u8, any::<bool>()).prop_map(|(which, port, address, flag)| {
        let label = ["a", "b", "c", "d"][usize::from(which)];
        let address =
            ["", "172.18.0.1", "172.18.0.9", "127.0.0.1", "0.0.0.0"][usize::from(address)];
        let other = if address.is_empty() { "172.18.0.1" } else { "" };
        let number = 80 + port;
        let ports = format!("{{containerPort: 1, hostPort: {number}, hostIP: '{address}'}}");
        match (which, port, flag) {
            (3, _, true) => Event::Change(change(&service(
                "d",
                9,
                &format!("type: NodePort, ports: [{{port: 1, nodePort: {number}}}]"),
            ))),
            (3, 0, false) => Event::OwnAddresses(address.is_empty()),
            (3, _, false) => Event::Change(change(&service(
                "d",
                9,
                &format!("externalIPs: [172.18.0.{}], ports: [{{port: {number}}}]", port * 8 + 1),
            ))),
            (_, 0, true) => Event::Change(Change::Removed(Kind::Pod, name(label))),
            // Two of them may have one address.
            (_, _, true) => Event::Change(change(&pod(label, which + 1, port, &ports))),
            (..) => Event::Change(change(&pod(
                label,
                which + 1,
                10 + which,
                &format!("{ports}, {{containerPort: 2, hostPort: 80, hostIP: '{other}'}}"),
            ))),
        }
    })
}

type Seen = (Vec<Option<CompiledService>>, Vec<SourceError>, bool);

fn seen(cluster: &Cluster) -> Seen {
    let compiled = ["a", "b", "c"].map(|pod| compile_host_ports(cluster, &name(pod)));
    (compiled.to_vec(), cluster.conflicts(), cluster.service(&name("d")).is_some())
}

proptest! {
    #[test]
    fn the_order_of_events_leaves_no_trace(events in prop::collection::vec(any_event(), 0..40)) {
        let mut cluster = Cluster::new("node1");
        let (mut last, mut has_both) = (BTreeMap::new(), None);
        let mut compiled = BTreeMap::new();
        for event in events {
            match event {
                Event::OwnAddresses(both) => {
                    has_both = Some(both);
                    cluster.set_own_addresses(&own(both));
                }
                Event::Change(change) => {
                    match &change {
                        Change::Set(object, _) => {
                            last.insert((object.kind(), object.name()), change.clone());
                        }
                        Change::Removed(kind, name) => {
                            last.remove(&(*kind, name.clone()));
                        }
                    }
                    cluster.apply(change);
                }
            }
            // What is not marked must compile to what it did.
            for pod in cluster.take_dirty().host_ports {
                compiled.insert(pod.name.clone(), compile_host_ports(&cluster, &pod));
            }
        }
        let mut fresh = Cluster::new("node1");
        if let Some(both) = has_both {
            fresh.set_own_addresses(&own(both));
        }
        for change in last.into_values() {
            fresh.apply(change);
        }
        prop_assert_eq!(seen(&cluster), seen(&fresh));
        for (name, expected) in ["a", "b", "c"].into_iter().zip(seen(&fresh).0) {
            prop_assert_eq!(compiled.get(name).cloned().flatten(), expected, "{}", name);
        }
    }
}
