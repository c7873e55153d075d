//! The command line: what scripts rely on.

use std::time::Duration;

use serde_json::Value;
use tests::{
    one_node::{NODE, NODE_ADDRESSES, OneNode, POD_CIDRS, WEB, WEB_PORT, web},
    traffic::{
        Protocol, client,
        hammer::{Hammer, Style},
    },
    wait,
};

/// What an agent says while its Node object is missing.
const WAITING: &str = "waiting for the Node object";

fn assert_fields(what: &str, object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "{what} has no field {field}: {object:#}");
    }
}

fn named<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
}

#[test]
#[ignore = "needs root"]
fn services_are_shown_with_their_ports_endpoints_and_counts() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    for _ in 0..10 {
        stage.pod("client").run(|| client::ask_tcp(web()[0])).expect("the service works");
    }
    let services = stage.agent.get("services");
    let service = named(&services, "web");
    assert_eq!(service["namespace"], "default");
    assert_eq!(service["type"], "ClusterIP");
    assert_eq!(service["clusterIPs"], serde_json::json!(WEB));
    assert_eq!(service["sessionAffinity"], "None");
    assert_eq!(service["internalTrafficPolicy"], "Cluster");
    assert_fields(
        "a service",
        service,
        &["externalIPs", "loadBalancerIPs", "externalTrafficPolicy"],
    );
    let ports = service["ports"].as_array().expect("ports are an array");
    assert_eq!(ports.len(), 2);
    let tcp = ports.iter().find(|port| port["protocol"] == "TCP").expect("the TCP port");
    assert_eq!((&tcp["name"], &tcp["port"]), (&Value::from("http"), &Value::from(WEB_PORT)));
    assert_fields("a port", tcp, &["nodePort", "endpoints", "connections", "packets", "bytes"]);
    assert!(tcp["connections"].as_u64() >= Some(10), "{tcp:#}");
    let endpoints = tcp["endpoints"].as_array().expect("endpoints are an array");
    assert_eq!(endpoints.len(), 4, "two pods, two families: {endpoints:#?}");
    for endpoint in endpoints {
        assert_fields("an endpoint", endpoint, &["address", "serving", "terminating"]);
        assert_eq!(endpoint["port"], tests::one_node::TARGET_PORT);
        assert_eq!(
            (&endpoint["node"], &endpoint["local"]),
            (&Value::from(NODE), &Value::from(true))
        );
        assert_eq!(endpoint["ready"], true);
    }
}

#[test]
#[ignore = "needs root"]
fn pods_and_nodes_are_shown() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let pods = stage.agent.get("pods");
    let pod = named(&pods, "a");
    assert_eq!(pod["netns"], "default.a");
    assert_eq!(pod["node"], NODE);
    let in_the_pod = stage.pod("a").ip("-j link show dev eth0");
    let mac = pod["mac"].as_str().expect("a mac is text");
    assert!(in_the_pod.contains(&mac.to_lowercase()), "{mac} is not in {in_the_pod}");
    let interface = pod["hostInterface"].as_str().expect("an interface is text");
    assert!(
        stage.node.netns().ip("-o link show master cni0").contains(interface),
        "{interface} is no port of cni0"
    );
    let nodes = stage.agent.get("nodes");
    let node = named(&nodes, NODE);
    assert_eq!(node["addresses"], serde_json::json!(NODE_ADDRESSES));
    assert_eq!(node["podCIDRs"], serde_json::json!(POD_CIDRS));
    assert_fields("a node", node, &["route"]);
}

#[test]
#[ignore = "needs root"]
fn connections_are_shown_as_the_client_sees_them() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    for (protocol, target) in [(Protocol::Tcp, web()[0]), (Protocol::Udp, web()[1])] {
        let hammer = Hammer::start(&stage.pod("client"), protocol, Style::OneConversation, target);
        hammer.wait_for_answers(10);
        let client_ips: Vec<String> =
            stage.pod_ips("client").iter().map(ToString::to_string).collect();
        let name = if protocol == Protocol::Tcp { "TCP" } else { "UDP" };
        wait::until("the connection to be shown", wait::PATIENCE, || {
            let rows = stage.agent.get("connections");
            let found = rows
                .iter()
                .find(|row| row["protocol"] == name && row["destination"] == target.to_string());
            let Some(row) = found else {
                return Err(format!("{rows:#?}"));
            };
            assert_fields("a connection", row, &["state", "ageSeconds", "idleSeconds"]);
            let source = row["source"].as_str().unwrap_or_default();
            assert!(client_ips.iter().any(|ip| source.contains(ip.as_str())), "{row:#}");
            let backends = stage.pod_ips("a");
            let backend: std::net::SocketAddr =
                row["backend"].as_str().unwrap_or_default().parse().expect("a socket address");
            assert!(backends.contains(&backend.ip()), "{row:#}");
            Ok(())
        });
        hammer.stop().assert_flawless("a conversation");
    }
}

