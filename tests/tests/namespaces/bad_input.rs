//! Each mistake is named, in the log and in `shunt status`; everything else is served.

use std::path::Path;

use serde_json::{Value, json};
use tests::{
    agent::Agent,
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{NODE, OneNode, POD_CIDRS, WEB, WEB_PORT, web},
    traffic::client,
    wait,
};

/// What an error has to name.
struct Named<'a> {
    file: &'a str,
    document: Option<u64>,
    kind: Option<&'a str>,
    name: Option<&'a str>,
    /// What the path of the field contains.
    field: Option<&'a str>,
    /// What the message contains: the value.
    message: &'a str,
}

impl Named<'_> {
    fn is(&self, error: &Value) -> bool {
        let text = |field: &str| error[field].as_str();
        let file =
            text("file").and_then(|file| Path::new(file).file_name().map(|name| name == self.file));
        file == Some(true)
            && (self.document.is_none() || error["document"].as_u64() == self.document)
            && text("kind") == self.kind
            && text("name") == self.name
            && text("namespace") == self.name.map(|_| "default")
            && self.field.is_none_or(|field| text("field").is_some_and(|path| path.contains(field)))
            && text("message").is_some_and(|message| message.contains(self.message))
    }

    /// Waits until `shunt status` and the log name it.
    fn wait_for(&self, agent: &Agent) {
        wait::until(&format!("an error about {}", self.file), wait::PATIENCE, || {
            let errors = agent.source_errors();
            if errors.iter().any(|error| self.is(error)) {
                Ok(())
            } else {
                Err(format!("{errors:#?}"))
            }
        });
        let word = self.name.unwrap_or(self.file);
        let log = agent.log();
        assert!(
            log.lines().any(|line| line.contains(word) && line.contains(self.file)),
            "the log does not name {word} in {}",
            self.file
        );
    }
}

fn wait_for_no_errors(agent: &Agent) {
    wait::until("the errors to clear", wait::PATIENCE, || {
        let errors = agent.source_errors();
        if errors.is_empty() { Ok(()) } else { Err(format!("{errors:#?}")) }
    });
}

fn assert_web_is_served(stage: &OneNode) {
    for target in web() {
        let answer = stage.pod("client").run(|| client::ask_tcp(target));
        assert_eq!(answer.expect("everything else is served").server, "a", "{target}");
    }
}

/// Writes a bad file beside a good service, expects the error, then writes the good file and
/// expects it to clear.
fn mistake_is_named_and_mended(named: &Named<'_>, bad: &str, good: &str) {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    assert_eq!(stage.agent.source_errors(), Vec::<Value>::new());
    stage.manifests.write_text(named.file, bad);
    named.wait_for(&stage.agent);
    assert_web_is_served(&stage);
    assert!(stage.agent.get("services").iter().any(|service| service["name"] == "web"));
    stage.manifests.write_text(named.file, good);
    wait_for_no_errors(&stage.agent);
    assert_web_is_served(&stage);
}

fn yaml(objects: &[Value]) -> String {
    let texts: Vec<String> =
        objects.iter().map(|object| serde_yaml_ng::to_string(object).unwrap()).collect();
    texts.join("---\n")
}

#[test]
#[ignore = "needs root"]
fn a_broken_file() {
    let named = Named {
        file: "broken.yaml",
        document: None,
        kind: None,
        name: None,
        field: None,
        message: "",
    };
    let good = yaml(&[manifests::service("other", &["10.96.1.30"], &[("x", "TCP", 80, 80)])]);
    mistake_is_named_and_mended(
        &named,
        "apiVersion: v1\nkind: Service\n  metadata: [unfinished\n",
        &good,
    );
}

#[test]
#[ignore = "needs root"]
fn a_port_of_70000_in_the_second_document() {
    let fine = manifests::service("fine", &["10.96.1.31"], &[("x", "TCP", 80, 80)]);
    let with_port =
        |port| manifests::service("big-port", &["10.96.1.30"], &[("x", "TCP", port, 80)]);
    let named = Named {
        file: "ports.yaml",
        document: Some(2),
        kind: Some("Service"),
        name: Some("big-port"),
        field: Some("ports[0].port"),
        message: "70000",
    };
    mistake_is_named_and_mended(
        &named,
        &yaml(&[fine.clone(), with_port(70000)]),
        &yaml(&[fine, with_port(7000)]),
    );
}

