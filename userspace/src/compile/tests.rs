//! Tables of services and what they compile to.

use std::{path::Path, sync::Arc};

use super::*;
use crate::{
    cluster::model::{EndpointSlice, Hints, Object, SliceEndpoint},
    source::{
        Change, Origin,
        manifests::{
            documents::{File, Item, read_file},
            folder::{Folder, Reading},
        },
    },
};

fn origin() -> Origin {
    Origin { file: Path::new("test.yaml").into(), document: Some(1) }
}

fn cluster(yaml: &str) -> Cluster {
    let mut cluster = Cluster::new("node1");
    let file = read_file(Path::new("test.yaml"), yaml.as_bytes(), &File::default()).unwrap();
    for item in file.documents.into_iter().flat_map(|document| document.items) {
        match item {
            Item::Valid(object) => cluster.apply(Change::Set(object, origin())),
            other => panic!("{other:?}"),
        }
    }
    cluster
}

fn compiled(cluster: &Cluster, namespace: &str, name: &str) -> Option<CompiledService> {
    let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
    compile(cluster, "node1", &CompileOptions::default(), &name)
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// Its audience (`i`nside, `o`utside, `h`anded, `n`ode) and what becomes of the client's address (`-` kept,
/// `m`asqueraded, `d`irect), and its address.
fn short(frontend: &CompiledFrontend) -> String {
    let audience = match frontend.audience {
        Audience::Inside => 'i',
        Audience::Outside => 'o',
        Audience::Handed => 'h',
        Audience::Node => 'n',
    };
    let client = match frontend.client {
        ClientAddress::Kept => '-',
        ClientAddress::Masqueraded => 'm',
        ClientAddress::Direct => 'd',
    };
    format!("{audience}{client}{}", frontend.address)
}

const WEB: &str = "
{apiVersion: v1, kind: Node, metadata: {name: node1, labels: {topology.kubernetes.io/zone: z1}}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1,
  internalTrafficPolicy: POLICY, ports: [{port: 80}]}}
";

/// One endpoint: conditions (`r`eady, `s`erving, `t`erminating), node, hints.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

fn with_endpoints(policy: &str, rows: &[Row]) -> CompiledPort {
    let mut cluster = cluster(&WEB.replace("POLICY", policy));
    let endpoints =
        rows.iter().zip(1_u8..).map(|((conditions, node, zones, nodes), number)| SliceEndpoint {
            address: IpAddr::from([10, 244, 0, number]),
            node: (!node.is_empty()).then(|| std::sync::Arc::from(*node)),
            hostname: None,
            conditions: Conditions {
                ready: conditions.contains('r'),
                serving: conditions.contains('s'),
                terminating: conditions.contains('t'),
            },
            hints: Some(Box::new(Hints {
                for_zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
                for_nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            })),
        });
    let slice = EndpointSlice {
        name: ObjectName { namespace: "default".to_owned(), name: "web-1".to_owned() },
        created: None,
        service: Some("web".to_owned()),
        headless: false,
        family: Some(Family::V4),
        ports: vec![crate::cluster::model::EndpointPort {
            name: String::new(),
            protocol: Protocol::TCP,
            port: 8080,
        }],
        endpoints: endpoints.collect(),
        last_change_trigger: None,
    };
    cluster.apply(Change::Set(Object::EndpointSlice(Arc::new(slice)), origin()));
    compiled(&cluster, "default", "web").unwrap().ports.remove(0)
}

