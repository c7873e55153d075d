//! What an agent tells the API server of itself and of objects.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    agent::Agent, api_server::ApiServer, manifests, node::Node, sandbox::Sandbox,
    traffic::page::page, wait,
};

const NODE: &str = "node1";

/// One node, whose agent follows an API server that is on it.
struct Stage {
    /// First, because fields are dropped in order.
    agent: Agent,
    server: ApiServer,
    node: Node,
    _sandbox: Sandbox,
}

impl Stage {
    /// The agent is not started. None without root.
    fn prepare(arguments: &[&str]) -> Option<Self> {
        let sandbox = Sandbox::enter()?;
        let node = Node::new(&sandbox, NODE);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 6443));
        let server = node.netns().run(|| ApiServer::start(address));
        let cidrs = ["10.244.1.0/24", "fd00:10:244:1::/64"];
        server.store().apply(&[manifests::node(NODE, &cidrs, &["172.30.1.2"])]);
        let path = sandbox.root().join("events.kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        std::fs::write(&path, text.to_string()).expect("writing a kubeconfig");
        let source = ["--kubeconfig", &path.display().to_string()];
        let agent = Agent::of_source(&node, source, arguments);
        Some(Self { agent, server, node, _sandbox: sandbox })
    }

    fn start() -> Option<Self> {
        let mut stage = Self::prepare(&[])?;
        stage.agent.start();
        stage.agent.wait_ready();
        Some(stage)
    }

    fn events(&self, reason: &str) -> Vec<Value> {
        let all = self.server.store().events().all();
        all.into_iter().filter(|event| event["reason"] == reason).collect()
    }

    /// Waits for the one event with this reason.
    fn event(&self, reason: &str) -> Value {
        let (event, _) =
            wait::until(reason, wait::PATIENCE, || match self.events(reason).as_slice() {
                [event] => Ok(event.clone()),
                several => Err(format!("{several:?}")),
            });
        event
    }

    fn metric(&self, name: &str) -> f64 {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, 10249));
        let page = self.node.netns().run(|| page(target, "/metrics")).expect("metrics");
        page.metric(name).unwrap_or_else(|| panic!("no {name} in {}", page.body))
    }
}

