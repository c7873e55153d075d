//! Load balancers ask each node whether a Service with a Local policy has endpoints there.

use std::{io::ErrorKind, net::SocketAddr};

use serde_json::{Value, json};
use tests::{
    manifests,
    topology::{Layout, NODE_PORT, Pod, Topology, VXLAN, addresses},
    traffic::{
        Protocol,
        health::{self, HealthAnswer},
        server::Server,
    },
    wait,
};

const LOAD_BALANCER: [&str; 2] = ["172.29.0.10", "fd00:172:29::10"];
const HEALTH_PORT: u16 = 32_000;

/// Service `web` with a Local policy and a health check.
fn checked(service: Value) -> Value {
    let service = manifests::with_node_ports(service, &[NODE_PORT, NODE_PORT]);
    let service = manifests::with_load_balancer(service, &LOAD_BALANCER);
    manifests::with_health_check(service, HEALTH_PORT)
}

fn health_at(node: usize) -> [SocketAddr; 2] {
    addresses::node(node).map(|address| SocketAddr::new(address, HEALTH_PORT))
}

/// Waits until a node answers the outside so, in both families.
fn wait_for_health(stage: &Topology, node: usize, status: u16, local_endpoints: u64) {
    let expected = HealthAnswer {
        status,
        service: "default/web".to_owned(),
        local_endpoints,
        proxy_healthy: true,
    };
    for target in health_at(node) {
        wait::until(&format!("{expected:?} from {target}"), wait::PATIENCE, || {
            match stage.network.outside().run(|| health::ask(target)) {
                Ok(answer) if answer == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

fn wait_for_refusal(stage: &Topology, targets: [SocketAddr; 2]) {
    for target in targets {
        wait::until(&format!("the end of {target}"), wait::PATIENCE, || {
            match stage.network.outside().run(|| health::ask(target)) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_load_balancer_leaves_a_node_before_its_last_endpoints_do() {
    let Some(mut stage) = Topology::new(Layout::routed(2)) else { return };
    let (a, b) = (stage.add_pod("a", 1, "web"), stage.add_pod("b", 1, "web"));
    stage.write_web(checked);
    stage.start(&VXLAN);
    let _servers: Vec<[Server; 2]> = [&a, &b].into_iter().map(Pod::serve).collect();
    let (a, b) = (stage.endpoint(&a), stage.endpoint(&b));
    let served = || {
        for target in stage.node_port(1) {
            for protocol in Protocol::ALL {
                stage.ask_from_outside(protocol, target).expect("the endpoints serve");
            }
        }
    };
    stage.put_endpoints(&[a.clone(), b.clone()]);
    wait_for_health(&stage, 1, 200, 2);
    wait_for_health(&stage, 0, 503, 0);
    stage.put_endpoints(&[a.clone().terminating(), b.clone()]);
    wait_for_health(&stage, 1, 200, 1);
    stage.put_endpoints(&[a.clone().terminating(), b.clone().terminating()]);
    wait_for_health(&stage, 1, 503, 0);
    served();
    stage.put_endpoints(&[a, b.terminating()]);
    wait_for_health(&stage, 1, 200, 1);
    served();
}

#[test]
#[ignore = "needs root"]
fn a_health_check_comes_and_goes_with_policy_service_address_and_agent() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let a = stage.add_pod("a", 0, "web");
    stage.write_web(checked);
    stage.start(&VXLAN);
    stage.wait_for_web(&a.addresses);
    wait_for_health(&stage, 0, 200, 1);
    let shown = &stage.agent(0).get("services")[0];
    assert_eq!(shown["healthCheckNodePort"], HEALTH_PORT, "{shown}");

    let cluster = |service| {
        let mut service = checked(service);
        service["spec"]["externalTrafficPolicy"] = json!("Cluster");
        service
    };
    stage.write_web(cluster);
    wait_for_refusal(&stage, health_at(0));
    stage.write_web(checked);
    wait_for_health(&stage, 0, 200, 1);

    stage.agent_mut(0).restart();
    wait_for_health(&stage, 0, 200, 1);

    // The second family's address stays.
    stage.node(0).netns().ip("address add 172.30.1.3/24 dev eth0");
    let mut node = stage.node_manifest(0);
    node["status"]["addresses"][0]["address"] = json!("172.30.1.3");
    stage.manifests.write("node-controlplane.yaml", &[node]);
    let [old, kept] = health_at(0);
    let new = SocketAddr::new(manifests::ip("172.30.1.3"), HEALTH_PORT);
    wait_for_refusal(&stage, [old, old]);
    for target in [new, kept] {
        let answer = stage.network.outside().run(|| health::ask(target)).expect("an answer");
        assert_eq!(answer.status, 200, "{target}");
    }
    stage.write_node(0);
    wait_for_health(&stage, 0, 200, 1);

    stage.manifests.remove("web.yaml");
    wait_for_refusal(&stage, health_at(0));
}

#[test]
#[ignore = "needs root"]
fn a_health_check_whose_port_is_taken_is_told_and_its_service_works() {
    let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
    let a = stage.add_pod("a", 0, "web");
    stage.write_web(checked);
    let in_the_way = Server::tcp(stage.node(0).netns(), "another", HEALTH_PORT);
    stage.start(&VXLAN);
    stage.wait_for_web(&a.addresses);
    let _servers = a.serve();
    let errors = stage.agent(0).source_errors();
    assert_eq!(errors.len(), 2, "one for each family: {errors:?}");
    for error in &errors {
        let about = ["kind", "name", "field"].map(|what| error[what].as_str());
        let expected = ["Service", "web", "spec.healthCheckNodePort"].map(Some);
        assert_eq!(about, expected, "{error}");
    }
    for target in stage.node_port(0) {
        assert_eq!(stage.ask_from_outside(Protocol::Tcp, target).expect("an answer").server, "a");
    }
    drop(in_the_way);
    wait_for_health(&stage, 0, 200, 1);
    assert_eq!(stage.agent(0).source_errors(), [] as [Value; 0]);
}
