//! Who reaches which endpoints of a service by which of its addresses, as whom.

use std::{collections::BTreeMap, path::Path};

use super::*;
use crate::{
    cluster::model::Kind,
    source::{
        Change, Origin,
        manifests::documents::{File, Item, read_file},
    },
};

const CLUSTER: &str = "
{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: [
  {type: InternalIP, address: 172.18.0.1}, {type: InternalIP, address: 'fd00:172::1'}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: node2}, status: {addresses: [
  {type: InternalIP, address: 172.18.0.2}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIPs: [CLUSTER_IPS],
  type: LoadBalancer, internalTrafficPolicy: ITP, externalTrafficPolicy: ETP,
  externalIPs: [10.240.0.1, 'fd00:240::1', 172.18.0.1, 172.18.0.2, 10.240.0.2],
  ports: [{port: 80, nodePort: 30080}]},
  status: {loadBalancer: {ingress: [{ip: 10.240.0.2}, {ip: 10.240.0.3, ipMode: Proxy}]}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: s, labels: {kubernetes.io/service-name: web}}, ports: [{port: 8080}],
  endpoints: [ENDPOINTS]}
";

const HERE: &str = "{addresses: [10.244.1.1], nodeName: node1}";
const THERE: &str = "{addresses: [10.244.2.1], nodeName: node2}";

fn cluster(yaml: &str) -> Cluster {
    let mut cluster = Cluster::new("node1");
    let file = read_file(Path::new("test.yaml"), yaml.as_bytes(), &File::default()).unwrap();
    let origin = Origin { file: Path::new("test.yaml").into(), document: Some(1) };
    for item in file.documents.into_iter().flat_map(|document| document.items) {
        let Item::Valid(object) = item else { panic!("{item:?}") };
        cluster.apply(Change::Set(object, origin.clone()));
    }
    cluster
}

fn yaml(internal: &str, external: &str, endpoints: &str) -> String {
    CLUSTER
        .replace("ITP", internal)
        .replace("ETP", external)
        .replace("ENDPOINTS", endpoints)
        .replace("CLUSTER_IPS", "10.96.0.1, 'fd10::1'")
}

fn web(cluster: &Cluster, answers: AnswersOutside) -> CompiledService {
    web_with(cluster, &CompileOptions { answers, ..CompileOptions::default() })
}

fn web_with(cluster: &Cluster, options: &CompileOptions) -> CompiledService {
    let name = ObjectName { namespace: "default".to_owned(), name: "web".to_owned() };
    compile(cluster, "node1", options, &name).unwrap()
}

/// What is found at each frontend.
fn found(
    service: &CompiledService,
) -> BTreeMap<(SocketAddr, Audience), (&CompiledPort, ClientAddress)> {
    let mut found = BTreeMap::new();
    for port in &service.ports {
        for frontend in &port.frontends {
            let key = (frontend.address, frontend.audience);
            assert_eq!(found.insert(key, (port, frontend.client)), None, "{key:?} once");
        }
    }
    found
}

#[test]
fn who_reaches_which_endpoints_as_whom_is_as_kubernetes_has_it() {
    use AnswersOutside::{ByTheFirstNode, Direct};
    use Audience::{Handed, Inside, Outside};
    use EndpointList::{Cluster, Local};
    let (kept, masqueraded, direct) =
        (ClientAddress::Kept, ClientAddress::Masqueraded, ClientAddress::Direct);
    let cluster_ip = ["10.96.0.1:80", "[fd10::1]:80"].as_slice();
    let external = [
        "172.18.0.1:30080",
        "[fd00:172::1]:30080",
        "10.240.0.1:80",
        "[fd00:240::1]:80",
        "10.240.0.2:80",
        "172.18.0.1:80",
    ]
    .as_slice();
    let handed_addresses =
        ["0.0.0.0:30080", "[::]:30080", "10.240.0.1:80", "[fd00:240::1]:80", "10.240.0.2:80"];
    let handed = handed_addresses.as_slice();
    let table = [
        (cluster_ip, Inside, ["Cluster", "*"], ByTheFirstNode, Some((Cluster, kept))),
        (cluster_ip, Outside, ["Cluster", "*"], ByTheFirstNode, Some((Cluster, masqueraded))),
        (cluster_ip, Inside, ["Local", "*"], ByTheFirstNode, Some((Local, kept))),
        (cluster_ip, Outside, ["Local", "*"], ByTheFirstNode, Some((Local, masqueraded))),
        (cluster_ip, Outside, ["Cluster", "*"], Direct, Some((Cluster, masqueraded))),
        (cluster_ip, Handed, ["*", "*"], Direct, None),
        (external, Inside, ["*", "Cluster"], ByTheFirstNode, Some((Cluster, masqueraded))),
        (external, Outside, ["*", "Cluster"], ByTheFirstNode, Some((Cluster, masqueraded))),
        (external, Inside, ["*", "Local"], ByTheFirstNode, Some((Cluster, kept))),
        (external, Outside, ["*", "Local"], ByTheFirstNode, Some((Local, kept))),
        (external, Handed, ["*", "*"], ByTheFirstNode, None),
        (external, Inside, ["*", "Cluster"], Direct, Some((Cluster, masqueraded))),
        (external, Outside, ["*", "Cluster"], Direct, Some((Cluster, direct))),
        (external, Outside, ["*", "Local"], Direct, Some((Local, kept))),
        (handed, Handed, ["*", "Cluster"], Direct, Some((Local, kept))),
        (handed, Handed, ["*", "Local"], Direct, None),
    ];
    for (targets, audience, policies, answers, expected) in table {
        let of = |policy: &'static str| match policy {
            "*" => vec!["Cluster", "Local"],
            one => vec![one],
        };
        for internal in of(policies[0]) {
            for external in of(policies[1]) {
                let yaml = yaml(internal, external, &format!("{HERE}, {THERE}"));
                let service = web(&cluster(&yaml), answers);
                let found = found(&service);
                for target in targets {
                    let frontend = found.get(&(target.parse().unwrap(), audience));
                    let what = frontend.map(|(port, client)| (port.name.list, *client));
                    assert_eq!(what, expected, "{target} {audience:?} {internal} {external}");
                }
            }
        }
    }
}