fn service(name: &str, address: &str) -> Value {
    let mut service = manifests::service(name, &[address], &[("http", "TCP", 80, 8080)]);
    service["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    service
}

fn broken(name: &str) -> Value {
    let mut service = service(name, "10.96.1.1");
    service["spec"]["ports"][0]["port"] = json!(70_000);
    service
}

#[test]
#[ignore = "needs root"]
fn a_start_is_told_and_what_is_wrong_with_an_object_is_told_once() {
    let Some(mut stage) = Stage::start() else { return };
    let starting = stage.event("Starting");
    assert_eq!(starting["type"], "Normal");
    assert_eq!(starting["regarding"]["kind"], "Node");
    assert_eq!(
        (&starting["regarding"]["name"], &starting["reportingInstance"]),
        (&json!(NODE), &json!(NODE))
    );

    stage.server.store().apply(&[broken("bad"), service("good", "10.96.1.2")]);
    let refused = stage.event("Refused");
    assert_eq!(
        (&refused["type"], &refused["regarding"]["name"]),
        (&json!("Warning"), &json!("bad"))
    );
    assert_eq!(refused["regarding"]["uid"], "uid-of-bad");
    let note = refused["note"].as_str().expect("it says what is wrong");
    assert!(note.starts_with("spec.ports[0].port: ") && note.contains("70000"), "{note}");

    let thief = service("thief", "10.96.1.2");
    stage.server.store().apply(&[thief]);
    let conflict = stage.event("Conflict");
    assert_eq!(conflict["regarding"]["uid"], "uid-of-thief");

    // Neither other changes nor another agent say it again.
    for number in 10..20 {
        let address = format!("10.96.1.{number}");
        stage.server.store().apply(&[service(&format!("s-{number}"), &address)]);
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!(stage.server.store().events().requests(), 3);
    stage.agent.restart();
    wait::until("the second start", wait::PATIENCE, || match stage.events("Starting").len() {
        2 => Ok(()),
        number => Err(number.to_string()),
    });
    wait::until("all events of the second agent", wait::PATIENCE, || {
        match stage.server.store().events().requests() {
            6 => Ok(()),
            number => Err(number.to_string()),
        }
    });
    assert_eq!(stage.events("Refused").len() + stage.events("Conflict").len(), 2);
    assert!((stage.metric("shunt_events_total{outcome=\"posted\"}") - 3.0).abs() < 0.5);
}

#[test]
#[ignore = "needs root"]
fn a_health_check_that_cannot_be_answered_is_told_on_its_service() {
    let Some(stage) = Stage::start() else { return };
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 32_000)).expect("listening");
    let _in_the_way = stage.node.netns().run(listen);
    stage.node.netns().ip("address add 172.30.1.2/32 dev lo");
    let service = manifests::with_node_ports(service("web", "10.96.1.2"), &[30_080]);
    let service = manifests::with_load_balancer(service, &["172.29.0.10"]);
    stage.server.store().apply(&[manifests::with_health_check(service, 32_000)]);
    let event = stage.event("FailedToStartServiceHealthcheck");
    assert_eq!(event["regarding"]["uid"], "uid-of-web");
    assert_eq!((&event["type"], &event["action"]), (&json!("Warning"), &json!("Listen")));
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_cannot_listen_and_must_says_so_before_it_ends() {
    let Some(mut stage) = Stage::prepare(&["--bind-address-hard-fail"]) else { return };
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 10249)).expect("listening");
    let _in_the_way = stage.node.netns().run(listen);
    stage.agent.start();
    assert_eq!(stage.agent.wait_ended(), 2);
    let event = stage.event("FailedToStartMetricServer");
    assert_eq!((&event["regarding"]["kind"], &event["type"]), (&json!("Node"), &json!("Warning")));
    assert!(event["note"].as_str().is_some_and(|note| note.contains("127.0.0.1:10249")));
}

#[test]
#[ignore = "needs root"]
fn events_that_are_forbidden_are_one_line_in_the_log_and_nothing_else() {
    let Some(mut stage) = Stage::prepare(&[]) else { return };
    stage.server.store().events().forbid();
    stage.server.store().apply(&[broken("bad-1"), broken("bad-2"), service("good", "10.96.1.2")]);
    stage.agent.start();
    stage.agent.wait_ready();
    let events = stage.server.store().events();
    wait::until("all are refused", wait::PATIENCE, || match events.requests() {
        3 => Ok(()),
        number => Err(number.to_string()),
    });
    wait::until("the failures are counted", wait::PATIENCE, || {
        let failed = stage.metric("shunt_events_total{outcome=\"failed\"}");
        if failed > 2.5 { Ok(()) } else { Err(failed.to_string()) }
    });
    assert_eq!(stage.agent.log().matches("events are not posted").count(), 1);
    assert_eq!(stage.agent.source_errors().len(), 2);
    let services = stage.agent.get("services");
    assert!(services.iter().any(|service| service["name"] == "good"), "{services:?}");
}

#[test]
#[ignore = "needs root"]
fn a_storm_of_errors_is_no_storm_of_events() {
    let Some(stage) = Stage::start() else { return };
    let all: Vec<Value> = (0..300).map(|number| broken(&format!("bad-{number}"))).collect();
    stage.server.store().apply(&all);
    wait::until("all are refused", wait::PATIENCE, || match stage.agent.source_errors().len() {
        300 => Ok(()),
        number => Err(number.to_string()),
    });
    let suppressed = || stage.metric("shunt_events_total{outcome=\"suppressed\"}");
    wait::until("most are suppressed", wait::PATIENCE, || {
        let suppressed = suppressed();
        if suppressed > 270.0 { Ok(()) } else { Err(suppressed.to_string()) }
    });
    assert!(stage.server.store().events().requests() <= 26);
}
