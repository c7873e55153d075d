//! What is printed is what `kubectl get` prints of the same objects, and what only shunt knows
//! behind it: `pkg/printers/internalversion/printers.go` of Kubernetes 1.32.

use insta::assert_snapshot;

use super::*;
use crate::api::view::{EndpointView, HostPortView, ServicePortView};

fn endpoint(last: u8, ready: bool) -> EndpointView {
    EndpointView {
        address: [192, 168, 0, last].into(),
        port: 8080,
        node: ready.then(|| "node01".to_owned()),
        local: ready,
        ready,
        serving: true,
        terminating: !ready,
    }
}

fn service(name: &str, node_port: Option<u16>) -> ServiceView {
    let port = ServicePortView {
        name: "http".to_owned(),
        protocol: "TCP".to_owned(),
        port: 80,
        node_port,
        endpoints: vec![endpoint(2, true), endpoint(3, false)],
        connections: 5,
        packets: 50,
        bytes: 5000,
    };
    ServiceView {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        r#type: if node_port.is_some() { "NodePort" } else { "ClusterIP" }.to_owned(),
        cluster_ips: vec![[10, 96, 45, 123].into(), "fd00:10::1".parse().unwrap()],
        external_ips: vec![],
        load_balancer_ips: vec![],
        load_balancer_ingress: vec![],
        external_name: None,
        creation_timestamp: Some("2026-01-01T00:00:00Z".to_owned()),
        selector: [("app".to_owned(), name.to_owned())].into(),
        served: true,
        session_affinity: "None".to_owned(),
        session_affinity_timeout_seconds: None,
        load_balancer_source_ranges: vec![],
        internal_traffic_policy: "Cluster".to_owned(),
        external_traffic_policy: "Cluster".to_owned(),
        health_check_node_port: None,
        ports: vec![port.clone(), ServicePortView { protocol: "UDP".to_owned(), ..port }],
    }
}

fn style() -> Style {
    let now = "2026-01-01T02:00:05Z".parse().unwrap();
    Style { wide: false, namespaces: true, headers: true, now }
}

fn wide() -> Style {
    Style { wide: true, ..style() }
}

