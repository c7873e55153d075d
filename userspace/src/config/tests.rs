use std::{
    num::{NonZeroU16, NonZeroU32},
    time::Duration,
};

use super::*;

fn minimal() -> Settings {
    Settings {
        node_name: Some("node01".to_owned()),
        manifests: Some("/manifests".into()),
        ..Settings::default()
    }
}

fn none() -> Settings {
    Settings::default()
}

fn resolve(flags: Settings, environment: Settings, file: Settings) -> AgentConfig {
    let machine = Machine { cgroup2_root: Some(Path::new("/sys/fs/cgroup")), hostname: None };
    let layers = Layers { flags, environment, file, ..Layers::default() };
    AgentConfig::resolve(layers, machine).unwrap()
}

fn error(flags: Settings) -> String {
    let layers = Layers { flags, ..Layers::default() };
    AgentConfig::resolve(layers, Machine::default()).unwrap_err().to_string()
}

#[test]
fn what_nothing_says_is_as_the_contract_says() {
    assert_eq!(
        resolve(minimal(), none(), none()),
        AgentConfig {
            node_name: "node01".to_owned(),
            source: ObjectSource::Manifests("/manifests".into()),
            run_dir: "/run/shunt".into(),
            state_dir: "/run/shunt".into(),
            cni: CniPlaces::default(),
            bpffs: "/sys/fs/bpf/shunt".into(),
            bridge: "cni0".parse().unwrap(),
            uplinks: vec![],
            routing: Routing::Vxlan,
            vxlan_port: NonZeroU16::new(8472).unwrap(),
            pod_mtu: None,
            xdp: XdpMode::Auto,
            socket_lb: Some(SocketLb {
                whose: SocketOwners::Host,
                cgroup: "/sys/fs/cgroup".into()
            }),
            masquerade: true,
            masquerade_ports: "1024-65535".parse().unwrap(),
            non_masquerade_cidrs: vec![],
            load_balancer_mode: LoadBalancerMode::Snat,
            node_port_addresses: NodePortAddresses::Primary,
            localhost_node_ports: false,
            masquerade_all: false,
            detect_local: DetectLocal::Pods,
            service_cidrs: vec![],
            dns_zone: ClusterDomain::default(),
            dns: None,
            tc: TcChoice::Auto,
            limits: Limits::DEFAULT,
            operations: Operations {
                healthz: Some("0.0.0.0:10256".parse().unwrap()),
                metrics: Some("127.0.0.1:10249".parse().unwrap()),
                bind_failure: BindFailure::IsTriedAgain,
                health_timeout: Duration::from_mins(1),
                max_service_metrics: 1000,
            },
            log: log::LevelFilter::Info,
            effective: minimal().over(Settings::defaults()),
            warnings: vec![],
        }
    );
}

#[test]
fn flag_is_over_environment_over_file_over_default() {
    let run_dir = |value: &str| Settings { run_dir: Some(value.into()), ..none() };
    let result = |flags: Settings, environment, file| {
        resolve(flags.over(minimal()), environment, file).run_dir.display().to_string()
    };
    let (flag, environment, file) = (run_dir("/flag"), run_dir("/environment"), run_dir("/file"));
    assert_eq!(result(none(), none(), none()), "/run/shunt");
    assert_eq!(result(none(), none(), file.clone()), "/file");
    assert_eq!(result(none(), environment.clone(), none()), "/environment");
    assert_eq!(result(none(), environment.clone(), file.clone()), "/environment");
    assert_eq!(result(flag.clone(), none(), none()), "/flag");
    assert_eq!(result(flag.clone(), none(), file.clone()), "/flag");
    assert_eq!(result(flag.clone(), environment.clone(), none()), "/flag");
    assert_eq!(result(flag, environment, file), "/flag");
}

