//! Settings in `deploy/` are settings of the agent, and the agent takes their values.

use std::{fs, time::Duration};

use serde_json::Value;
use tests::{
    agent::binary,
    netns::NetNamespace,
    process::{self, Finished},
    sandbox::Sandbox,
};
use userspace::config::default_config;

use crate::{object, read};

/// What the agent says of a config file with which it cannot start, as it is no pod and no node.
fn start(sandbox: &Sandbox, config: &str) -> Finished {
    let path = sandbox.root().join("config.toml");
    fs::write(&path, config).expect("writing a config file");
    let node = NetNamespace::create("node");
    let folder = |name: &str| sandbox.root().join(name).display().to_string();
    let mut command = node.command(&binary().display().to_string());
    command
        .args(["agent", "--config", &path.display().to_string()])
        .args(["--run-dir", &folder("run"), "--bpffs", &folder("bpf"), "--socket-lb", "off"])
        .args(["--state-dir", &folder("state"), "--cni-conf-dir", &folder("net.d")])
        .args(["--cni-bin-dir", &folder("bin")])
        .env("SHUNT_NODE_NAME", "node1");
    process::finish(&mut command, Duration::from_secs(20))
}

#[test]
#[ignore = "needs root"]
fn the_config_map_is_a_config_file_of_the_agents() {
    let Some(sandbox) = Sandbox::enter() else { return };
    let config = object("configmap")["data"]["config.toml"].clone();
    let finished = start(&sandbox, config.as_str().expect("a text"));
    assert_eq!(finished.code, 2);
    // It is all understood, and this is no pod.
    let expected = "--in-cluster: failed to read";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
#[ignore = "needs root"]
fn the_units_config_file_is_one_with_every_proposal_in_force() {
    let Some(sandbox) = Sandbox::enter() else { return };
    let text = read("systemd/config.toml");
    let proposals = text.lines().filter_map(|line| line.strip_prefix('#'));
    let proposals = proposals.filter(|line| {
        line.split_once(" = ").is_some_and(|(key, _)| {
            key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
    });
    let (manifests, others): (Vec<&str>, Vec<&str>) =
        proposals.partition(|line| line.starts_with("manifests "));
    assert_eq!(manifests.len(), 1);
    assert!(others.len() >= 2, "{others:?}");
    let config = format!("{text}\n{}\n", others.join("\n"));
    let finished = start(&sandbox, &config);
    assert_eq!(finished.code, 2);
    let expected = "--kubeconfig /etc/shunt/kubeconfig: ";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn variables_of_the_daemon_set_are_settings() {
    let daemons = object("daemonset");
    let variables = daemons["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let names = variables.as_array().expect("a list").iter().filter_map(|it| it["name"].as_str());
    let ours: Vec<&str> = names.filter(|name| name.starts_with("SHUNT_")).collect();
    assert!(!ours.is_empty());
    for name in ours {
        assert!(default_config().contains(&format!(", {name}\n")), "{name}");
    }
}

#[test]
fn commands_in_manifests_and_in_the_unit_are_shunts() {
    let unit = read("systemd/shunt.service");
    let started = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    assert_eq!(started, Some("shunt agent --config /etc/shunt/config.toml"));
    let daemons = object("daemonset");
    let command: Vec<&str> =
        words(&daemons["spec"]["template"]["spec"]["containers"][0]["command"]);
    assert_eq!(command.join(" "), "shunt agent --config /etc/shunt/config.toml");
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}
