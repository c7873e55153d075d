//! Backends come and go while clients ask.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{
        NODE, OneNode, WEB_PORT, addresses_at, pod_at, wait_for_slices, web, web_service,
        write_slices,
    },
    traffic::{
        Protocol, client,
        hammer::{Hammer, Style},
    },
    wait,
};

/// Pods a, b, c with numbers 11, 12, 13, and Service `web` over those in `numbers`, by slices.
fn abc(numbers: &[u8]) -> impl FnOnce(&ManifestDir) {
    move |manifests| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        for (name, number) in [("a", 11), ("b", 12), ("c", 13)] {
            manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
        }
        write_slices(manifests, numbers);
    }
}

/// A hammer for each protocol and family that makes new connections.
fn hammers(pod: &NetNamespace) -> Vec<Hammer> {
    Protocol::ALL
        .into_iter()
        .flat_map(|protocol| {
            web().map(|target| Hammer::start(pod, protocol, Style::NewEachTime, target))
        })
        .collect()
}

/// Waits until each of them has had `count` more answers.
fn all_go_on(hammers: &[Hammer], count: u64) {
    for hammer in hammers {
        hammer.wait_for_answers(count);
    }
}

/// Which servers new connections reach.
fn reached(pod: &NetNamespace) -> Vec<String> {
    let mut servers: Vec<String> = pod.run(|| {
        web()
            .into_iter()
            .flat_map(|target| {
                (0..30).map(move |_| client::ask_tcp(target).expect("new connections work").server)
            })
            .collect()
    });
    servers.sort();
    servers.dedup();
    servers
}

#[test]
#[ignore = "needs root"]
fn scaling_by_slices_fails_no_connection() {
    let Some(stage) = OneNode::start(abc(&[11])) else {
        return;
    };
    let _servers = stage.serve(&["a", "b", "c"]);
    let pod = stage.pod("client");
    let hammers = hammers(&pod);
    let steps: [(&[u8], &[&str]); 5] = [
        (&[11], &["a"]),
        (&[11, 12, 13], &["a", "b", "c"]),
        (&[12], &["b"]),
        (&[13, 11], &["a", "c"]),
        (&[13], &["c"]),
    ];
    for (numbers, names) in steps {
        write_slices(&stage.manifests, numbers);
        wait_for_slices(&stage.agent, numbers);
        assert_eq!(reached(&pod), names);
        all_go_on(&hammers, 50);
    }
    for hammer in hammers {
        hammer.stop().assert_flawless("scaling by slices");
    }
}

fn ready(mut pod: Value, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": status}]);
    pod
}

#[test]
#[ignore = "needs root"]
fn scaling_by_pods_that_start_and_end_in_order_fails_no_connection() {
    let fill = |manifests: &ManifestDir| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        manifests.write("a.yaml", &[pod_at("a", 11)]);
    };
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    let mut servers = vec![stage.serve(&["a"])];
    let pod = stage.pod("client");
    let hammers = hammers(&pod);
    for (name, number) in [("b", 12), ("c", 13)] {
        stage.manifests.write(&format!("{name}.yaml"), &[ready(pod_at(name, number), false)]);
        servers.push(stage.serve(&[name]));
        stage.manifests.write(&format!("{name}.yaml"), &[ready(pod_at(name, number), true)]);
    }
    wait_for_slices(&stage.agent, &[11, 12, 13]);
    assert_eq!(reached(&pod), ["a", "b", "c"]);
    for (name, number, left) in [("a", 11, &[12, 13][..]), ("b", 12, &[13])] {
        stage
            .manifests
            .write(&format!("{name}.yaml"), &[manifests::terminating(pod_at(name, number))]);
        wait_for_slices(&stage.agent, left);
        all_go_on(&hammers, 20);
        stage.manifests.remove(&format!("{name}.yaml"));
        wait_until_gone(name);
        all_go_on(&hammers, 50);
    }
    assert_eq!(reached(&pod), ["c"]);
    for hammer in hammers {
        hammer.stop().assert_flawless("scaling by pods");
    }
}

