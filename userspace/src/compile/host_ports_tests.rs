use std::{collections::BTreeSet, path::Path};

use maps_schema::address::Protocol;

use super::*;
use crate::{
    cluster::AttachedPod,
    source::{
        Change, Origin,
        manifests::documents::{File, Item, read_file},
    },
};

fn name() -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: "p".to_owned() }
}

/// What the host ports of pod `p` are compiled to; each frontend and its backend as text.
fn compiled(spec: &str, ports: &str, ips: &str) -> Vec<String> {
    let yaml = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec}, containers: [{{name: \
         x, ports: [{ports}]}}]}}, status: {{podIPs: [{ips}]}}}}"
    );
    let path = Path::new("test.yaml");
    let file = read_file(path, yaml.as_bytes(), &File::default()).unwrap();
    let Item::Valid(object) = file.documents[0].items[0].clone() else { panic!("{yaml}") };
    let mut cluster = cluster();
    let origin = Origin { file: path.into(), document: Some(1) };
    cluster.apply(Change::Set(object, origin));
    told(&cluster)
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new("node1");
    let own = ["172.18.0.1", "10.244.1.1", "fd00:172::1"].map(|it| it.parse().unwrap());
    cluster.set_own_addresses(&BTreeSet::from(own));
    cluster
}

fn told(cluster: &Cluster) -> Vec<String> {
    let Some(compiled) = compile_host_ports(cluster, &name()) else { return Vec::new() };
    assert!(compiled.addresses.is_empty(), "the node's addresses are its own");
    let names: BTreeSet<_> = compiled.ports.iter().map(|port| &port.name).collect();
    assert_eq!(names.len(), compiled.ports.len(), "each has a name of its own");
    let mut told = Vec::new();
    for port in &compiled.ports {
        let [backend] = port.backends[..] else { panic!("{port:?}") };
        assert_eq!(port.endpoints[0].address, backend);
        assert!(port.frontends.is_sorted());
        for CompiledFrontend { address, audience, client, restricted } in &port.frontends {
            assert_eq!((*client, *restricted), (ClientAddress::Kept, false));
            told.push(format!("{address} {audience:?} {backend}"));
        }
    }
    told.sort();
    told
}

const HERE: &str = "nodeName: node1";
const V4: &str = "{ip: 10.244.1.5}";
const BOTH: &str = "{ip: 10.244.1.5}, {ip: 'fd00:244::5'}";

#[test]
fn a_host_port_without_an_address_is_at_all_of_the_nodes() {
    let v4 = [
        "10.244.1.1:8080 Inside 10.244.1.5:80",
        "10.244.1.1:8080 Outside 10.244.1.5:80",
        "127.0.0.1:8080 Node 10.244.1.5:80",
        "172.18.0.1:8080 Inside 10.244.1.5:80",
        "172.18.0.1:8080 Outside 10.244.1.5:80",
    ];
    let v6 = [
        "[::1]:8080 Node [fd00:244::5]:80",
        "[fd00:172::1]:8080 Inside [fd00:244::5]:80",
        "[fd00:172::1]:8080 Outside [fd00:244::5]:80",
    ];
    let port = "{containerPort: 80, hostPort: 8080}";
    assert_eq!(compiled(HERE, port, V4), v4);
    assert_eq!(compiled(HERE, port, BOTH), [&v4[..], &v6].concat());
    // As portmap has it, an unspecified address is all of its family.
    let of = |any: &str| format!("{{containerPort: 80, hostPort: 8080, hostIP: '{any}'}}");
    assert_eq!(compiled(HERE, &of("0.0.0.0"), BOTH), v4);
    assert_eq!(compiled(HERE, &of("::"), BOTH), v6);
}