#[test]
#[ignore = "needs root"]
fn endpoints_and_drops_are_shown() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let endpoints = stage.agent.get("endpoints");
    assert!(!endpoints.is_empty());
    for endpoint in &endpoints {
        assert_fields(
            "an endpoint",
            endpoint,
            &["namespace", "service", "address", "port", "ready"],
        );
    }
    let unmapped = std::net::SocketAddr::new(web()[0].ip(), 81);
    stage.pod("client").run(|| client::ask_tcp(unmapped)).expect_err("no such port");
    let drops = stage.agent.get("drops");
    assert!(drops.iter().any(|row| row["count"].as_u64() > Some(0)), "{drops:#?}");
    for row in &drops {
        assert_fields("a drop", row, &["reason", "count"]);
        assert!(row.get("program").is_some() || row.get("interface").is_some(), "{row:#}");
    }
}

#[test]
#[ignore = "needs root"]
fn status_is_shown_with_all_its_parts() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let status = stage.agent.status();
    assert_eq!((&status["ready"], &status["node"]), (&Value::from(true), &Value::from(NODE)));
    assert_fields(
        "status",
        &status,
        &["version", "kernel", "source", "programs", "maps", "lastSync"],
    );
    assert_eq!(status["source"]["synced"], true);
    assert_fields("the source", &status["source"], &["kind", "lastChange", "errors"]);
    let programs = status["programs"].as_array().expect("programs are an array");
    assert!(programs.len() >= 2, "one for each pod at least: {programs:#?}");
    for program in programs {
        assert_fields("a program", program, &["name", "interface", "hook", "mode", "runCount"]);
    }
    for map in status["maps"].as_array().expect("maps are an array") {
        assert_fields("a map", map, &["name", "entries", "capacity", "bytes"]);
    }
    assert_fields("the last sync", &status["lastSync"], &["durationMicros", "changes", "at"]);
}

#[test]
#[ignore = "needs root"]
fn status_exits_1_while_the_node_is_missing_and_0_when_it_comes() {
    let Some(mut stage) = OneNode::prepare(|manifests| manifests.remove("node.yaml")) else {
        return;
    };
    stage.agent.start();
    let (finished, _) = wait::until("the agent to miss its node", wait::PATIENCE, || {
        match stage.agent.shunt(&["status"]) {
            finished if finished.stdout.contains(WAITING) => Ok(finished),
            finished => Err(format!("{finished:?}")),
        }
    });
    assert_eq!(finished.code, 1, "{finished:?}");
    let status = stage.agent.status();
    assert_eq!(status["ready"], false);
    assert!(status["reason"].as_str().is_some_and(|reason| reason.contains(WAITING)), "{status:#}");
    stage
        .manifests
        .write("node.yaml", &[tests::manifests::node(NODE, &POD_CIDRS, &NODE_ADDRESSES)]);
    stage.agent.wait_ready();
}