#[test]
#[ignore = "needs root"]
fn a_service_that_claims_the_cluster_ip_of_an_older_one() {
    let claiming = |address| {
        let mut service =
            manifests::service("thief", &[address], &[("x", "TCP", u32::from(WEB_PORT), 9)]);
        service["metadata"]["creationTimestamp"] = json!("2026-06-01T00:00:00Z");
        yaml(&[service])
    };
    let named = Named {
        file: "thief.yaml",
        document: Some(1),
        kind: Some("Service"),
        name: Some("thief"),
        field: Some("clusterIP"),
        message: WEB[0],
    };
    mistake_is_named_and_mended(&named, &claiming(WEB[0]), &claiming("10.96.1.30"));
}

#[test]
#[ignore = "needs root"]
fn an_endpoint_slice_with_a_bad_address() {
    let slice = |address| {
        let service = manifests::service("other", &["10.96.1.30"], &[("x", "TCP", 80, 80)]);
        yaml(&[
            service,
            manifests::slice("other-1", "other", NODE, &[address], &[("x", "TCP", 80)]),
        ])
    };
    let named = Named {
        file: "slice.yaml",
        document: Some(2),
        kind: Some("EndpointSlice"),
        name: Some("other-1"),
        field: Some("endpoints[0].addresses[0]"),
        message: "10.244.1.999",
    };
    mistake_is_named_and_mended(&named, &slice("10.244.1.999"), &slice("10.244.1.99"));
}

#[test]
#[ignore = "needs root"]
fn what_an_object_said_before_it_was_broken_stays_in_force() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let mut service = tests::one_node::web_service();
    service["spec"]["ports"][0]["port"] = json!(70000);
    stage.manifests.write("web.yaml", &[service]);
    wait::until("an error about web", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        if errors.iter().any(|error| error["name"] == "web") {
            Ok(())
        } else {
            Err(format!("{errors:?}"))
        }
    });
    assert_web_is_served(&stage);
    stage.manifests.write_text("web.yaml", "{ no YAML");
    wait::until("an error about the file", wait::PATIENCE, || {
        let errors = stage.agent.source_errors();
        if errors.iter().any(|error| error["name"].is_null()) {
            Ok(())
        } else {
            Err(format!("{errors:?}"))
        }
    });
    assert_web_is_served(&stage);
    stage.manifests.write("web.yaml", &[tests::one_node::web_service()]);
    wait_for_no_errors(&stage.agent);
    assert_web_is_served(&stage);
}

#[test]
#[ignore = "needs root"]
fn a_pod_cidr_that_is_full() {
    // Eight addresses less the network's, the gateway's and the broadcast's leave five.
    let fill = |manifests: &ManifestDir| {
        manifests.write(
            "node.yaml",
            &[manifests::node(NODE, &["10.244.1.0/29", POD_CIDRS[1]], &["172.30.1.2"])],
        );
        tests::one_node::write_web(manifests, &["a", "b", "c", "d"]);
    };
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let _servers = stage.serve(&["a", "b", "c", "d"]);
    assert_eq!(stage.agent.source_errors(), Vec::<Value>::new());
    stage.manifests.write("late.yaml", &[manifests::pod("late", NODE, "late", &[])]);
    let named = Named {
        file: "late.yaml",
        document: Some(1),
        kind: Some("Pod"),
        name: Some("late"),
        field: None,
        message: "10.244.1.0/29",
    };
    named.wait_for(&stage.agent);
    assert!(
        NetNamespace::open("default.late").is_err(),
        "a pod without an address has no namespace"
    );
    for target in web() {
        stage.pod("client").run(|| client::ask_tcp(target)).expect("everything else is served");
    }
    stage.manifests.remove("d.yaml");
    wait_for_no_errors(&stage.agent);
    assert_eq!(stage.pod_ips("late").len(), 2);
    stage.pod("late");
}

#[test]
#[ignore = "needs root"]
fn objects_of_other_kinds_are_passed_over() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "strange-thing"},
        "spec": {"x": 1},
    });
    stage.manifests.write("deployment.yaml", &[deployment]);
    wait::until("a warning", wait::PATIENCE, || {
        if stage.agent.log().contains("Deployment") {
            Ok(())
        } else {
            Err("the log does not name the kind".to_owned())
        }
    });
    assert_web_is_served(&stage);
}
