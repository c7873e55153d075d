//! The harness by itself, without shunt: a test that cannot see a failure is worth nothing.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tests::{
    manifests::ip,
    netns::NetNamespace,
    node::{Node, Wire},
    sandbox::Sandbox,
    traffic::{
        Protocol, client,
        hammer::{Hammer, Style},
        icmp::{EchoOutcome, echo},
        server::Server,
    },
};

/// Two nodes on a wire.
struct Pair {
    client: NetNamespace,
    server: NetNamespace,
    targets: [SocketAddr; 2],
    _sandbox: Sandbox,
}

fn pair() -> Option<Pair> {
    let sandbox = Sandbox::enter()?;
    let wire = Wire::new("wire", &[]);
    let (client, server) = (Node::new(&sandbox, "client"), Node::new(&sandbox, "server"));
    wire.plug_in(&client, &["172.30.1.1/24", "fd00:172:30::1/64"]);
    wire.plug_in(&server, &["172.30.1.2/24", "fd00:172:30::2/64"]);
    Some(Pair {
        client: client.netns().clone(),
        server: server.netns().clone(),
        targets: ["172.30.1.2", "fd00:172:30::2"].map(|address| SocketAddr::new(ip(address), 8080)),
        _sandbox: sandbox,
    })
}

#[test]
#[ignore = "needs root"]
fn clients_learn_who_answers_and_how_they_were_seen() {
    let Some(pair) = pair() else { return };
    let _servers = [Server::tcp(&pair.server, "s", 8080), Server::udp(&pair.server, "s", 8080)];
    for (target, address) in pair.targets.into_iter().zip(["172.30.1.1", "fd00:172:30::1"]) {
        pair.client.run(|| {
            for protocol in Protocol::ALL {
                let answer = client::ask(protocol, target).unwrap();
                assert_eq!((answer.server.as_str(), answer.client.ip()), ("s", ip(address)));
            }
            client::ask_udp_unconnected(target).unwrap();
            let poured = client::pour(target, 3_000_000).unwrap();
            assert_eq!(poured.line, "3000000");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn refusals_are_seen_as_refusals_and_silence_as_silence() {
    let Some(pair) = pair() else { return };
    for target in pair.targets {
        pair.client.run(|| {
            for protocol in Protocol::ALL {
                let error = client::ask(protocol, target).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol:?} {target}");
            }
            assert_eq!(echo(target.ip()), EchoOutcome::Reply);
        });
    }
    pair.server.ip("route add unreachable 10.96.0.0/16");
    pair.server.ip("-6 route add unreachable fd00:10:96::/64");
    for family in ["4", "6"] {
        let name = format!("/proc/sys/net/ipv{family}/conf/all/forwarding");
        pair.server.run(|| std::fs::write(name, "1").unwrap());
    }
    pair.client.ip("route add default via 172.30.1.2");
    pair.client.ip("-6 route add default via fd00:172:30::2");
    for (target, router) in ["10.96.0.1", "fd00:10:96::1"].into_iter().zip(pair.targets) {
        let outcome = pair.client.run(|| echo(ip(target)));
        let EchoOutcome::Unreachable { from, .. } = outcome else {
            panic!("{target}: {outcome:?}")
        };
        assert_eq!(from, router.ip());
    }
    pair.server.ip("route add blackhole 10.97.0.0/16");
    assert_eq!(pair.client.run(|| echo(ip("10.97.0.1"))), EchoOutcome::Silence);
}

#[test]
#[ignore = "needs root"]
fn a_hammer_reports_the_failures_of_a_killed_server() {
    let Some(pair) = pair() else { return };
    for protocol in Protocol::ALL {
        for style in [Style::NewEachTime, Style::OneConversation] {
            let server = match protocol {
                Protocol::Tcp => Server::tcp(&pair.server, "s", 8080),
                Protocol::Udp => Server::udp(&pair.server, "s", 8080),
            };
            let hammer = Hammer::start(&pair.client, protocol, style, pair.targets[1]);
            hammer.wait_for_answers(50);
            drop(server);
            std::thread::sleep(Duration::from_millis(300));
            let report = hammer.stop();
            assert!(!report.failures.is_empty(), "{protocol:?} {style:?}: {report:?}");
            assert!(report.servers["s"] >= 50);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_hammer_on_a_healthy_server_is_flawless() {
    let Some(pair) = pair() else { return };
    let _servers = [Server::tcp(&pair.server, "s", 8080), Server::udp(&pair.server, "s", 8080)];
    for protocol in Protocol::ALL {
        let hammer = Hammer::start(&pair.client, protocol, Style::NewEachTime, pair.targets[0]);
        hammer.wait_for_answers(200);
        hammer.stop().assert_flawless("a healthy server");
    }
}

#[test]
#[ignore = "needs root"]
fn counters_tell_segments_that_nobody_has_cut() {
    let Some(pair) = pair() else { return };
    let _server = Server::tcp(&pair.server, "s", 8080);
    let before = (pair.client.counters("eth0"), pair.server.counters("eth0"));
    pair.client.run(|| client::pour(pair.targets[0], 50_000_000)).unwrap();
    let after = (pair.client.counters("eth0"), pair.server.counters("eth0"));
    let sent = after.0.sent_bytes - before.0.sent_bytes;
    assert!(sent > 50_000_000 && sent / (after.0.sent_packets - before.0.sent_packets) > 10_000);
    let received = after.1.received_bytes - before.1.received_bytes;
    assert!(received / (after.1.received_packets - before.1.received_packets) > 10_000);
}
