//! What a node answers to those who watch it: load balancers, the kubelet, Prometheus, systemd.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    agent::Agent,
    manifests,
    one_node::{NODE, NODE_ADDRESSES, OneNode, POD_CIDRS, web},
    traffic::{
        Protocol, client,
        page::{Page, page},
    },
    wait,
};

const HEALTH: u16 = 10256;
const METRICS: u16 = 10249;
/// Longer than a busy kernel takes to look at all programs.
const PROGRAMS_LOADED: Duration = Duration::from_mins(1);

/// Asks from the node itself.
fn try_ask(stage: &OneNode, port: u16, path: &str) -> io::Result<Page> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    stage.node.netns().run(|| page(target, path))
}

fn ask(stage: &OneNode, port: u16, path: &str) -> Page {
    try_ask(stage, port, path).unwrap_or_else(|error| panic!("port {port}, {path}: {error}"))
}

fn metric(stage: &OneNode, name: &str) -> f64 {
    let page = ask(stage, METRICS, "/metrics");
    page.metric(name).unwrap_or_else(|| panic!("no {name} in {}", page.body))
}

/// Waits until both health pages have these statuses; returns the body of the first one.
fn wait_for_health(stage: &OneNode, healthz: u16, livez: u16) -> Value {
    let expected = [healthz, livez];
    let (body, _) = wait::until(&format!("health {expected:?}"), PROGRAMS_LOADED, || {
        let ask = |path| try_ask(stage, HEALTH, path).map_err(|error| error.to_string());
        let pages = [ask("/healthz")?, ask("/livez")?];
        if pages.each_ref().map(|page| page.status) == expected {
            Ok(serde_json::from_str(&pages[0].body).expect("the body is JSON"))
        } else {
            Err(format!("{pages:?}"))
        }
    });
    body
}

/// A stage whose agent is started with more arguments, and not waited for.
fn started_with(arguments: &[&str]) -> Option<OneNode> {
    let mut stage = OneNode::prepare(|_| {})?;
    let manifests = stage.manifests.path().display().to_string();
    stage.agent = Agent::of_source(&stage.node, ["--manifests", &manifests], arguments);
    Some(stage)
}

#[test]
#[ignore = "needs root"]
fn a_load_balancer_sees_whether_the_node_stays() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let node = || manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES);
    let write = |node: Value| stage.manifests.write("node.yaml", &[node]);
    let body = wait_for_health(&stage, 200, 200);
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(true), &json!(true)));
    assert_eq!(body["lastUpdated"], body["currentTime"]);
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, HEALTH));
    let answer = stage.node.netns().run(|| page(v6, "/healthz")).expect("IPv6 is answered too");
    assert_eq!(answer.status, 200);

    let mut tainted = node();
    tainted["spec"]["taints"] =
        json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule", "value": "1"}]);
    write(tainted);
    let body = wait_for_health(&stage, 503, 200);
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(false), &json!(true)));
    write(node());
    wait_for_health(&stage, 200, 200);

    let mut deleted = node();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    write(deleted);
    wait_for_health(&stage, 503, 200);
    stage.manifests.remove("node.yaml");
    wait_for_health(&stage, 503, 200);
    write(node());
    wait_for_health(&stage, 200, 200);

    let healthz = |code| format!("kubeproxy_proxy_healthz_total{{code=\"{code}\"}}");
    assert!(metric(&stage, &healthz(200)) >= 4.0 && metric(&stage, &healthz(503)) >= 3.0);
    assert!(metric(&stage, "kubeproxy_proxy_livez_total{code=\"503\"}") < 1.0);
}

#[test]
#[ignore = "needs root"]
fn changes_that_cannot_be_put_in_force_are_unhealthy_after_a_while() {
    let Some(mut stage) = started_with(&["--health-timeout", "2"]) else { return };
    // What has the bridge's name is no bridge.
    stage.node.netns().ip("link add cni0 type veth peer name other");
    stage.agent.start();
    let begun = Instant::now();
    wait_for_health(&stage, 200, 200);
    let body = wait_for_health(&stage, 503, 503);
    assert!(begun.elapsed() > Duration::from_secs(1), "an agent that starts is healthy");
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&json!(true), &json!(false)));
    assert_eq!(body["status"]["IPv4"]["healthy"], false);
    assert!(metric(&stage, "shunt_sync_failures_total") >= 1.0);
    assert!(metric(&stage, "shunt_ready") < 1.0);
    stage.node.netns().ip("link delete cni0");
    wait_for_health(&stage, 200, 200);
    stage.agent.wait_ready();
    assert!(metric(&stage, "shunt_ready") > 0.0);
}

