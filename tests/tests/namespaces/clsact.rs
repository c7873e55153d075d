//! The other way of attaching, which kernels before 6.6 have only: filters of clsact qdiscs.

use tests::{
    one_node::{OneNode, web, write_web},
    process,
    topology::{Layout, Topology},
    traffic::{
        Protocol, client,
        hammer::{Hammer, Style},
    },
};

/// How the TC programs are attached, by `shunt status`.
fn modes(stage: &OneNode) -> Vec<String> {
    let status = stage.agent.status();
    let programs = status["programs"].as_array().expect("programs are listed");
    programs
        .iter()
        .filter(|program| program["hook"].as_str().is_some_and(|hook| hook.starts_with("tc")))
        .map(|program| program["mode"].as_str().expect("a mode").to_owned())
        .collect()
}

fn stage_with(tc: &str) -> Option<OneNode> {
    let mut stage = OneNode::prepare(|manifests| write_web(manifests, &["a", "b"]))?;
    stage.agent = stage.node.run_agent(&stage.manifests, &["--tc", tc]);
    stage.agent.wait_ready();
    Some(stage)
}

#[test]
#[ignore = "needs root"]
fn services_are_served_and_cleanup_leaves_nothing() {
    let Some(stage) = stage_with("clsact") else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    assert!(modes(&stage).iter().all(|mode| mode == "clsact"), "{:?}", modes(&stage));
    for protocol in Protocol::ALL {
        for target in web() {
            stage.pod("client").run(|| client::ask(protocol, target)).expect("an answer");
        }
    }
    let finished = stage.agent.cleanup();
    assert_eq!(finished.code, 0, "{finished:?}");
    let links = stage.node.netns().ip("-br link");
    assert!(!links.contains("cni0"), "{links}");
}

#[test]
#[ignore = "needs root"]
fn an_agent_that_attaches_the_other_way_disturbs_no_packet_and_leaves_nothing_of_the_first() {
    let Some(mut stage) = stage_with("tcx") else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    for tc in ["clsact", "tcx", "clsact"] {
        let pod = stage.pod("client");
        let start = |style| Hammer::start(&pod, Protocol::Tcp, style, web()[0]);
        let hammers = [Style::OneConversation, Style::NewEachTime].map(start);
        stage.agent.sigterm();
        stage.agent = stage.node.run_agent(&stage.manifests, &["--tc", tc]);
        stage.agent.wait_ready();
        for hammer in hammers {
            hammer.stop().assert_flawless("connections across the change");
        }
        assert!(modes(&stage).iter().all(|mode| mode == tc), "{:?}", modes(&stage));
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_on_an_uplink_but_a_qdisc_that_was_there_before() {
    for had_clsact in [false, true] {
        std::thread::spawn(move || {
            let Some(mut stage) = Topology::new(Layout::routed(1)) else { return };
            let node = stage.node(0).netns().clone();
            let tc = |arguments: &str| {
                process::must(node.command("tc").args(arguments.split_whitespace()))
            };
            if had_clsact {
                tc("qdisc add dev eth0 clsact");
            }
            stage.start(&["--tc", "clsact"]);
            for direction in ["ingress", "egress"] {
                assert!(!tc(&format!("filter show dev eth0 {direction}")).is_empty());
            }
            let finished = stage.agent(0).cleanup();
            assert_eq!(finished.code, 0, "{finished:?}");
            assert_eq!(tc("qdisc show dev eth0").contains("clsact"), had_clsact);
            if had_clsact {
                for direction in ["ingress", "egress"] {
                    assert_eq!(tc(&format!("filter show dev eth0 {direction}")), "");
                }
            }
        })
        .join()
        .expect("nothing is left");
    }
}