#[test]
fn every_setting_can_come_from_every_layer() {
    let text = "node-name = 'n'\nmanifests = '/m'\nrun-dir = '/r'\nbpffs = '/b'\nbridge = 'br'\n\
                uplink = 'u0,u1'\nrouting = 'direct'\nxdp = 'off'\nsocket-lb = 'all'\n\
                cgroup = '/c'\nno-masquerade = true\ntc = 'clsact'\nmax-services = 1\n\
                max-endpoints = 2\nmax-connections = 3\nlog = 'debug'\nvxlan-port = 4789\n\
                pod-mtu = 1400\nmasquerade-ports = '2000-3000'\n\
                non-masquerade-cidrs = '10.0.0.0/8,fd00::/8'\nload-balancer-mode = 'dsr'\n\
                node-port-addresses = '172.18.0.0/16'\nlocalhost-node-ports = true\n\
                masquerade-all = true\ndetect-local = 'off'\n\
                service-cidrs = '10.96.0.0/16,fd10::/64'\n\
                healthz-bind-address = '[::]:80'\nmetrics-bind-address = 'off'\n\
                bind-address-hard-fail = true\nhealth-timeout = 5\nmax-service-metrics = 0\n\
                kube-proxy-config = '/p'\n";
    let file = file::parse(Path::new("test"), text).unwrap();
    let environment = environment::read(|variable| {
        let key = variable.strip_prefix("SHUNT_").unwrap().to_lowercase().replace('_', "-");
        let value = toml::from_str::<toml::Table>(text).unwrap().get(&key)?.clone();
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned).into())
    })
    .unwrap();
    assert_eq!(environment, file);

    let config = resolve(none(), none(), file.clone());
    assert_eq!(config, resolve(file, none(), none()));
    assert_eq!(
        config.operations,
        Operations {
            healthz: Some("[::]:80".parse().unwrap()),
            metrics: None,
            bind_failure: BindFailure::EndsTheAgent,
            health_timeout: Duration::from_secs(5),
            max_service_metrics: 0,
        }
    );
    assert_eq!(config.uplinks.len(), 2);
    assert_eq!(config.routing, Routing::Direct);
    assert!(!config.masquerade);
    assert_eq!(config.vxlan_port.get(), 4789);
    assert_eq!(config.pod_mtu.unwrap().bytes(), 1400);
    assert_eq!(config.masquerade_ports, "2000-3000".parse().unwrap());
    assert_eq!(config.non_masquerade_cidrs.len(), 2);
    assert_eq!(config.load_balancer_mode, LoadBalancerMode::Dsr);
    assert!(matches!(config.node_port_addresses, NodePortAddresses::Within(_)));
    assert!(config.localhost_node_ports && config.masquerade_all);
    assert_eq!(config.detect_local, DetectLocal::Off);
    assert_eq!(config.service_cidrs.len(), 2);
    assert_eq!(config.limits, Limits { services: 1, endpoints: 2, connections: 3 });
    assert_eq!(
        config.socket_lb,
        Some(SocketLb { whose: SocketOwners::HostAndPods, cgroup: "/c".into() })
    );
}

#[test]
fn a_boolean_of_a_stronger_layer_can_be_false() {
    let no_masquerade = |value| Settings { no_masquerade: Some(value), ..none() };
    assert!(resolve(no_masquerade(false).over(minimal()), none(), no_masquerade(true)).masquerade);
}

#[test]
fn dns_is_for_clusters_without_an_api_server() {
    let upstream = || Some("10.0.0.1".parse().unwrap());
    let dns = Settings { dns: Some(true), dns_upstream: upstream(), ..none() };
    let config = resolve(dns.clone().over(minimal()), none(), none());
    assert_eq!(config.dns.unwrap().upstreams, ["10.0.0.1:53".parse().unwrap()]);
    let node = Settings { node_name: Some("a".to_owned()), in_cluster: Some(true), ..none() };
    assert!(error(dns.over(node)).starts_with("--dns and --in-cluster: "));
    let alone = Settings { dns_upstream: upstream(), ..minimal() };
    assert!(error(alone).starts_with("--dns-upstream: it takes --dns"));
}

#[test]
fn objects_come_from_one_place() {
    let from = |kubeconfig: Option<&str>, in_cluster| Settings {
        manifests: None,
        kubeconfig: kubeconfig.map(Into::into),
        in_cluster,
        ..minimal()
    };
    let source = |settings| resolve(settings, none(), none()).source;
    assert_eq!(source(minimal()), ObjectSource::Manifests("/manifests".into()));
    assert_eq!(source(from(Some("/k"), None)), ObjectSource::Kubeconfig("/k".into()));
    assert_eq!(source(from(None, Some(true))), ObjectSource::InCluster);
    assert!(error(from(None, Some(false))).starts_with("no source of objects: give --manifests"));
    let both = from(Some("/k"), Some(true));
    assert!(error(both).starts_with("--kubeconfig and --in-cluster: objects come from one"));
    let three = Settings { kubeconfig: Some("/k".into()), ..minimal() };
    assert!(error(three).starts_with("--manifests and --kubeconfig"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let missing = Settings { run_dir: None, socket_lb: Some(SocketLbScope::Off), ..minimal() };
    let nameless = Settings { node_name: None, ..missing };
    assert_eq!(
        error(nameless),
        "--node-name is missing: give the flag, key `node-name` of the config file, or \
         SHUNT_NODE_NAME"
    );
    assert!(error(minimal()).starts_with("no cgroup2 is mounted"));
    let off = Settings { socket_lb: Some(SocketLbScope::Off), ..minimal() };
    let loopback = Settings { localhost_node_ports: Some(true), ..off.clone() };
    assert!(error(loopback).contains("say --socket-lb host"));
    let limit = Settings { max_endpoints: NonZeroU32::new(u32::MAX), ..off.clone() };
    assert_eq!(error(limit), "--max-endpoints 4294967295: at most 67108864");
    for bad in ["", "-a", "a..b", "a_b", "a/b"] {
        let node_name = Settings { node_name: Some(bad.to_owned()), ..off.clone() };
        assert!(error(node_name).starts_with(&format!("--node-name `{bad}`")), "{bad}");
    }
}