#[test]
fn a_host_port_with_an_address_is_there_only() {
    let at = |address: &str| {
        let port = format!("{{containerPort: 80, hostPort: 81, hostIP: '{address}'}}");
        compiled(HERE, &port, BOTH)
    };
    let at_the_node = ["172.18.0.1:81 Inside 10.244.1.5:80", "172.18.0.1:81 Outside 10.244.1.5:80"];
    assert_eq!(at("172.18.0.1"), at_the_node);
    assert_eq!(at("127.0.0.2"), ["127.0.0.2:81 Node 10.244.1.5:80"]);
    assert_eq!(at("::1"), ["[::1]:81 Node [fd00:244::5]:80"]);
    assert_eq!(at("172.18.0.2"), Vec::<String>::new(), "it is another node's");
}

#[test]
fn one_port_of_several_addresses_and_protocols_leads_to_several_ports_of_a_pod() {
    let ports = "{containerPort: 80, hostPort: 81, hostIP: 172.18.0.1},
        {containerPort: 90, hostPort: 81, hostIP: 10.244.1.1},
        {containerPort: 90, hostPort: 81, hostIP: 10.244.1.1, protocol: UDP}";
    assert_eq!(
        compiled(HERE, ports, V4),
        [
            "10.244.1.1:81 Inside 10.244.1.5:90",
            "10.244.1.1:81 Inside 10.244.1.5:90",
            "10.244.1.1:81 Outside 10.244.1.5:90",
            "10.244.1.1:81 Outside 10.244.1.5:90",
            "172.18.0.1:81 Inside 10.244.1.5:80",
            "172.18.0.1:81 Outside 10.244.1.5:80",
        ]
    );
}

#[test]
fn where_a_pod_means_one_address_twice_its_first_host_port_has_it() {
    let ports = "{containerPort: 80, hostPort: 81, hostIP: 172.18.0.1},
        {containerPort: 90, hostPort: 81}";
    assert_eq!(
        compiled(HERE, ports, V4),
        [
            "10.244.1.1:81 Inside 10.244.1.5:90",
            "10.244.1.1:81 Outside 10.244.1.5:90",
            "127.0.0.1:81 Node 10.244.1.5:90",
            "172.18.0.1:81 Inside 10.244.1.5:80",
            "172.18.0.1:81 Outside 10.244.1.5:80",
        ]
    );
}

#[test]
fn only_pods_of_this_node_with_a_network_of_their_own_have_host_ports() {
    let port = "{containerPort: 80, hostPort: 80}";
    for spec in ["nodeName: node2", "nodeName: node1, hostNetwork: true", "schedulerName: x"] {
        assert_eq!(compiled(spec, port, V4), Vec::<String>::new(), "{spec}");
    }
    assert_eq!(compiled(HERE, port, ""), Vec::<String>::new(), "it has no address yet");
}

#[test]
fn an_attached_pod_needs_no_object() {
    let mut cluster = cluster();
    let port = HostPort {
        host_ip: Some([172, 18, 0, 1].into()),
        host_port: 53,
        container_port: 5353,
        protocol: Protocol::UDP,
    };
    let attached = AttachedPod {
        addresses: vec![[10, 244, 1, 9].into()],
        host_ports: vec![port],
        created: None,
        origin: Origin { file: Path::new("runtime").into(), document: None },
    };
    cluster.attach_pod(&name(), attached.clone());
    assert_eq!(cluster.take_dirty().host_ports, BTreeSet::from([name()]));
    assert_eq!(
        told(&cluster),
        ["172.18.0.1:53 Inside 10.244.1.9:5353", "172.18.0.1:53 Outside 10.244.1.9:5353"]
    );
    cluster.detach_pod(&name(), &[[10, 244, 1, 8].into()]);
    assert_eq!(told(&cluster).len(), 2, "another one has its name by now");
    cluster.detach_pod(&name(), &attached.addresses);
    assert_eq!(cluster.take_dirty().host_ports, BTreeSet::from([name()]));
    assert_eq!(compile_host_ports(&cluster, &name()), None);
}