#[test]
fn services_are_printed_in_columns() {
    let views = [service("web", None), service("api-server", Some(30080))];
    assert_snapshot!(services(&views, &style()), @r"
    NAMESPACE   NAME         TYPE        CLUSTER-IP     EXTERNAL-IP   PORT(S)                     AGE    ENDPOINTS   CONNECTIONS   PACKETS   BYTES
    default     web          ClusterIP   10.96.45.123   <none>        80/TCP,80/UDP               120m   1/2         10            100       10000
    default     api-server   NodePort    10.96.45.123   <none>        80:30080/TCP,80:30080/UDP   120m   1/2         10            100       10000
    ");
    assert_snapshot!(services(&views, &wide()), @r"
    NAMESPACE   NAME         TYPE        CLUSTER-IP     EXTERNAL-IP   PORT(S)                     AGE    SELECTOR         ENDPOINTS   CONNECTIONS   PACKETS   BYTES   CLUSTER-IPS
    default     web          ClusterIP   10.96.45.123   <none>        80/TCP,80/UDP               120m   app=web          1/2         10            100       10000   10.96.45.123,fd00:10::1
    default     api-server   NodePort    10.96.45.123   <none>        80:30080/TCP,80:30080/UDP   120m   app=api-server   1/2         10            100       10000   10.96.45.123,fd00:10::1
    ");
}

#[test]
fn the_column_of_external_addresses_is_kubectls() {
    let balanced = |ingress: &[&str]| ServiceView {
        r#type: "LoadBalancer".to_owned(),
        load_balancer_ingress: ingress.iter().map(ToString::to_string).collect(),
        ..service("lb", Some(30080))
    };
    let with_external = |view| ServiceView { external_ips: vec![[10, 1, 1, 1].into()], ..view };
    let no_addresses = ServiceView { cluster_ips: vec![], ..service("x", None) };
    let external_name = Some("example.com".to_owned());
    let name = ServiceView {
        r#type: "ExternalName".to_owned(),
        external_name,
        ports: vec![],
        ..no_addresses.clone()
    };
    let views = [
        with_external(service("external", None)),
        balanced(&[]),
        balanced(&["10.240.0.9"]),
        with_external(balanced(&["10.240.0.9"])),
        balanced(&["10.240.0.100", "10.240.0.101"]),
        balanced(&["host.example"]),
        no_addresses,
        name,
    ];
    let text = services(&views, &style());
    let end = text.find("PORT(S)").unwrap();
    let cut = |line: &str| line[..end].trim_end().to_owned() + "\n";
    let columns: String = text.lines().map(cut).collect();
    assert_snapshot!(columns, @r"
    NAMESPACE   NAME       TYPE           CLUSTER-IP     EXTERNAL-IP
    default     external   ClusterIP      10.96.45.123   10.1.1.1
    default     lb         LoadBalancer   10.96.45.123   <pending>
    default     lb         LoadBalancer   10.96.45.123   10.240.0.9
    default     lb         LoadBalancer   10.96.45.123   10.240.0.9,10.1.1.1
    default     lb         LoadBalancer   10.96.45.123   10.240.0.100,10.240.0.101
    default     lb         LoadBalancer   10.96.45.123   host.example
    default     x          ClusterIP      None           <none>
    default     x          ExternalName   <none>         example.com
    ");
}

#[test]
fn endpoints_are_printed_in_one_line_or_in_one_each() {
    let mut many = service("many", None);
    many.ports.truncate(1);
    many.ports[0].name = String::new();
    many.ports[0].endpoints = (2..7).map(|last| endpoint(last, true)).collect();
    let mut none = service("none", None);
    none.ports.truncate(1);
    none.ports[0].endpoints = vec![endpoint(3, false)];
    let views = [many.clone(), none, service("web", None)];
    assert_snapshot!(endpoints(&views, &style()), @r"
    NAMESPACE   NAME   ENDPOINTS                                                        AGE
    default     many   192.168.0.2:8080,192.168.0.3:8080,192.168.0.4:8080 + 2 more...   120m
    default     none   <none>                                                           120m
    default     web    192.168.0.2:8080,192.168.0.2:8080                                120m
    ");
    assert_snapshot!(endpoints(&views[1..], &wide()), @r"
    NAMESPACE   NAME   ENDPOINTS          AGE    PORT   PROTOCOL   NODE     LOCAL   READY   SERVING   TERMINATING
    default     none   192.168.0.3:8080   120m   http   TCP        <none>   no      no      yes       yes
    default     web    192.168.0.2:8080   120m   http   TCP        node01   yes     yes     yes       no
    default     web    192.168.0.3:8080   120m   http   TCP        <none>   no      no      yes       yes
    default     web    192.168.0.2:8080   120m   http   UDP        node01   yes     yes     yes       no
    default     web    192.168.0.3:8080   120m   http   UDP        <none>   no      no      yes       yes
    ");
    // Those of the Service's first family are an Endpoints object; the others are not.
    many.cluster_ips.reverse();
    assert_snapshot!(endpoints(&[many], &style()), @r"
    NAMESPACE   NAME   ENDPOINTS   AGE
    default     many   <none>      120m
    ");
}

#[test]
fn pods_and_nodes_are_printed_in_columns() {
    let port = |host_ip: Option<[u8; 4]>, served| HostPortView {
        host_ip: host_ip.map(Into::into),
        host_port: 8080,
        container_port: 80,
        protocol: "TCP".to_owned(),
        served,
        connections: 0,
        packets: 0,
        bytes: 0,
    };
    let pod = PodView {
        namespace: "default".to_owned(),
        name: "web-1".to_owned(),
        creation_timestamp: Some("2026-01-01T01:00:00Z".to_owned()),
        node: Some("node01".to_owned()),
        pod_ips: vec![[192, 168, 0, 2].into(), "fd00::2".parse().unwrap()],
        container_id: None,
        netns: Some("default.web-1".to_owned()),
        host_interface: Some("veth1".to_owned()),
        mac: Some("02:00:00:00:00:01".to_owned()),
        host_ports: vec![port(None, true), port(Some([127, 0, 0, 1]), true), port(None, false)],
    };
    let elsewhere = PodView {
        netns: None,
        host_interface: None,
        mac: None,
        host_ports: vec![],
        creation_timestamp: None,
        pod_ips: vec![],
        ..pod.clone()
    };
    assert_snapshot!(pods(&[pod.clone(), elsewhere], &style()), @r"
    NAMESPACE   NAME    AGE         IP            NODE     NETNS           INTERFACE   MAC                 HOST-PORT(S)
    default     web-1   60m         192.168.0.2   node01   default.web-1   veth1       02:00:00:00:00:01   8080:80/TCP,127.0.0.1:8080:80/TCP
    default     web-1   <unknown>   <none>        node01   <none>          <none>      <none>              <none>
    ");
    assert_snapshot!(pods(&[pod], &Style { namespaces: false, headers: false, ..wide() }), @"web-1   60m   192.168.0.2   node01   default.web-1   veth1   02:00:00:00:00:01   8080:80/TCP,127.0.0.1:8080:80/TCP   192.168.0.2,fd00::2");
    let node = NodeView {
        name: "node01".to_owned(),
        creation_timestamp: Some("2025-12-01T00:00:00Z".to_owned()),
        addresses: vec![[172, 30, 2, 2].into(), "fd00::2".parse().unwrap()],
        pod_cidrs: vec!["192.168.1.0/24".to_owned(), "fd10:1::/64".to_owned()],
        route: "local".to_owned(),
    };
    assert_snapshot!(nodes(std::slice::from_ref(&node), &style()), @r"
    NAME     AGE   INTERNAL-IP   POD-CIDRS                    ROUTE
    node01   31d   172.30.2.2    192.168.1.0/24,fd10:1::/64   local
    ");
    assert_snapshot!(nodes(&[node], &wide()), @r"
    NAME     AGE   INTERNAL-IP   POD-CIDRS                    ROUTE   ADDRESSES
    node01   31d   172.30.2.2    192.168.1.0/24,fd10:1::/64   local   172.30.2.2,fd00::2
    ");
}

#[test]
fn connections_and_drops_are_printed_in_columns() {
    let connection = ConnectionView {
        protocol: "TCP".to_owned(),
        source: "192.168.0.2:41000".to_owned(),
        destination: "10.96.45.123:80".to_owned(),
        backend: "192.168.0.3:8080".to_owned(),
        state: "established".to_owned(),
        age_seconds: 65,
        idle_seconds: 1,
    };
    assert_snapshot!(connections(&[connection], &style()), @r"
    PROTOCOL   SOURCE              DESTINATION       BACKEND            STATE         AGE   IDLE
    TCP        192.168.0.2:41000   10.96.45.123:80   192.168.0.3:8080   established   65s   1s
    ");
    let drop = DropView {
        reason: "no-endpoints".to_owned(),
        program: "tc_pod_ingress".to_owned(),
        interface: None,
        count: 12,
    };
    assert_snapshot!(drops(&[drop], &style()), @r"
    REASON         PROGRAM          INTERFACE   COUNT
    no-endpoints   tc_pod_ingress   <none>      12
    ");
    assert_eq!(drops(&[], &style()), "REASON   PROGRAM   INTERFACE   COUNT\n");
}
