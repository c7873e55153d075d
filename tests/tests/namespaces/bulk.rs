//! Bulk traffic through ClusterIPs keeps its segmentation offload.

use std::net::SocketAddr;

use serde_json::Value;
use tests::{
    netns::{Counters, NetNamespace},
    one_node::{NODE, OneNode, WEB, web},
    process::{Process, installed},
    traffic::client,
};

/// Far above what an Ethernet frame carries: only segments that nobody has cut yet are that long on
/// average.
const OFFLOADED: u64 = 10_000;

/// Panics if what was sent and received meanwhile was cut to what a frame carries.
pub(crate) fn assert_offloaded(what: &str, before: Counters, after: Counters) {
    let bytes = after.sent_bytes - before.sent_bytes;
    let packets = after.sent_packets - before.sent_packets;
    assert!(
        bytes / packets > OFFLOADED,
        "{what}: {bytes} bytes in {packets} packets leave the client"
    );
    let bytes = after.received_bytes - before.received_bytes;
    let packets = after.received_packets - before.received_packets;
    assert!(
        bytes / packets > OFFLOADED,
        "{what}: {bytes} bytes in {packets} packets reach the server"
    );
}

/// What the client's interface has sent, and the server's received.
pub(crate) fn counters(client: &NetNamespace, server: &NetNamespace) -> Counters {
    let (sent, received) = (client.counters("eth0"), server.counters("eth0"));
    Counters { sent_bytes: sent.sent_bytes, sent_packets: sent.sent_packets, ..received }
}

#[test]
#[ignore = "needs root"]
fn a_bulk_transfer_arrives_whole_and_in_large_segments() {
    let Some(stage) = OneNode::with_web(&["a"]) else {
        return;
    };
    let _servers = stage.serve(&["a"]);
    let (client, server) = (stage.pod("client"), stage.pod("a"));
    for target in web() {
        let before = counters(&client, &server);
        let bytes = 200_000_000;
        let answer = client.run(|| client::pour(target, bytes)).expect("all bytes arrive");
        assert_eq!(answer.line, bytes.to_string());
        assert_offloaded(&target.to_string(), before, counters(&client, &server));
    }
}

#[test]
#[ignore = "needs root"]
fn iperf3_passes_through_the_service_both_ways() {
    let fill = |manifests: &tests::manifests::ManifestDir| {
        manifests.write(
            "web.yaml",
            &[tests::manifests::service(
                "web",
                &WEB,
                &[("iperf3", "TCP", 5201, 5201), ("udp", "UDP", 5201, 5201)],
            )],
        );
        manifests.write("a.yaml", &[tests::manifests::pod("a", NODE, "web", &[])]);
        manifests.write("client.yaml", &[tests::manifests::pod("client", NODE, "client", &[])]);
    };
    let Some(stage) = OneNode::start(fill) else {
        return;
    };
    assert!(installed("iperf3"), "this test needs iperf3: run `cargo xtask setup`");
    let (client, server) = (stage.pod("client"), stage.pod("a"));
    let _server = Process::start(
        server.command("iperf3").args(["--server", "--forceflush"]),
        "Server listening",
    );
    for target in web().map(|target| SocketAddr::new(target.ip(), 5201)) {
        let before = counters(&client, &server);
        let sent = iperf3(&client, target, &["--bytes", "200M"]);
        assert!(sent >= 200_000_000, "{target}: {sent} bytes");
        assert_offloaded(&target.to_string(), before, counters(&client, &server));
        assert!(
            iperf3(&client, target, &["--bytes", "200M", "--reverse"]) >= 200_000_000,
            "{target}"
        );
        assert!(
            iperf3(&client, target, &["--udp", "--bytes", "10M", "--bitrate", "200M"])
                >= 10_000_000,
            "{target}"
        );
    }
}

/// Runs an iperf3 client, and returns the bytes that it counted.
pub(crate) fn iperf3(client: &NetNamespace, target: SocketAddr, arguments: &[&str]) -> u64 {
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let mut command = client.command("iperf3");
    command
        .args(["--json", "--connect-timeout", "3000", "--client", &address, "--port", &port])
        .args(arguments);
    let finished = tests::process::finish(&mut command, std::time::Duration::from_secs(30));
    assert_eq!(finished.code, 0, "{target} {arguments:?}: {finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).expect("iperf3 prints JSON");
    ["/end/sum_sent/bytes", "/end/sum/bytes"]
        .iter()
        .find_map(|path| report.pointer(path).and_then(Value::as_u64))
        .unwrap_or_else(|| panic!("no sum in {report}"))
}
