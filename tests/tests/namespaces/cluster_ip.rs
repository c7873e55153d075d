//! Pods reach pods through ClusterIPs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use tests::{
    netns::NetNamespace,
    one_node::{OneNode, POD_CIDRS, TARGET_PORT, web},
    process::{finish, installed, must},
    statistics::{chi_square, probability_of_three},
    traffic::{Protocol, client, server::Server},
};

#[test]
#[ignore = "needs root"]
fn a_pod_reaches_every_backend_and_keeps_its_address() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let client_ips = stage.pod_ips("client");
    let pod = stage.pod("client");
    for protocol in Protocol::ALL {
        for target in web() {
            let mut seen = BTreeSet::new();
            for _ in 0..40 {
                let answer = pod.run(|| client::ask(protocol, target)).expect("an answer");
                assert!(
                    client_ips.contains(&answer.client.ip()),
                    "{answer:?}, not one of {client_ips:?}"
                );
                assert_eq!(answer.client.is_ipv4(), target.is_ipv4());
                seen.insert(answer.server);
            }
            assert_eq!(
                seen,
                BTreeSet::from(["a".to_owned(), "b".to_owned()]),
                "{protocol:?} {target}"
            );
        }
    }
}

#[test]
#[ignore = "needs root"]
fn udp_replies_come_from_the_cluster_ip() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    for target in web() {
        stage.pod("client").run(|| {
            client::ask_udp_unconnected(target).expect("an unconnected socket gets its reply");
            let socket = client::connect_udp(target).expect("connecting");
            for _ in 0..100 {
                client::ask_on(&socket, "again").expect("a conversation on one socket");
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_thousand_connections_fall_on_three_backends_like_a_fair_die() {
    let Some(stage) = OneNode::with_web(&["a", "b", "c"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b", "c"]);
    let pod = stage.pod("client");
    for (protocol, target) in [(Protocol::Tcp, web()[0]), (Protocol::Udp, web()[1])] {
        let counts = pod.run(|| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..1000 {
                let answer = client::ask(protocol, target).expect("an answer");
                *counts.entry(answer.server).or_default() += 1;
            }
            counts
        });
        let values: Vec<u64> = counts.values().copied().collect();
        assert_eq!(values.len(), 3, "{counts:?}");
        let probability = probability_of_three(chi_square(&values));
        assert!(
            probability > 1e-6,
            "{protocol:?}: a fair die shows {counts:?} with {probability:e}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn ten_thousand_short_connections_pass_without_one_failure() {
    let Some(stage) = OneNode::with_web(&["a", "b"]) else {
        return;
    };
    let _servers = stage.serve(&["a", "b"]);
    let pod = stage.pod("client");
    for target in web() {
        let failures: Vec<String> = pod.run(|| {
            (0..10_000)
                .filter_map(|number| {
                    client::ask_tcp(target)
                        .err()
                        .map(|error| format!("connection {number}: {error}"))
                })
                .take(10)
                .collect()
        });
        assert!(failures.is_empty(), "{target}: {failures:#?}");
    }
}

#[test]
#[ignore = "needs root"]
fn curl_gets_a_page_from_a_pod_and_from_the_node() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    assert!(installed("curl"), "this test needs curl: run `cargo xtask setup`");
    let _servers = stage.serve(&["a"]);
    for namespace in [&stage.pod("client"), stage.node.netns()] {
        for target in web() {
            let page = must(namespace.command("curl").args([
                "--silent",
                "--show-error",
                "--fail",
                "--noproxy",
                "*",
                "--max-time",
                "5",
                &format!("http://{target}/"),
            ]));
            assert!(page.starts_with("a "), "{}: {target}: {page:?}", namespace.name());
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_that_is_its_services_only_backend_reaches_itself() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let pod = stage.pod("a");
    for protocol in Protocol::ALL {
        for target in web() {
            for _ in 0..20 {
                let answer = pod.run(|| client::ask(protocol, target));
                assert_eq!(answer.expect("an answer").server, "a", "{protocol:?} {target}");
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_pods_localhost_is_its_own() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let _on_the_node = Server::tcp(stage.node.netns(), "node", TARGET_PORT);
    let ask = |namespace: &NetNamespace, address: &str| {
        let target = SocketAddr::new(tests::manifests::ip(address), TARGET_PORT);
        namespace.run(|| client::ask_tcp(target))
    };
    for localhost in ["127.0.0.1", "::1"] {
        assert_eq!(ask(&stage.pod("a"), localhost).expect("an answer").server, "a");
        assert_eq!(ask(stage.node.netns(), localhost).expect("an answer").server, "node");
        let error = ask(&stage.pod("client"), localhost).expect_err("nobody listens there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
#[ignore = "needs root"]
fn pods_and_node_reach_each_other_without_a_service() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let _on_the_node = [
        Server::tcp(stage.node.netns(), "node", TARGET_PORT),
        Server::udp(stage.node.netns(), "node", TARGET_PORT),
    ];
    let client_ips = stage.pod_ips("client");
    for protocol in Protocol::ALL {
        for address in stage.pod_ips("a") {
            let target = SocketAddr::new(address, TARGET_PORT);
            let answer =
                stage.pod("client").run(|| client::ask(protocol, target)).expect("pod to pod");
            assert_eq!(answer.server, "a");
            assert!(client_ips.contains(&answer.client.ip()), "{answer:?}");
            let answer =
                stage.node.netns().run(|| client::ask(protocol, target)).expect("node to pod");
            assert_eq!(answer.server, "a");
        }
        for gateway in gateways() {
            let target = SocketAddr::new(gateway, TARGET_PORT);
            let answer =
                stage.pod("client").run(|| client::ask(protocol, target)).expect("pod to gateway");
            assert_eq!(answer.server, "node");
            assert!(client_ips.contains(&answer.client.ip()), "{answer:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn large_datagrams_pass_in_fragments() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    // Pod to pod: fragments are the bridge's, and must not be taken for something else.
    for address in stage.pod_ips("a") {
        let target = SocketAddr::new(address, TARGET_PORT);
        let line = "x".repeat(8000);
        let answer =
            stage.pod("client").run(|| client::ask_on(&client::connect_udp(target)?, &line));
        assert_eq!(answer.expect("an answer").line, line, "{target}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_node_holds_no_rule_of_iptables_nft_or_ipvs() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    stage.pod("client").run(|| client::ask_tcp(web()[0])).expect("the service works");
    let node = stage.node.netns();
    for names in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names", "/proc/net/ip_vs"] {
        let thread_names = names.replace("/proc/net", "/proc/thread-self/net");
        let text = node.run(|| std::fs::read_to_string(&thread_names).unwrap_or_default());
        let tables: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.starts_with("TCP") || line.starts_with("UDP") || !names.ends_with("vs")
            })
            .collect();
        assert!(tables.is_empty(), "{names}: {tables:?}");
    }
    for (program, arguments) in
        [("iptables-save", &[][..]), ("ip6tables-save", &[]), ("nft", &["list", "ruleset"])]
    {
        if installed(program) {
            let listed = finish(node.command(program).args(arguments), Duration::from_secs(10));
            let rules: Vec<&str> = listed
                .stdout
                .lines()
                .filter(|line| line.starts_with("-A") || program == "nft")
                .collect();
            assert!(rules.is_empty(), "{program}: {rules:?}");
        }
    }
}

/// The first address of each pod CIDR: `cni0`'s.
fn gateways() -> [std::net::IpAddr; 2] {
    let first =
        POD_CIDRS.map(|cidr| cidr.split('/').next().expect("a CIDR has a prefix").to_owned());
    [
        first[0].strip_suffix('0').map(|prefix| format!("{prefix}1")),
        first[1].strip_suffix("::").map(|prefix| format!("{prefix}::1")),
    ]
    .map(|text| tests::manifests::ip(&text.expect("a CIDR that ends in zero")))
}