#[test]
fn endpoints_are_chosen_as_kubernetes_chooses_them() {
    use WhenEmpty::{Drop, Refuse};
    let table: &[(&str, &[Row], &[u8], WhenEmpty)] = &[
        ("Cluster", &[], &[], Refuse),
        ("Local", &[], &[], Refuse),
        ("Cluster", &[("rs", "node1", &[], &[]), ("rs", "", &[], &[])], &[1, 2], Refuse),
        ("Local", &[("rs", "node1", &[], &[]), ("rs", "", &[], &[])], &[1], Drop),
        ("Local", &[("rs", "node2", &[], &[])], &[], Drop),
        ("Local", &[("s", "node1", &[], &[])], &[], Refuse),
        ("Local", &[("t", "node1", &[], &[])], &[], Refuse),
        // Not ready ones never serve; terminating ones only where no other does.
        ("Cluster", &[("s", "node1", &[], &[]), ("rs", "node2", &[], &[])], &[2], Refuse),
        ("Cluster", &[("st", "node1", &[], &[]), ("rs", "node2", &[], &[])], &[2], Refuse),
        ("Cluster", &[("st", "node1", &[], &[]), ("t", "node2", &[], &[])], &[1], Refuse),
        ("Local", &[("st", "node1", &[], &[]), ("rs", "node2", &[], &[])], &[1], Drop),
        ("Local", &[("st", "node1", &[], &[]), ("rs", "node1", &[], &[])], &[2], Drop),
        ("Local", &[("st", "node2", &[], &[])], &[], Drop),
        // Ready and terminating, as publishNotReadyAddresses makes them, is ready.
        ("Cluster", &[("rst", "node1", &[], &[]), ("rs", "node2", &[], &[])], &[1, 2], Refuse),
        // Hints for this zone, where every ready endpoint has some.
        (
            "Cluster",
            &[
                ("rs", "a", &["z1"], &[]),
                ("rs", "b", &["z2"], &[]),
                ("rs", "c", &["z2", "z1"], &[]),
            ],
            &[1, 3],
            Refuse,
        ),
        ("Cluster", &[("rs", "a", &["z1"], &[]), ("rs", "b", &[], &[])], &[1, 2], Refuse),
        ("Cluster", &[("rs", "a", &["z2"], &[]), ("rs", "b", &["z3"], &[])], &[1, 2], Refuse),
        ("Cluster", &[("rs", "a", &["z1"], &[]), ("s", "b", &[], &[])], &[1], Refuse),
        // Node hints come before zone hints.
        (
            "Cluster",
            &[("rs", "a", &["z1"], &["node1"]), ("rs", "b", &["z1"], &["node2"])],
            &[1],
            Refuse,
        ),
        (
            "Cluster",
            &[("rs", "a", &["z1"], &["node3"]), ("rs", "b", &["z2"], &["node2"])],
            &[1],
            Refuse,
        ),
        (
            "Cluster",
            &[("rs", "a", &["z1"], &["node1"]), ("rs", "b", &["z1"], &[])],
            &[1, 2],
            Refuse,
        ),
        // Hints are nothing to the local list, nor to terminating endpoints.
        ("Local", &[("rs", "node1", &["z2"], &[]), ("rs", "b", &["z1"], &[])], &[1], Drop),
        ("Cluster", &[("st", "a", &["z2"], &[]), ("st", "b", &["z1"], &[])], &[1, 2], Refuse),
    ];
    for (policy, rows, chosen, when_empty) in table {
        let port = with_endpoints(policy, rows);
        let expected: Vec<String> =
            chosen.iter().map(|number| format!("10.244.0.{number}:8080")).collect();
        assert_eq!(texts(&port.backends), expected, "{policy} {rows:?}");
        assert_eq!(port.when_empty, *when_empty, "{policy} {rows:?}");
        assert_eq!(port.endpoints.len(), rows.len());
    }
}