#[test]
fn each_list_has_its_endpoints_and_says_what_happens_without_any() {
    let both = format!("{HERE}, {THERE}");
    let gone = "{addresses: [10.244.2.1], conditions: {ready: false}}";
    let table = [
        (both.as_str(), 2, 1, WhenEmpty::Drop),
        (HERE, 1, 1, WhenEmpty::Drop),
        (THERE, 1, 0, WhenEmpty::Drop),
        (gone, 0, 0, WhenEmpty::Refuse),
        ("", 0, 0, WhenEmpty::Refuse),
    ];
    for (endpoints, everywhere, here, when_none_here) in table {
        let service = web(&cluster(&yaml("Cluster", "Local", endpoints)), AnswersOutside::Direct);
        let v4: Vec<_> =
            service.ports.iter().filter(|port| port.name.family == Family::V4).collect();
        let [cluster, local] = v4.as_slice() else { panic!("{v4:?}") };
        assert_eq!((cluster.backends.len(), local.backends.len()), (everywhere, here));
        assert_eq!(cluster.when_empty, WhenEmpty::Refuse, "{endpoints}");
        assert_eq!(local.when_empty, when_none_here, "{endpoints}");
        assert!(Arc::ptr_eq(&cluster.endpoints, &local.endpoints));
        assert_eq!(service.service_ports().count(), 2, "one for each family");
    }
}

#[test]
fn a_service_does_not_exist_in_a_family_without_a_cluster_ip() {
    let yaml = yaml("Cluster", "Cluster", HERE).replace(", 'fd10::1'", "");
    let service = web(&cluster(&yaml), AnswersOutside::Direct);
    assert!(found(&service).keys().all(|(address, _)| address.is_ipv4()));
    assert!(service.addresses.iter().all(IpAddr::is_ipv4));
}

#[test]
fn only_what_the_outside_reaches_by_another_address_has_a_table() {
    let service = web(&cluster(&yaml("Local", "Cluster", HERE)), AnswersOutside::Direct);
    assert!(service.ports.iter().all(|port| port.has_maglev));
    let local = web(&cluster(&yaml("Local", "Cluster", HERE)), AnswersOutside::ByTheFirstNode);
    let tables: Vec<_> = local.ports.iter().map(|port| (port.name.list, port.has_maglev)).collect();
    let (with, without) = ((EndpointList::Cluster, true), (EndpointList::Local, false));
    assert_eq!(tables, [with, without, with, without]);
}

#[test]
fn the_addresses_of_nodes_are_no_services() {
    let mut cluster = cluster(&yaml("Cluster", "Cluster", HERE));
    let addresses = |cluster: &Cluster| -> Vec<String> {
        let service = web(cluster, AnswersOutside::default());
        service.addresses.iter().map(ToString::to_string).collect()
    };
    let own = ["10.96.0.1", "fd10::1", "10.240.0.2", "10.240.0.1", "fd00:240::1"];
    assert_eq!(addresses(&cluster), own);
    cluster.take_dirty();
    let node2 = ObjectName { namespace: String::new(), name: "node2".to_owned() };
    cluster.apply(Change::Removed(Kind::Node, node2));
    assert_eq!(cluster.take_dirty().services.len(), 1);
    assert_eq!(addresses(&cluster).len(), own.len() + 1);
}