#[test]
#[ignore = "needs root"]
fn prometheus_is_told_what_went_through_the_datapath() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let _servers = stage.serve(&["a"]);
    let pod = stage.pod("client");
    let port = |what: &str| {
        format!(
            "shunt_service_{what}_total{{namespace=\"default\",service=\"web\",port=\"http\",\
             protocol=\"TCP\"}}"
        )
    };
    assert!(metric(&stage, &port("connections")) < 1.0);
    for _ in 0..3 {
        for target in web() {
            pod.run(|| client::ask(Protocol::Tcp, target)).expect("the service answers");
        }
    }
    assert!((metric(&stage, &port("connections")) - 6.0).abs() < 0.5);
    assert!(metric(&stage, &port("packets")) >= 6.0 * 6.0);
    assert!(metric(&stage, &port("bytes")) >= 6.0 * 6.0 * 54.0);

    let refused = |stage: &OneNode| {
        let page = ask(stage, METRICS, "/metrics");
        let drops = page.body.lines().filter(|line| line.starts_with("shunt_drops_total{"));
        let of_pods = drops.filter(|line| line.contains("program=\"tc_pod_ingress\""));
        of_pods.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before = refused(&stage);
    let [web_v4, _] = web();
    pod.run(|| client::ask(Protocol::Tcp, SocketAddr::new(web_v4.ip(), 81)))
        .expect_err("no such port");
    assert!((refused(&stage) - before - 1.0).abs() < 0.5);

    for (name, least) in [
        ("shunt_ready", 1.0),
        ("shunt_source_synced", 1.0),
        ("shunt_services", 1.0),
        ("shunt_endpoints", 4.0),
        ("shunt_pods", 2.0),
        ("shunt_nodes", 1.0),
        ("shunt_map_changes_total", 10.0),
        ("shunt_map_entries{map=\"FRONTENDS_V4\"}", 2.0),
        ("shunt_map_capacity{map=\"CONNECTIONS_V4\"}", 1000.0),
        ("kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}", 1.0),
        ("kubeproxy_sync_proxy_rules_service_changes_total", 1.0),
        ("kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"}", 1e9),
        ("kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv6\"}", 1.0),
        ("process_resident_memory_bytes", 1e6),
    ] {
        assert!(metric(&stage, name) >= least, "{name}");
    }
    assert!(metric(&stage, "shunt_service_metrics_left_out") < 1.0);
    let entries = "shunt_map_entries{map=\"CONNECTIONS_V4\"}";
    wait::until("the connections are counted", wait::PATIENCE, || {
        let counted = metric(&stage, entries);
        if counted >= 6.0 { Ok(()) } else { Err(format!("{counted}")) }
    });
}

#[test]
#[ignore = "needs root"]
fn slices_are_measured_and_local_policies_without_endpoints_counted() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let ports = [("http", "TCP", 80, 8080)];
    let service = manifests::service("far", &["10.96.1.20"], &ports);
    let service = manifests::with_local_internal_policy(service);
    let mut slice =
        manifests::slice("far-1", "far", "other", &["10.244.9.9"], &[("http", "TCP", 8080)]);
    slice["metadata"]["annotations"] = json!({
        "endpoints.kubernetes.io/last-change-trigger-time": later(Duration::from_secs(2)),
    });
    stage.manifests.write("far.yaml", &[service, slice]);
    let count = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    wait::until("the slice is measured", wait::PATIENCE, || {
        let counted = metric(&stage, count);
        if (counted - 1.0).abs() < 0.5 { Ok(()) } else { Err(format!("{counted}")) }
    });
    let without = |policy: &str, family: &str| {
        let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
        let name = format!("{name}{{traffic_policy=\"{policy}\",ip_family=\"{family}\"}}");
        metric(&stage, &name)
    };
    assert!((without("internal", "IPv4") - 1.0).abs() < 0.5);
    assert!(without("external", "IPv4") < 0.5 && without("internal", "IPv6") < 0.5);
}

/// A time to come, as Kubernetes writes it.
fn later(by: Duration) -> String {
    let seconds = by.as_secs();
    let mut date = tests::process::mortal_command("date");
    date.args(["--utc", &format!("--date=+{seconds} seconds"), "+%Y-%m-%dT%H:%M:%SZ"]);
    tests::process::must(&mut date).trim().to_owned()
}

#[test]
#[ignore = "needs root"]
fn the_mode_and_the_settings_are_shown_and_a_limit_leaves_service_ports_out() {
    let Some(mut stage) =
        OneNode::prepare(|manifests| tests::one_node::write_web(manifests, &["a"]))
    else {
        return;
    };
    let manifests = stage.manifests.path().display().to_string();
    let arguments = ["--max-service-metrics", "1", "--healthz-bind-address", "off"];
    stage.agent = Agent::of_source(&stage.node, ["--manifests", &manifests], &arguments);
    stage.agent.start();
    stage.agent.wait_ready();
    let mode = ask(&stage, METRICS, "/proxyMode");
    let text = "text/plain; charset=utf-8";
    assert_eq!((mode.body.as_str(), mode.content_type.as_str()), ("shunt", text));
    assert_eq!(ask(&stage, METRICS, "/healthz").body, "ok");
    let settings: Value =
        serde_json::from_str(&ask(&stage, METRICS, "/configz").body).expect("it is JSON");
    assert_eq!(settings["shunt.dev/agent"]["max-service-metrics"], 1);
    assert_eq!(settings["shunt.dev/agent"]["node-name"], NODE);
    assert!((metric(&stage, "shunt_service_metrics_left_out") - 2.0).abs() < 0.5);
    assert!(!ask(&stage, METRICS, "/metrics").body.contains("shunt_service_bytes_total{"));
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, HEALTH));
    stage.node.netns().run(|| page(health, "/healthz")).expect_err("it is off");
}