const PODS: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1, clusterIPs:
  [10.96.0.1, 'fd10::1'], selector: {app: web}, ports: [{name: a, port: 80, targetPort: http},
  {name: b, port: 81, targetPort: 9000, protocol: UDP}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p1, labels: {app: web, x: y}}, spec: {nodeName: node1,
  containers: [{ports: [{name: http, containerPort: 8080}]}]},
  status: {podIPs: [{ip: 10.244.0.1}, {ip: 'fd00::1'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p2, labels: {app: web}}, spec: {nodeName: node2,
  containers: [{ports: [{name: http, containerPort: 8081}]}]},
  status: {podIP: 10.244.0.2, conditions: [{type: Ready, status: 'True'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: unready, labels: {app: web}},
  status: {podIP: 10.244.0.3, conditions: [{type: Ready, status: 'False'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, labels: {app: web}},
  status: {podIP: 10.244.0.1, phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other, labels: {app: other}},
  status: {podIP: 10.244.0.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: elsewhere, namespace: x, labels: {app: web}},
  status: {podIP: 10.244.0.6}}
---
{apiVersion: v1, kind: Node, metadata: {name: node3}, status: {addresses: [
  {type: InternalIP, address: 172.18.0.3}, {type: InternalIP, address: 172.18.0.33}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, labels: {app: web}},
  spec: {nodeName: node3, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: new, labels: {app: web}}, spec: {nodeName: node1}}
";

#[test]
fn endpoints_come_from_pods_where_there_is_no_slice() {
    let mut cluster = cluster(PODS);
    cluster.take_dirty();
    let name = ObjectName { namespace: "default".to_owned(), name: "new".to_owned() };
    cluster.assign_addresses(&name, vec![IpAddr::from([10, 244, 0, 77])]);
    assert_eq!(cluster.take_dirty().services.len(), 1);
    let service = compiled(&cluster, "default", "web").unwrap();
    assert_eq!(service.addresses.len(), 2);
    let backends: Vec<_> = service.ports.iter().map(|port| texts(&port.backends)).collect();
    assert_eq!(
        backends,
        [
            vec!["10.244.0.1:8080", "10.244.0.2:8081"],
            vec!["[fd00::1]:8080"],
            vec!["10.244.0.1:9000", "10.244.0.2:9000", "10.244.0.77:9000", "172.18.0.3:9000"],
            vec!["[fd00::1]:9000"],
        ]
    );
    assert_eq!(service.ports[1].frontends[0].address.to_string(), "[fd10::1]:80");
    assert!(service.ports[0].endpoints[0].local && !service.ports[0].endpoints[1].local);

    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
        metadata: {name: s, labels: {kubernetes.io/service-name: web}}}";
    let file = read_file(Path::new("x.yaml"), slice.as_bytes(), &File::default()).unwrap();
    let Item::Valid(slice) = &file.documents[0].items[0] else { panic!("{file:?}") };
    cluster.apply(Change::Set(slice.clone(), origin()));
    let service = compiled(&cluster, "default", "web").unwrap();
    assert!(service.ports.iter().all(|port| port.endpoints.is_empty()));
}

#[test]
fn slices_are_joined_by_port_name_and_protocol() {
    let yaml = "
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1,
  ports: [{name: a, port: 80}, {name: b, port: 80, protocol: SCTP}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: s1, labels: {kubernetes.io/service-name: web}},
  ports: [{name: a, port: 1000}, {name: b, port: 2000}], endpoints: [
  {addresses: [10.244.0.1], conditions: {ready: false, terminating: true}},
  {addresses: [10.244.0.2], conditions: {ready: true}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: s2, labels: {kubernetes.io/service-name: web}},
  ports: [{name: a, port: 1000}], endpoints: [{addresses: [10.244.0.1]},
  {addresses: [10.244.0.2], conditions: {ready: false, terminating: true}}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: s3, labels: {kubernetes.io/service-name: web}},
  ports: [{name: a, port: 1001}, {name: b, port: 3000, protocol: SCTP}],
  endpoints: [{addresses: [10.244.0.1]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
  metadata: {name: s4, labels: {kubernetes.io/service-name: web,
  service.kubernetes.io/headless: ''}},
  ports: [{name: a, port: 1002}], endpoints: [{addresses: [10.244.0.9]}]}
";
    let service = compiled(&cluster(yaml), "default", "web").unwrap();
    assert_eq!(
        texts(&service.ports[0].backends),
        ["10.244.0.1:1000", "10.244.0.1:1001", "10.244.0.2:1000"]
    );
    assert_eq!(texts(&service.ports[1].backends), ["10.244.0.1:3000"]);
}

#[test]
fn a_real_cluster_is_read_and_compiled_for_node1() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/real-cluster");
    let readings = ["nodes", "pods", "services", "endpointslices"].map(|name| {
        let path = folder.join(name).with_extension("yaml");
        let bytes = std::fs::read(&path).unwrap();
        (Arc::from(path), Reading::Content(bytes))
    });
    let batch = Folder::default().update(readings);
    assert_eq!(batch.errors, []);
    let mut cluster = Cluster::new("node1");
    for change in batch.changes {
        cluster.apply(change);
    }
    assert_eq!(cluster.conflicts(), []);
    let counts = (cluster.nodes().count(), cluster.pods().count(), cluster.services().count());
    assert_eq!(counts, (3, 11, 11));
    let mut lines = Vec::new();
    for service in cluster.services() {
        let Some(compiled) = compile(&cluster, "node1", &CompileOptions::default(), &service.name)
        else {
            lines.push(format!("{} is not proxied", service.name));
            continue;
        };
        for port in compiled.ports {
            lines.push(format!(
                "{} {} {} -> {:?}: {} {:?}",
                service.name,
                port.name.port,
                port.frontends.iter().map(short).collect::<Vec<_>>().join(" "),
                port.name.list,
                texts(&port.backends).join(" "),
                port.when_empty
            ));
        }
    }
    insta::assert_snapshot!(lines.join("\n"), @r"
    default/kubernetes https i-10.96.0.1:443 om10.96.0.1:443 -> Cluster: 172.18.0.11:6443 Refuse
    default/nginx-service http i-10.96.187.105:80 om10.96.187.105:80 -> Cluster: 10.244.0.3:80 10.244.1.2:80 10.244.2.2:80 Refuse
    default/nginx-service http i-[fd00:10:96::996f]:80 om[fd00:10:96::996f]:80 -> Cluster: [fd00:10:244::3]:80 [fd00:10:244:1::2]:80 [fd00:10:244:2::2]:80 Refuse
    kube-system/kube-dns dns i-10.96.0.10:53 om10.96.0.10:53 -> Cluster: 10.244.0.2:53 Refuse
    kube-system/kube-dns dns-tcp i-10.96.0.10:53 om10.96.0.10:53 -> Cluster: 10.244.0.2:53 Refuse
    kube-system/kube-dns metrics i-10.96.0.10:9153 om10.96.0.10:9153 -> Cluster: 10.244.0.2:9153 Refuse
    kube-system/node-probe metrics i-10.96.251.235:9100 om10.96.251.235:9100 -> Local: 172.18.0.11:9100 Drop
    shop/cart grpc i-10.96.1.234:7070 om10.96.1.234:7070 -> Cluster: 10.244.1.3:7070 10.244.2.3:7070 Refuse
    shop/cart metrics i-10.96.1.234:8125 om10.96.1.234:8125 -> Cluster: 10.244.1.3:7071 10.244.2.3:7071 Refuse
    shop/cart-headless is not proxied
    shop/frontend-external http i-10.96.41.239:80 om10.96.41.239:80 i-10.240.8.8:80 i-172.18.0.11:32130 -> Cluster: 10.244.0.4:8080 10.244.1.4:8080 Refuse
    shop/frontend-external http o-10.240.8.8:80 o-172.18.0.11:32130 -> Local: 10.244.0.4:8080 Drop
    shop/frontend-external http i-[fd00:10:96::52ac]:80 om[fd00:10:96::52ac]:80 i-[fd00:172:18::11]:32130 i-[fd10:240::8]:80 -> Cluster: [fd00:10:244::4]:8080 [fd00:10:244:1::4]:8080 Refuse
    shop/frontend-external http o-[fd00:172:18::11]:32130 o-[fd10:240::8]:80 -> Local: [fd00:10:244::4]:8080 Drop
    shop/frontend-nodeport http i-10.96.72.182:80 om10.96.72.182:80 im10.240.1.1:80 om10.240.1.1:80 im172.18.0.11:30080 om172.18.0.11:30080 -> Cluster: 10.244.0.4:8080 10.244.1.4:8080 Refuse
    shop/legacy-db pg i-10.96.197.142:5432 om10.96.197.142:5432 -> Cluster: 172.18.0.1:5432 Refuse
    shop/no-endpoints  i-10.96.244.52:9999 om10.96.244.52:9999 -> Cluster:  Refuse
    shop/payments is not proxied
    ");
}
