//! What becomes of KubeProxyConfigurations.

use super::*;
use crate::config::{
    AgentConfig, Layers, Machine, ObjectSource,
    values::{DetectLocal, NodePortAddresses},
};

/// What `kubectl -n kube-system get configmap kube-proxy -o yaml` shows after `kubeadm init` with a
/// pod network.
const KUBEADM: &str = include_str!("kubeadm.yaml");

fn read(text: &str) -> Result<KubeProxySettings, String> {
    parse(Path::new("config.conf"), text).map_err(|error| error.to_string())
}

/// Of a configuration with these fields.
fn of(fields: &str) -> Result<KubeProxySettings, String> {
    read(&format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{fields}"
    ))
}

fn settings(fields: &str) -> Settings {
    of(fields).unwrap().settings
}

fn warnings(fields: &str) -> Vec<String> {
    of(fields).unwrap().warnings
}

#[test]
fn kubeadms_configuration_is_taken_over_without_a_warning() {
    let kube_proxy = read(KUBEADM).unwrap();
    assert_eq!(kube_proxy.warnings, [] as [&str; 0]);
    let layers = Layers { kube_proxy, ..Layers::default() };
    let machine = Machine { cgroup2_root: Some(Path::new("/c")), hostname: Some("Node1\n") };
    let config = AgentConfig::resolve(layers, machine).unwrap();
    assert_eq!(config.node_name, "node1");
    let kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf";
    assert_eq!(config.source, ObjectSource::Kubeconfig(kubeconfig.into()));
    assert_eq!(config.operations.healthz, Some("0.0.0.0:10256".parse().unwrap()));
    assert_eq!(config.operations.metrics, Some("127.0.0.1:10249".parse().unwrap()));
    assert_eq!(config.operations.health_timeout.as_secs(), 60);
    assert_eq!(config.detect_local, DetectLocal::Pods);
    // As in the mode iptables, which is kube-proxy's default.
    let all = "0.0.0.0/0,::/0".parse().unwrap();
    assert_eq!(config.node_port_addresses, all);
    assert!(config.localhost_node_ports && !config.masquerade_all);
    assert_eq!(config.warnings, [] as [&str; 0]);
}

#[test]
fn what_has_a_setting_is_mapped() {
    let all = settings(
        "mode: nftables\nhostnameOverride: Node7\nbindAddress: '::'\nbindAddressHardFail: true\n\
         healthzBindAddress: 10.0.0.1\nnftables: {masqueradeAll: true, syncPeriod: 45s}\n\
         iptables: {syncPeriod: 5s}\ndetectLocalMode: BridgeInterface\n",
    );
    assert_eq!(all.node_name.as_deref(), Some("Node7"));
    assert_eq!(all.in_cluster, Some(true));
    assert_eq!(all.healthz_bind_address.unwrap().to_string(), "10.0.0.1:10256");
    assert_eq!(all.metrics_bind_address.unwrap().to_string(), "[::1]:10249");
    assert_eq!(all.bind_address_hard_fail, Some(true));
    assert_eq!(all.masquerade_all, Some(true));
    assert_eq!(all.health_timeout.unwrap().get(), 90);
    assert_eq!(all.node_port_addresses, Some(NodePortAddresses::Primary));
    assert_eq!(all.localhost_node_ports, None);
    assert_eq!(all.detect_local, Some(DetectLocal::Pods));

    assert_eq!(settings("").detect_local, Some(DetectLocal::Off));
    let iptables = settings("iptables: {localhostNodePorts: false, masqueradeAll: true}");
    assert_eq!(iptables.localhost_node_ports, Some(false));
    assert_eq!(iptables.masquerade_all, Some(true));
    let addresses = |list: &str| settings(&format!("nodePortAddresses: [{list}]"));
    let within = |list: &str| addresses(list).node_port_addresses.unwrap().to_string();
    assert_eq!(within("primary"), "primary");
    assert_eq!(within("172.18.0.0/16, 'fd10::/16'"), "172.18.0.0/16,fd10::/16");
    assert_eq!(within("localhost, 10.0.0.0/8"), "127.0.0.0/8,::1/128,10.0.0.0/8");
    let port = settings("healthzBindAddress: '[fd10::1]:99'\nmetricsBindAddress: '[::]'");
    assert_eq!(port.healthz_bind_address.unwrap().to_string(), "[fd10::1]:99");
    assert_eq!(port.metrics_bind_address.unwrap().to_string(), "[::]:10249");
}