#[test]
fn node_ports_follow_the_nodes_addresses() {
    let mut cluster = cluster(&yaml("Cluster", "Cluster", HERE));
    cluster.take_dirty();
    let moved = "{apiVersion: v1, kind: Node, metadata: {name: node1}, status: {addresses: [
        {type: InternalIP, address: 172.18.0.9}]}}";
    let file = read_file(Path::new("test.yaml"), moved.as_bytes(), &File::default()).unwrap();
    let Item::Valid(node) = &file.documents[0].items[0] else { panic!("{file:?}") };
    let origin = Origin { file: Path::new("test.yaml").into(), document: Some(1) };
    cluster.apply(Change::Set(node.clone(), origin));
    assert_eq!(cluster.take_dirty().services.len(), 1);
    let service = web(&cluster, AnswersOutside::default());
    let ports: Vec<SocketAddr> = found(&service)
        .into_keys()
        .map(|(address, _)| address)
        .filter(|address| address.port() == 30080)
        .collect();
    assert_eq!(ports, ["172.18.0.9:30080".parse().unwrap(); 2]);
}

/// To which list of endpoints an audience is led at an address, and as whom.
fn led(
    service: &CompiledService,
    target: &str,
    audience: Audience,
) -> Option<(EndpointList, ClientAddress)> {
    let found = found(service);
    let (port, client) = found.get(&(target.parse().unwrap(), audience))?;
    Some((port.name.list, *client))
}

#[test]
fn masquerade_all_concerns_cluster_ips_alone() {
    use Audience::{Inside, Outside};
    let options = CompileOptions { masquerade_all: true, ..CompileOptions::default() };
    for (policy, list) in [("Cluster", EndpointList::Cluster), ("Local", EndpointList::Local)] {
        let service = web_with(&cluster(&yaml(policy, "Local", HERE)), &options);
        for (target, audience) in
            [("10.96.0.1:80", Inside), ("[fd10::1]:80", Inside), ("10.96.0.1:80", Outside)]
        {
            let expected = Some((list, ClientAddress::Masqueraded));
            assert_eq!(led(&service, target, audience), expected, "{target} {audience:?}");
        }
        let kept = Some((EndpointList::Cluster, ClientAddress::Kept));
        assert_eq!(led(&service, "10.240.0.1:80", Inside), kept);
    }
}

#[test]
fn where_nobody_is_local_pods_are_as_the_outside_and_the_nodes_processes_are_not() {
    use Audience::{Inside, Node, Outside};
    use ClientAddress::{Kept, Masqueraded};
    use EndpointList::{Cluster, Local};
    let options = CompileOptions { local_traffic: LocalTraffic::Off, ..CompileOptions::default() };
    let local = web_with(&cluster(&yaml("Cluster", "Local", HERE)), &options);
    for (target, audience, expected) in [
        ("10.96.0.1:80", Inside, Some((Cluster, Kept))),
        ("10.96.0.1:80", Outside, Some((Cluster, Kept))),
        ("10.96.0.1:80", Node, None),
        ("172.18.0.1:30080", Inside, Some((Local, Kept))),
        ("172.18.0.1:30080", Outside, Some((Local, Kept))),
        ("172.18.0.1:30080", Node, Some((Cluster, Masqueraded))),
        ("[fd00:240::1]:80", Inside, Some((Local, Kept))),
        ("[fd00:240::1]:80", Node, Some((Cluster, Masqueraded))),
    ] {
        assert_eq!(led(&local, target, audience), expected, "{target} {audience:?}");
    }
    let everywhere = web_with(&cluster(&yaml("Cluster", "Cluster", HERE)), &options);
    assert_eq!(led(&everywhere, "10.240.0.1:80", Inside), Some((Cluster, Masqueraded)));
    assert_eq!(led(&everywhere, "10.240.0.1:80", Node), None);
    assert!(everywhere.ports.iter().all(|port| port.name.list == Cluster));
}

#[test]
fn node_ports_answer_on_loopback_to_the_nodes_processes_where_that_is_asked_for() {
    for policy in ["Cluster", "Local"] {
        let cluster = cluster(&yaml("Cluster", policy, HERE));
        let options = CompileOptions {
            loopback_node_ports: loopback_within(&[]),
            ..CompileOptions::default()
        };
        let service = web_with(&cluster, &options);
        for target in ["127.0.0.1:30080", "[::1]:30080"] {
            let expected = Some((EndpointList::Cluster, ClientAddress::Masqueraded));
            assert_eq!(led(&service, target, Audience::Node), expected);
            assert_eq!(led(&service, target, Audience::Inside), None);
            assert_eq!(led(&service, target, Audience::Outside), None);
        }
        let without = web(&cluster, AnswersOutside::default());
        assert!(found(&without).keys().all(|(address, _)| !address.ip().is_loopback()));
    }
}