fn wait_until_gone(pod: &str) {
    wait::until(&format!("the end of pod {pod}"), wait::PATIENCE, || {
        match NetNamespace::open(&format!("default.{pod}")) {
            Ok(_) => Err("its namespace is there".to_owned()),
            Err(_) => Ok(()),
        }
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_removed_at_once_costs_at_most_the_connection_in_flight() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let pod = stage.pod("client");
    let hammers = hammers(&pod);
    all_go_on(&hammers, 50);
    stage.manifests.remove("b.yaml");
    wait_until_gone("b");
    all_go_on(&hammers, 100);
    for hammer in hammers {
        let report = hammer.stop();
        assert!(report.failures.len() <= 1, "{report:?}");
    }
    assert_eq!(reached(&pod), ["a"]);
}

#[test]
#[ignore = "needs root"]
fn an_endpoint_taken_out_keeps_its_tcp_connections_and_gives_up_its_udp() {
    let Some(stage) = OneNode::start(abc(&[11, 12])) else {
        return;
    };
    let _servers = stage.serve(&["a", "b", "c"]);
    let pod = stage.pod("client");
    for target in web() {
        write_slices(&stage.manifests, &[11, 12]);
        wait_for_slices(&stage.agent, &[11, 12]);
        let tcp = Hammer::start(&pod, Protocol::Tcp, Style::OneConversation, target);
        let udp = Hammer::start(&pod, Protocol::Udp, Style::OneConversation, target);
        let (tcp_server, udp_server) = (tcp.server_now(), udp.server_now());
        write_slices(&stage.manifests, &[13]);
        wait_for_slices(&stage.agent, &[13]);
        wait::until("UDP to move", wait::PATIENCE, || match udp.server_now() {
            server if server == "c" => Ok(()),
            server => Err(format!("from {udp_server} to c, it is at {server}")),
        });
        tcp.wait_for_answers(200);
        let (tcp, udp) = (tcp.stop(), udp.stop());
        tcp.assert_flawless("an established connection");
        assert_eq!(tcp.servers.keys().collect::<Vec<_>>(), [&tcp_server]);
        udp.assert_flawless("a UDP conversation that moves");
        assert_eq!(reached(&pod), ["c"]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_deleted_pod_resets_its_ipv4_tcp_clients_and_its_udp_clients_move_on() {
    delete_a_pod_in_the_middle_of_conversations(web()[0]);
}

#[test]
#[ignore = "needs root"]
fn a_deleted_pod_resets_its_ipv6_tcp_clients_and_its_udp_clients_move_on() {
    delete_a_pod_in_the_middle_of_conversations(web()[1]);
}

fn delete_a_pod_in_the_middle_of_conversations(target: SocketAddr) {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let pod = stage.pod("client");
    let tcp = Hammer::start(&pod, Protocol::Tcp, Style::OneConversation, target);
    let gone = tcp.server_now();
    let left = if gone == "a" { "b" } else { "a" };
    let udp = Hammer::start(&pod, Protocol::Udp, Style::OneConversation, target);
    udp.wait_for_answers(20);
    stage.manifests.remove(&format!("{gone}.yaml"));
    wait_until_gone(&gone);
    tcp.wait_for_its_end();
    let report = tcp.stop();
    assert!(report.failures[0].1.contains("reset"), "{target}: {report:?}");
    udp.wait_for_answers(100);
    let report = udp.stop();
    assert_eq!(report.last_server.as_deref(), Some(left), "{target}: {report:?}");
    assert!(report.failures.len() <= 1, "{target}: {report:?}");
    assert_eq!(reached(&pod), [left]);
}

#[test]
#[ignore = "needs root"]
fn removing_a_pod_removes_its_interface_while_a_process_still_holds_its_namespace() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let held = stage.pod("a");
    let _servers = stage.serve(&["a"]);
    assert!(
        held.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()).contains("eth0")
    );
    stage.manifests.remove("a.yaml");
    wait::until("the interface's end", wait::PATIENCE, || {
        let devices = held.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        if devices.contains("eth0") { Err(devices) } else { Ok(()) }
    });
}

#[test]
#[ignore = "needs root"]
fn a_change_on_disk_is_in_the_datapath_within_200_ms() {
    let Some(stage) = OneNode::start(abc(&[11])) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let pod = stage.pod("client");
    // The best of five, because other tests share the processors.
    let times: Vec<Duration> = [(12, "b"), (11, "a"), (12, "b"), (11, "a"), (12, "b")]
        .into_iter()
        .map(|(number, name)| {
            let start = Instant::now();
            write_slices(&stage.manifests, &[number]);
            pod.run(|| {
                wait::until("the change", wait::PATIENCE, || match client::ask_tcp(web()[0]) {
                    Ok(answer) if answer.server == name => Ok(()),
                    other => Err(format!("{other:?}")),
                })
            });
            start.elapsed()
        })
        .collect();
    assert!(times.iter().min() < Some(&Duration::from_millis(200)), "{times:?}");
}

#[test]
#[ignore = "needs root"]
fn endpoints_by_pods_are_the_addresses_of_the_pods() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    stage.manifests.write("b.yaml", &[pod_at("b", 42)]);
    let mut expected: Vec<String> = stage.pod_ips("a").iter().map(ToString::to_string).collect();
    expected.extend(addresses_at(42));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    stage.agent.wait_for_endpoints("web", WEB_PORT, "TCP", &expected);
}