#[test]
fn each_field_that_has_no_setting_is_named_once_unless_it_says_the_default() {
    let defaults = "conntrack: {maxPerCore: 32768, tcpEstablishedTimeout: 24h0m0s, min: 131072}\n\
                    configSyncPeriod: 15m0s\noomScoreAdj: -999\nclientConnection: {qps: 5, burst: 10}\n";
    assert_eq!(warnings(defaults), [] as [&str; 0]);
    let said = warnings(
        "conntrack: {udpTimeout: 10s, maxPerCore: 0}\nipvs: {scheduler: rr, strictARP: true}\n\
         featureGates: {A: true}\nbindAddress: 10.0.0.1\nnodePortAddresses: [primary, 10.0.0.0/8]\n",
    );
    let starts = [
        "conntrack.udpTimeout: 10s is not carried over: shunt has its own connection table",
        "featureGates: {\"A\":true} is not carried over: ",
        "ipvs.scheduler: rr is not carried over: ",
        "ipvs.strictARP: true is not carried over: ",
        "bindAddress: 10.0.0.1 is not carried over: ",
        "nodePortAddresses: [primary, 10.0.0.0/8] is not carried over: ",
    ];
    assert_eq!(said.len(), starts.len(), "{said:#?}");
    for (warning, start) in said.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    let unknown = warnings("iptable: {masqueradeAll: true}");
    assert!(unknown[0].starts_with("iptable.masqueradeAll is no field of a KubeProxyConf"));
    assert!(unknown[0].ends_with("did you mean iptables.masqueradeAll?"), "{unknown:?}");
}

#[test]
fn what_is_no_configuration_is_refused_with_what_is_wrong() {
    for (text, says) in [
        ("kind: Config\napiVersion: v1", "kind \"Config\": it must be a KubeProxyConfiguration"),
        ("kind: ConfigMap\napiVersion: v1\ndata: {}", "has no data[config.conf]"),
        (
            "kind: ConfigMap\napiVersion: v1\ndata: {config.conf: 'a: 1'}",
            "data[config.conf]: it is",
        ),
        ("[", "--kube-proxy-config config.conf: "),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    for (fields, says) in [
        ("mode: userspace", "mode: userspace is no mode of kube-proxy"),
        ("bindAddressHardFail: maybe", "bindAddressHardFail: maybe is neither true nor false"),
        ("healthzBindAddress: localhost:1", "healthzBindAddress: localhost:1 is no IP address"),
        ("nodePortAddresses: [10.0.0.1/8]", "nodePortAddresses: `10.0.0.1/8` has host bits"),
        ("nodePortAddresses: 10.0.0.0/8", "nodePortAddresses: 10.0.0.0/8 is no list of texts"),
        ("iptables: {syncPeriod: often}", "iptables.syncPeriod: often is no duration"),
        ("detectLocalMode: Guess", "detectLocalMode: Guess is no such mode"),
        ("hostnameOverride: 7", "hostnameOverride: 7 is no text"),
    ] {
        let error = of(fields).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn all_other_settings_are_stronger_and_name_where_objects_come_from() {
    let kube_proxy = read(KUBEADM).unwrap();
    let file = Settings {
        manifests: Some("/m".into()),
        socket_lb: Some(SocketLbScope::Off),
        node_name: Some("other".to_owned()),
        ..Settings::default()
    };
    let layers = Layers { file, kube_proxy, ..Layers::default() };
    let config = AgentConfig::resolve(layers, Machine::default()).unwrap();
    assert_eq!(config.source, ObjectSource::Manifests("/m".into()));
    assert_eq!(config.node_name, "other");
    assert!(!config.localhost_node_ports);
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    let start = "--kube-proxy-config config.conf: iptables.localhostNodePorts has no effect";
    assert!(warning.starts_with(start), "{warning}");
}