#[test]
#[ignore = "needs root"]
fn an_address_that_is_taken_is_an_error_until_it_is_free() {
    let Some(mut stage) = started_with(&[]) else { return };
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, METRICS)).expect("listening");
    let in_the_way = stage.node.netns().run(listen);
    stage.agent.start();
    stage.agent.wait_ready();
    wait_for_health(&stage, 200, 200);
    let errors = stage.agent.source_errors();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(error["file"], "--metrics-bind-address");
    let message = error["message"].as_str().expect("errors say something");
    assert!(message.contains("127.0.0.1:10249") && message.contains("in use"), "{message}");
    drop(in_the_way);
    wait::until("the address is taken up", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        if errors.is_empty() { Ok(()) } else { Err(format!("{errors:?}")) }
    });
    assert_eq!(ask(&stage, METRICS, "/healthz").status, 200);
}

#[test]
#[ignore = "needs root"]
fn an_address_that_is_taken_ends_an_agent_that_is_told_so() {
    let Some(mut stage) = started_with(&["--bind-address-hard-fail"]) else { return };
    let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, HEALTH)).expect("listening");
    let _in_the_way = stage.node.netns().run(listen);
    stage.agent.start();
    assert_eq!(stage.agent.wait_ended(), 2);
    let log = stage.agent.log();
    assert!(log.contains("--healthz-bind-address 0.0.0.0:10256: Address already in use"), "{log}");
}

/// What the agent says to systemd within some time, until something is said.
fn heard(manager: &UnixDatagram, until: &str) -> Vec<String> {
    let begun = Instant::now();
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while begun.elapsed() < PROGRAMS_LOADED {
        if let Ok(length) = manager.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            said.extend(text.lines().map(str::to_owned));
        }
        if said.iter().any(|line| line.starts_with(until)) {
            return said;
        }
    }
    panic!("the agent does not say {until}: {said:?}")
}

#[test]
#[ignore = "needs root"]
fn systemd_is_told_of_readiness_and_life_and_the_end() {
    let Some(mut stage) = started_with(&[]) else { return };
    let path = stage.sandbox.root().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket for notices");
    manager.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    stage.agent.set_variable("NOTIFY_SOCKET", &path.display().to_string());
    stage.agent.set_variable("WATCHDOG_USEC", "2000000");
    stage.manifests.remove("node.yaml");
    stage.agent.start();
    let said = heard(&manager, "STATUS=not ready: waiting for the Node object of this node");
    assert!(!said.iter().any(|line| line == "READY=1"), "{said:?}");
    let node = manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES);
    stage.manifests.write("node.yaml", &[node]);
    heard(&manager, "READY=1");
    heard(&manager, "STATUS=ready: 0 services, 0 pods");
    let begun = Instant::now();
    for _ in 0..3 {
        heard(&manager, "WATCHDOG=1");
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "signs of life are late");
    let (code, _) = stage.agent.sigterm();
    assert_eq!(code, 0);
    let said = heard(&manager, "STOPPING=1");
    assert_eq!(said.iter().filter(|line| *line == "READY=1").count(), 0, "{said:?}");
}

#[test]
#[ignore = "needs root"]
fn other_pod_cidrs_are_taken_up_and_pods_that_come_have_addresses_of_them() {
    let Some(stage) = OneNode::with_web(&["a"]) else { return };
    let _servers = stage.serve(&["a"]);
    let others = ["10.244.7.0/24", "fd00:10:244:7::/64"];
    stage.manifests.write("node.yaml", &[manifests::node(NODE, &others, &NODE_ADDRESSES)]);
    stage.manifests.write("b.yaml", &[manifests::pod("b", NODE, "web", &[])]);
    let (addresses, _) = wait::until("addresses of pod b", PROGRAMS_LOADED, || {
        let pods = stage.agent.get("pods");
        let addresses = pods.iter().find(|pod| pod["name"] == "b").map(|pod| &pod["podIPs"]);
        match addresses.and_then(Value::as_array) {
            Some(addresses) if addresses.len() == 2 => Ok(addresses.clone()),
            _ => Err(format!("{pods:?}")),
        }
    });
    let of_others = ["10.244.7.", "fd00:10:244:7:"];
    for (address, start) in addresses.iter().zip(of_others) {
        assert!(
            address.as_str().is_some_and(|address| address.starts_with(start)),
            "{addresses:?}"
        );
    }
    let _server = stage.serve(&["b"]);
    // What was there keeps its addresses, and is served until it is made anew.
    let pod = stage.pod("client");
    let begun = Instant::now();
    let mut answers = BTreeSet::new();
    while answers.len() < 2 && begun.elapsed() < wait::PATIENCE {
        let [web_v4, _] = web();
        if let Ok(answer) = pod.run(|| client::ask(Protocol::Tcp, web_v4)) {
            answers.insert(answer.server);
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    wait_for_health(&stage, 200, 200);
}