#[test]
#[ignore = "needs root"]
fn without_an_agent_a_node_is_not_ready_and_everything_else_an_error() {
    let Some(stage) = OneNode::prepare(|_| ()) else {
        return;
    };
    for (arguments, code) in [(&["status"][..], 1), (&["get", "pods"], 2)] {
        let finished = stage.agent.shunt(&[arguments, &["-o", "json"]].concat());
        assert_eq!((finished.code, finished.stdout.as_str()), (code, ""), "{finished:?}");
        assert!(finished.stderr.contains("agent"), "it says what to do: {finished:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn tables_are_for_people() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    for (kind, word) in
        [("services", "web"), ("pods", "client"), ("nodes", NODE), ("endpoints", "web")]
    {
        let finished = stage.agent.shunt(&["get", kind]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains(word), "{kind}: {finished:?}");
        assert_eq!(finished.stderr, "", "{kind}: nothing to talk about");
    }
    let finished = stage.agent.shunt(&["status"]);
    assert!(finished.code == 0 && finished.stdout.contains(NODE), "{finished:?}");
}

#[test]
#[ignore = "needs root"]
fn what_one_would_type_for_kubectl_works() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let get = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let finished = stage.agent.shunt(&[&["get"][..], &arguments].concat());
        (finished.code, finished.stdout, finished.stderr)
    };
    let fields = |text: &str, line: usize| -> Vec<String> {
        text.lines().nth(line).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    for short in ["services", "service", "svc", "svc -A", "svc web", "svc --all-namespaces web"] {
        let (code, stdout, stderr) = get(short);
        assert_eq!((code, stderr.as_str()), (0, ""), "{short}");
        let header = fields(&stdout, 0);
        let expected = ["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"];
        assert_eq!(header[..7], expected, "{short}");
        let row = fields(&stdout, 1);
        assert_eq!(row[..6], ["default", "web", "ClusterIP", WEB[0], "<none>", "80/TCP,80/UDP"]);
    }
    // One namespace is not named on each line.
    let (_, stdout, _) = get("svc -n default --no-headers");
    assert_eq!(fields(&stdout, 0)[..2], ["web", "ClusterIP"]);
    let (code, stdout, stderr) = get("svc -n elsewhere");
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(stderr, "No resources found in elsewhere namespace.\n");
    let (code, stdout, stderr) = get("po a nobody --namespace default -o name");
    assert_eq!((code, stdout.as_str()), (1, "pod/a\n"));
    assert!(stderr.contains("\"nobody\" not found"), "{stderr}");
    let (_, stdout, _) = get("ep web");
    assert_eq!(fields(&stdout, 0), ["NAMESPACE", "NAME", "ENDPOINTS", "AGE"]);
    let [a, _] = stage.pod_ips("a")[..] else { panic!("pod a is of both families") };
    assert_eq!(fields(&stdout, 1)[2], format!("{a}:8080,{a}:8080"));
    let (_, stdout, _) = get("endpoints web -o wide");
    assert_eq!(stdout.lines().count(), 5, "{stdout}");
    let (_, stdout, _) = get("no -o yaml");
    let nodes: Value = serde_yaml_ng::from_str(&stdout).expect("YAML");
    assert_eq!(nodes[0]["name"], NODE);
    let (_, stdout, _) = get("svc web -o json");
    let services: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(services.as_array().map(Vec::len), Some(1));
    let (code, _, stderr) = get("drops -n default");
    assert!(code == 2 && stderr.contains("drops have neither names nor namespaces"), "{stderr}");
    let (code, _, _) = get("svc -A -n default");
    assert_eq!(code, 2, "one or all");
}

#[test]
#[ignore = "needs root"]
fn wrong_calls_exit_2_and_helpful_ones_0() {
    let Some(stage) = OneNode::prepare(|_| ()) else {
        return;
    };
    for arguments in
        [&["get", "nonsense"][..], &["--nonsense"], &["nonsense"], &["agent", "--node-name", "x"]]
    {
        let finished = stage.agent.shunt_plain(arguments);
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {finished:?}"
        );
        assert!(!finished.stderr.is_empty());
    }
    for arguments in [&["--help"][..], &["agent", "--help"], &["get", "--help"], &["--version"]] {
        let finished = stage.agent.shunt_plain(arguments);
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (0, ""),
            "{arguments:?}: {finished:?}"
        );
        assert!(!finished.stdout.is_empty());
    }
    let finished = stage.agent.shunt_plain(&["check"]);
    assert!(
        finished.code == 0 && finished.stdout.contains("tc"),
        "this kernel has what shunt needs: {finished:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn flags_are_environment_variables_too() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let mut command = stage.node.netns().command(&tests::agent::binary().display().to_string());
    command
        .args(["status", "-o", "json"])
        .env("SHUNT_RUN_DIR", stage.node.run_dir())
        .env("SHUNT_BPFFS", stage.node.bpffs());
    let finished = tests::process::finish(&mut command, Duration::from_secs(10));
    assert_eq!(finished.code, 0, "{finished:?}");
}
