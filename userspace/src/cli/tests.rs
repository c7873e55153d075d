use std::{collections::BTreeSet, path::PathBuf};

use clap::ValueEnum as _;
use clap_complete::Shell;
use insta::assert_snapshot;

use super::{check, definition, generate, get, status};
use crate::{
    api::view::*,
    loader::probe::{Capabilities, Feature, Missing, Need, TcMode},
};

const VERBS: [&str; 7] = ["agent", "status", "get", "check", "cleanup", "completions", "man"];

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
        session_affinity: "None".to_owned(),
        session_affinity_timeout_seconds: None,
        load_balancer_source_ranges: vec![],
        internal_traffic_policy: "Cluster".to_owned(),
        external_traffic_policy: "Cluster".to_owned(),
        health_check_node_port: None,
        ports: vec![port.clone(), ServicePortView { protocol: "UDP".to_owned(), ..port }],
    }
}

#[test]
fn services_are_printed_in_columns() {
    assert_snapshot!(get::services(&[service("web", None), service("api-server", Some(30080))]), @r"
    NAMESPACE   NAME         TYPE        CLUSTER-IP                EXTERNAL-IP   PORT(S)                     ENDPOINTS   CONNECTIONS   PACKETS   BYTES
    default     web          ClusterIP   10.96.45.123,fd00:10::1   <none>        80/TCP,80/UDP               1/2         10            100       10000
    default     api-server   NodePort    10.96.45.123,fd00:10::1   <none>        80:30080/TCP,80:30080/UDP   1/2         10            100       10000
    ");
}

#[test]
fn endpoints_are_printed_in_columns() {
    let view = |port_name: &str, endpoint| ServiceEndpointView {
        namespace: "default".to_owned(),
        service: "web".to_owned(),
        port_name: port_name.to_owned(),
        protocol: "TCP".to_owned(),
        endpoint,
    };
    assert_snapshot!(get::endpoints(&[view("", endpoint(2, true)), view("http", endpoint(3, false))]), @r"
    NAMESPACE   SERVICE   PORT     PROTOCOL   ADDRESS            NODE     LOCAL   READY   SERVING   TERMINATING
    default     web       <none>   TCP        192.168.0.2:8080   node01   yes     yes     yes       no
    default     web       http     TCP        192.168.0.3:8080   <none>   no      no      yes       yes
    ");
}

#[test]
fn pods_and_nodes_are_printed_in_columns() {
    let pod = PodView {
        namespace: "default".to_owned(),
        name: "web-1".to_owned(),
        node: Some("node01".to_owned()),
        pod_ips: vec![[192, 168, 0, 2].into()],
        netns: Some("default.web-1".to_owned()),
        host_interface: Some("veth1".to_owned()),
        mac: Some("02:00:00:00:00:01".to_owned()),
        host_ports: Vec::new(),
    };
    let elsewhere = PodView { netns: None, host_interface: None, mac: None, ..pod.clone() };
    assert_snapshot!(get::pods(&[pod, elsewhere]), @r"
    NAMESPACE   NAME    NODE     IP            NETNS           INTERFACE   MAC
    default     web-1   node01   192.168.0.2   default.web-1   veth1       02:00:00:00:00:01
    default     web-1   node01   192.168.0.2   <none>          <none>      <none>
    ");
    let node = NodeView {
        name: "node01".to_owned(),
        addresses: vec![[172, 30, 2, 2].into()],
        pod_cidrs: vec!["192.168.1.0/24".to_owned(), "fd10:1::/64".to_owned()],
        route: "local".to_owned(),
    };
    assert_snapshot!(get::nodes(&[node]), @r"
    NAME     ADDRESSES    POD-CIDRS                    ROUTE
    node01   172.30.2.2   192.168.1.0/24,fd10:1::/64   local
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
    assert_snapshot!(get::connections(&[connection]), @r"
    PROTOCOL   SOURCE              DESTINATION       BACKEND            STATE         AGE   IDLE
    TCP        192.168.0.2:41000   10.96.45.123:80   192.168.0.3:8080   established   65s   1s
    ");
    let drop = DropView {
        reason: "no-endpoints".to_owned(),
        program: "tc_pod_ingress".to_owned(),
        interface: None,
        count: 12,
    };
    assert_snapshot!(get::drops(&[drop]), @r"
    REASON         PROGRAM          INTERFACE   COUNT
    no-endpoints   tc_pod_ingress   <none>      12
    ");
}

#[test]
fn an_empty_listing_is_its_header() {
    assert_eq!(get::drops(&[]), "REASON   PROGRAM   INTERFACE   COUNT\n");
}

#[test]
fn status_says_what_is_wrong_in_full() {
    let view = StatusView {
        ready: false,
        reason: Some("node `node01` is not among the objects".to_owned()),
        node: "node01".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.18.0".to_owned(),
        source: SourceView {
            kind: "manifests".to_owned(),
            synced: true,
            last_change: Some("2026-01-02T03:04:05Z".to_owned()),
            errors: vec![
                ErrorView {
                    file: Some(PathBuf::from("/m/web.yaml")),
                    document: Some(2),
                    kind: Some("Service".to_owned()),
                    namespace: Some("default".to_owned()),
                    name: Some("web".to_owned()),
                    field: Some("spec.ports[0].port".to_owned()),
                    message: "70000 is no port: use 1 to 65535".to_owned(),
                },
                ErrorView { message: "pod CIDR is full".to_owned(), ..ErrorView::default() },
            ],
        },
        service_cidrs: vec!["10.96.0.0/16".to_owned()],
        programs: vec![ProgramView {
            name: "tc_pod_ingress".to_owned(),
            interface: "veth1".to_owned(),
            hook: "tc ingress".to_owned(),
            mode: "tcx".to_owned(),
            run_count: 0,
        }],
        maps: vec![MapView {
            name: "CONNECTIONS_V4".to_owned(),
            entries: 2,
            capacity: 1 << 20,
            bytes: 4096,
        }],
        last_sync: Some(SyncView {
            duration_micros: 250,
            changes: 7,
            at: "2026-01-02T03:04:05Z".to_owned(),
        }),
    };
    assert_snapshot!(status::table(&view), @r"
    Ready:      no: node `node01` is not among the objects
    Node:       node01
    Version:    0.1.0
    Kernel:     6.18.0
    Services:   addresses from 10.96.0.0/16
    Source:     manifests, all read, last change 2026-01-02T03:04:05Z
    Last sync:  2026-01-02T03:04:05Z, 7 changes in 250 µs

    Errors:
      /m/web.yaml (document 2): Service default/web: spec.ports[0].port: 70000 is no port: use 1 to 65535
      pod CIDR is full

    PROGRAM          INTERFACE   HOOK         MODE   RUNS
    tc_pod_ingress   veth1       tc ingress   tcx    0

    MAP              ENTRIES   CAPACITY   BYTES
    CONNECTIONS_V4   2         1048576    4096
    ");
}

#[test]
fn check_names_what_is_missing() {
    let feature = Feature {
        name: "tcx",
        present: true,
        need: Need::Optional,
        used_for: "attaching TC programs",
        remedy: "",
    };
    let absent = Feature { name: "veth", present: false, need: Need::Required, ..feature.clone() };
    let capabilities = Capabilities {
        kernel: "6.18.0".to_owned(),
        tc_mode: TcMode::Tcx,
        cgroup2: None,
        features: vec![feature, absent],
        missing: vec![Missing {
            what: "veth".to_owned(),
            need: Need::Required,
            why_needed: "the pods' interfaces".to_owned(),
            remedy: "modprobe veth".to_owned(),
        }],
    };
    assert_snapshot!(check::table(&capabilities), @r"
    FEATURE   PRESENT   NEED       USED FOR
    tcx       yes       optional   attaching TC programs
    veth      no        required   attaching TC programs

    Kernel:  6.18.0
    TC:      tcx
    Cgroup:  none

    Missing: veth: needed for the pods' interfaces: modprobe veth
    ");
}

#[test]
fn every_command_has_help_a_man_page_and_completions() {
    let command = definition::command();
    let names: BTreeSet<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(names, BTreeSet::from(VERBS));
    let pages = generate::pages().unwrap();
    for verb in VERBS {
        assert!(command.find_subcommand(verb).unwrap().get_about().is_some(), "{verb}");
        let (_, page) = pages.iter().find(|(name, _)| *name == format!("shunt-{verb}")).unwrap();
        assert!(page.contains(&format!("shunt\\-{verb}")) && page.contains(".SH SYNOPSIS"));
    }
    assert_eq!(pages.len(), VERBS.len() + 1);
    for shell in Shell::value_variants() {
        let text = generate::completions_text(*shell).unwrap();
        for verb in VERBS {
            assert!(text.contains(verb), "{shell}: {verb}");
        }
        assert!(text.contains("connections") && text.contains("max-connections"), "{shell}");
    }
}