#[test]
fn the_first_address_of_each_family_is_primary() {
    let yaml = yaml("Cluster", "Cluster", HERE).replace(
        "{type: InternalIP, address: 172.18.0.1},",
        "{type: InternalIP, address: 172.18.0.1}, {type: InternalIP, address: 172.19.0.1},",
    );
    let service = web(&cluster(&yaml), AnswersOutside::default());
    let outside = Audience::Outside;
    assert!(led(&service, "172.18.0.1:30080", outside).is_some());
    assert!(led(&service, "[fd00:172::1]:30080", outside).is_some());
    assert_eq!(led(&service, "172.19.0.1:30080", outside), None);
}

/// The frontends of a family that are restricted, each once, and the ranges that they serve.
fn restricted(ranges: &str, external: &str) -> BTreeMap<Family, (Vec<SocketAddr>, Vec<String>)> {
    let yaml = yaml("Cluster", external, HERE)
        .replace(
            "type: LoadBalancer,",
            &format!("type: LoadBalancer, loadBalancerSourceRanges: [{ranges}],"),
        )
        .replace("{ip: 10.240.0.2},", "{ip: 10.240.0.2}, {ip: 'fd00:240::2'},");
    let mut restricted: BTreeMap<Family, (Vec<SocketAddr>, Vec<String>)> = BTreeMap::new();
    for port in web(&cluster(&yaml), AnswersOutside::Direct).ports {
        let (addresses, ranges) = restricted.entry(port.name.family).or_default();
        let of_port: Vec<_> = port.frontends.iter().filter(|it| it.restricted).collect();
        assert_eq!(of_port.is_empty(), port.source_ranges.is_empty());
        assert!(of_port.iter().all(|it| it.audience != Audience::Handed));
        addresses.extend(of_port.iter().map(|it| it.address));
        addresses.dedup();
        if !of_port.is_empty() {
            *ranges = port.source_ranges.iter().map(ToString::to_string).collect();
        }
    }
    restricted
}

#[test]
fn source_ranges_concern_load_balancers_addresses_of_their_family() {
    let v4: Vec<SocketAddr> = vec!["10.240.0.2:80".parse().unwrap()];
    let v6: Vec<SocketAddr> = vec!["[fd00:240::2]:80".parse().unwrap()];
    let table: [(&str, &[&str], &[&str]); 8] = [
        ("", &[], &[]),
        ("203.0.113.0/24", &["203.0.113.0/24"], &[]),
        ("' 203.0.113.007/024 ', 10.1.0.0/16", &["10.1.0.0/16", "203.0.113.0/24"], &[]),
        ("203.0.113.0/24, 0.0.0.0/0", &[], &[]),
        ("'::/0', 203.0.113.0/24", &["203.0.113.0/24"], &[]),
        ("'fd00:9::/32'", &[], &["fd00:9::/32"]),
        // The node's own address is in a range: so may be the load balancer's.
        ("172.18.0.0/16", &["10.240.0.2/32", "172.18.0.0/16"], &[]),
        ("'fd00:172::/64'", &[], &["fd00:172::/64", "fd00:240::2/128"]),
    ];
    for (ranges, v4_ranges, v6_ranges) in table {
        for policy in ["Cluster", "Local"] {
            let found = restricted(ranges, policy);
            for (family, addresses, ranges) in
                [(Family::V4, &v4, v4_ranges), (Family::V6, &v6, v6_ranges)]
            {
                let (restricted, found) = &found[&family];
                assert_eq!(found, ranges, "{ranges:?} {policy}");
                let expected = if ranges.is_empty() { &[] } else { addresses.as_slice() };
                let restricted: std::collections::BTreeSet<_> = restricted.iter().collect();
                assert!(restricted.into_iter().eq(expected), "{ranges:?} {policy}");
            }
        }
    }
}

#[test]
fn affinity_is_that_of_every_list() {
    let yaml = yaml("Local", "Cluster", HERE)
        .replace("type: LoadBalancer,", "type: LoadBalancer, sessionAffinity: ClientIP,");
    let service = web(&cluster(&yaml), AnswersOutside::default());
    assert_eq!(service.ports.len(), 4);
    assert!(service.ports.iter().all(|port| port.affinity_seconds == Some(10_800)));
}
