//! Packets need no agent: it may be killed, stopped and started in the middle of traffic.

use std::time::Duration;

use tests::{
    manifests::{self, ManifestDir},
    netns::NetNamespace,
    one_node::{NODE, OneNode, WEB_PORT, pod_at, wait_for_slices, web, web_service, write_slices},
    traffic::{
        Protocol, client,
        hammer::{self, Hammer, Style},
    },
    wait,
};

/// New connections and long conversations, TCP and UDP, over both families, from a pod and from the
/// node.
struct Traffic {
    new: Vec<Hammer>,
    conversations: Vec<Hammer>,
}

impl Traffic {
    fn start(stage: &OneNode) -> Self {
        let (pod, node) = (stage.pod("client"), stage.node.netns());
        let [v4, v6] = web();
        let hammer =
            |namespace, protocol, style, target| Hammer::start(namespace, protocol, style, target);
        let traffic = Self {
            new: vec![
                hammer(&pod, Protocol::Tcp, Style::NewEachTime, v4),
                hammer(&pod, Protocol::Udp, Style::NewEachTime, v6),
                hammer(node, Protocol::Tcp, Style::NewEachTime, v6),
                hammer(node, Protocol::Udp, Style::NewEachTime, v4),
            ],
            conversations: vec![
                hammer(&pod, Protocol::Tcp, Style::OneConversation, v6),
                hammer(&pod, Protocol::Udp, Style::OneConversation, v4),
                hammer(node, Protocol::Tcp, Style::OneConversation, v4),
            ],
        };
        traffic.goes_on();
        traffic
    }

    fn goes_on(&self) {
        for hammer in self.new.iter().chain(&self.conversations) {
            hammer.wait_for_answers(50);
        }
    }

    fn stop(self) {
        hammer::assert_flawless(self.new, self.conversations);
    }
}

#[test]
#[ignore = "needs root"]
fn a_kill_and_a_start_disturb_no_packet() {
    let Some(mut stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let traffic = Traffic::start(&stage);
    for _ in 0..2 {
        stage.agent.kill9();
        traffic.goes_on();
        stage.agent.start();
        stage.agent.wait_ready();
        traffic.goes_on();
    }
    traffic.stop();
}

#[test]
#[ignore = "needs root"]
fn a_sigterm_ends_the_agent_within_a_second_and_disturbs_no_packet() {
    let Some(mut stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let traffic = Traffic::start(&stage);
    let mut quickest = Duration::MAX;
    // The machine may be busy with other tests: one of a few must be in time.
    for _ in 0..5 {
        let (code, took) = stage.agent.sigterm();
        assert_eq!(code, 0);
        quickest = quickest.min(took);
        traffic.goes_on();
        stage.agent.start();
        stage.agent.wait_ready();
        traffic.goes_on();
        if quickest < Duration::from_secs(1) {
            break;
        }
    }
    assert!(quickest < Duration::from_secs(1), "it took {quickest:?}");
    stage.agent.restart();
    traffic.goes_on();
    traffic.stop();
}

fn slices(numbers: &'static [u8]) -> impl FnOnce(&ManifestDir) {
    move |manifests| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        for (name, number) in [("a", 11), ("b", 12), ("c", 13), ("old", 14)] {
            manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
        }
        write_slices(manifests, numbers);
    }
}

#[test]
#[ignore = "needs root"]
fn changes_made_while_the_agent_was_away_are_applied_on_its_return() {
    let Some(mut stage) = OneNode::start(slices(&[11, 12])) else {
        return;
    };
    let _servers = stage.serve(&["a", "b", "c"]);
    let pod = stage.pod("client");
    let traffic: Vec<Hammer> =
        web().map(|target| Hammer::start(&pod, Protocol::Tcp, Style::NewEachTime, target)).into();
    let conversations: Vec<Hammer> = web()
        .map(|target| Hammer::start(&pod, Protocol::Tcp, Style::OneConversation, target))
        .into();
    for hammer in traffic.iter().chain(&conversations) {
        hammer.wait_for_answers(50);
    }

    stage.agent.kill9();
    write_slices(&stage.manifests, &[13]);
    stage.manifests.remove("old.yaml");
    stage.manifests.write("fresh.yaml", &[manifests::pod("fresh", NODE, "fresh", &[])]);
    let late = manifests::service("late", &["10.96.1.20"], &[("http", "TCP", 80, 8080)]);
    let slice =
        manifests::slice("late-1", "late", NODE, &["10.244.1.12"], &[("http", "TCP", 8080)]);
    stage.manifests.write("late.yaml", &[late, slice]);
    for hammer in traffic.iter().chain(&conversations) {
        hammer.wait_for_answers(50);
    }
    assert!(NetNamespace::open("default.old").is_ok(), "nothing changes while the agent is away");
    stage.agent.start();
    stage.agent.wait_ready();

    wait_for_slices(&stage.agent, &[13]);
    for target in web() {
        for _ in 0..20 {
            assert_eq!(pod.run(|| client::ask_tcp(target)).expect("an answer").server, "c");
        }
    }
    let answer = pod.run(|| client::ask_tcp("10.96.1.20:80".parse().unwrap()));
    assert_eq!(answer.expect("a service made meanwhile works").server, "b");
    stage.pod("fresh");
    wait::until("the end of a pod removed meanwhile", wait::PATIENCE, || {
        if NetNamespace::path("default.old").exists() {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    });
    for hammer in traffic {
        hammer.stop().assert_flawless("new connections");
    }
    for hammer in conversations {
        hammer.wait_for_answers(50);
        let report = hammer.stop();
        report.assert_flawless("an established connection");
        assert_eq!(report.servers.len(), 1, "{report:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn addresses_given_out_are_remembered() {
    let Some(mut stage) = OneNode::with_web(&["m", "n"]) else {
        return;
    };
    let before = ["client", "m", "n"].map(|name| stage.pod_ips(name));
    stage.agent.kill9();
    stage.manifests.write("a.yaml", &[manifests::pod("a", NODE, "web", &[])]);
    stage.manifests.remove("m.yaml");
    stage.agent.start();
    stage.agent.wait_ready();
    stage.pod("a");
    assert_eq!(stage.pod_ips("client"), before[0]);
    assert_eq!(stage.pod_ips("n"), before[2]);
    let fresh = stage.pod_ips("a");
    assert!(fresh != before[0] && fresh != before[2], "{fresh:?} was given out before");
    let endpoints: Vec<String> = fresh.iter().chain(&before[2]).map(ToString::to_string).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    stage.agent.wait_for_endpoints("web", WEB_PORT, "TCP", &endpoints);
}

#[test]
#[ignore = "needs root"]
fn a_second_agent_on_the_same_node_is_refused() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let mut second = stage.node.run_agent(&stage.manifests, &[]);
    wait::until("the second agent's end", wait::PATIENCE, || {
        if second.is_running() { Err("it runs beside the first".to_owned()) } else { Ok(()) }
    });
    stage.pod("client").run(|| client::ask_tcp(web()[0])).expect("the first still serves");
    assert_eq!(stage.agent.status()["ready"], true);
}
