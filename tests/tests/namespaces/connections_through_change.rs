//! What becomes of TCP connections, and of those that are being made, when endpoints change.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    manifests::{self, ManifestDir, terminating},
    netns::NetNamespace,
    one_node::{NODE, OneNode, pod_at, wait_for_slices, web, web_service, write_slices},
    traffic::{client, from_port},
    wait,
};

/// What a long transfer carries: far more than fits into buffers.
const BYTES: u64 = 64 << 20;

const NAMES: [(&str, u8); 3] = [("a", 11), ("b", 12), ("c", 13)];

fn fill(numbers: &'static [u8]) -> impl FnOnce(&ManifestDir) {
    move |manifests| {
        manifests.write("web.yaml", &[web_service()]);
        manifests.write("client.yaml", &[manifests::pod("client", NODE, "client", &[])]);
        for (name, number) in NAMES {
            manifests.write(&format!("{name}.yaml"), &[pod_at(name, number)]);
        }
        write_slices(manifests, numbers);
    }
}

/// A transfer from a server, read piece by piece.
struct Transfer {
    stream: TcpStream,
    read: u64,
}

impl Transfer {
    fn start(target: SocketAddr) -> Self {
        let mut stream = client::connect(target).expect("connecting");
        write!(stream, "GET /{BYTES} HTTP/1.1\r\n\r\n").expect("asking");
        Self { stream, read: 0 }
    }

    /// Reads so many bytes more, or to the end.
    fn read(&mut self, bytes: u64) {
        let mut buffer = vec![0; 1 << 16];
        let goal = self.read + bytes;
        while self.read < goal {
            match self.stream.read(&mut buffer).expect("the connection lives") {
                0 => return,
                length => self.read += length as u64,
            }
        }
    }
}

/// Slices over pods 11, which is terminating and serves as long as it can, and 12.
fn write_slices_with_a_terminating(manifests: &ManifestDir) {
    let ports = [("http", "TCP", 8080), ("ask", "UDP", 8080)];
    let slices: [Value; 2] = [0, 1].map(|family| {
        let addresses =
            [11, 12].map(|number| tests::one_node::addresses_at(number)[family].clone());
        let addresses = addresses.each_ref().map(String::as_str);
        let mut slice = manifests::slice(&format!("web-{family}"), "web", NODE, &addresses, &ports);
        slice["addressType"] = ["IPv4", "IPv6"][family].into();
        slice["endpoints"][0]["conditions"] =
            json!({"ready": false, "serving": true, "terminating": true});
        slice
    });
    manifests.write("slices.yaml", &slices);
}

#[test]
#[ignore = "needs root"]
fn a_transfer_outlives_its_endpoints_terminating_and_its_leaving_the_slice() {
    let Some(stage) = OneNode::start(fill(&[11])) else { return };
    let _servers = stage.serve(&["a", "b"]);
    let namespaces = [stage.pod("client"), stage.node.netns().clone()];
    let mut transfers: Vec<Transfer> = namespaces
        .iter()
        .flat_map(|namespace| namespace.run(|| web().map(Transfer::start)))
        .collect();
    let piece = BYTES / 8;
    let mut all_read = || transfers.iter_mut().for_each(|transfer| transfer.read(piece));
    all_read();
    stage.manifests.write("a.yaml", &[terminating(pod_at("a", 11))]);
    write_slices_with_a_terminating(&stage.manifests);
    let goes_to_b = || {
        for namespace in &namespaces {
            namespace.run(|| {
                wait::until("new connections to go to b", wait::PATIENCE, || {
                    let answers = (0..8).map(|_| client::ask_tcp(web()[0]));
                    let servers: Vec<String> = answers.map(|it| it.expect("b").server).collect();
                    if servers.iter().all(|server| server == "b") {
                        Ok(())
                    } else {
                        Err(format!("{servers:?}"))
                    }
                });
            });
        }
    };
    goes_to_b();
    all_read();
    write_slices(&stage.manifests, &[12]);
    wait_for_slices(&stage.agent, &[12]);
    goes_to_b();
    // Longer than it takes until entries are looked at, whether anything has changed or not.
    thread::sleep(Duration::from_secs(6));
    all_read();
    for transfer in &mut transfers {
        transfer.read(BYTES);
        assert!(transfer.read > BYTES, "{} bytes", transfer.read);
    }
}

/// Routes that lead nowhere for what goes to the client: a SYN that the pod receives stays without
/// an answer.
fn mute(pod: &NetNamespace, client: &[IpAddr], what: &str) {
    for address in client {
        pod.ip(&format!("route {what} blackhole {address}"));
    }
}

/// To which backend connections to `target` from these ports go.
fn backends(stage: &OneNode, target: SocketAddr, ports: &[u16]) -> BTreeMap<u16, String> {
    let connections = stage.agent.get("connections");
    let destination = json!(target.to_string());
    let of_target = connections.iter().filter(|it| it["destination"] == destination);
    let found = of_target.filter_map(|connection| {
        let source: SocketAddr = connection["source"].as_str()?.parse().ok()?;
        let backend: SocketAddr = connection["backend"].as_str()?.parse().ok()?;
        Some((source.port(), backend.ip().to_string()))
    });
    found.filter(|(port, _)| ports.contains(port)).collect()
}

#[test]
#[ignore = "needs root"]
fn a_syn_that_is_sent_again_goes_to_the_same_backend() {
    const PORTS: [u16; 8] = [45001, 45002, 45003, 45004, 45005, 45006, 45007, 45008];
    let Some(stage) = OneNode::start(fill(&[11, 12, 13])) else { return };
    let _servers = stage.serve(&["a", "b", "c"]);
    let client = stage.pod("client");
    let client_ips = stage.pod_ips("client");
    for target in web() {
        for (name, _) in NAMES {
            mute(&stage.pod(name), &client_ips, "add");
        }
        let asking: Vec<_> = PORTS
            .iter()
            .map(|&port| {
                client.spawn(move || {
                    // The first SYN goes at once, the next ones after 1 and 3 seconds.
                    let stream = from_port::stream_within(port, target, Duration::from_secs(10));
                    let answer = from_port::ask_on_stream(&stream.expect("a connection"));
                    (port, answer.expect("an answer").server)
                })
            })
            .collect();
        let (first, _) = wait::until("the first SYNs", Duration::from_millis(900), || {
            let found = backends(&stage, target, &PORTS);
            if found.len() == PORTS.len() { Ok(found) } else { Err(format!("{found:?}")) }
        });
        // Meanwhile the endpoints change: those that were chosen serve on for what they have.
        write_slices(&stage.manifests, &[13]);
        thread::sleep(Duration::from_millis(1500));
        for (name, _) in NAMES {
            mute(&stage.pod(name), &client_ips, "del");
        }
        for thread in asking {
            let (port, server) = thread.join().expect("a client");
            let (_, number) = NAMES.iter().find(|(name, _)| *name == server).expect("a pod");
            let addresses = tests::one_node::addresses_at(*number);
            assert!(addresses.contains(&first[&port]), "{port}: {server}, after {first:?}");
        }
        write_slices(&stage.manifests, &[11, 12, 13]);
        wait_for_slices(&stage.agent, &[11, 12, 13]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_segment_to_a_pod_that_is_gone_is_answered_with_a_reset_at_once() {
    let Some(stage) = OneNode::start(fill(&[11])) else { return };
    let servers = stage.serve(&["a"]);
    let client = stage.pod("client");
    let mut streams: Vec<TcpStream> = client.run(|| {
        let connect = |target| {
            let stream = client::connect(target).expect("connecting");
            from_port::ask_on_stream(&stream).expect("an answer");
            stream
        };
        web().map(connect).into()
    });
    stage.manifests.remove("a.yaml");
    wait::until("the pod's end", wait::PATIENCE, || {
        NetNamespace::open("default.a").map_or(Ok(()), |_| Err("it is there".to_owned()))
    });
    // The agent says that it is done when it has said so of the connections, too.
    wait::until("the connections' end", wait::PATIENCE, || {
        let connections = stage.agent.get("connections");
        if connections.is_empty() { Ok(()) } else { Err(format!("{connections:?}")) }
    });
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_millis(150))).expect("a timeout");
        stream.write_all(b"who\n").expect("sending");
        // Sooner than the segment is sent again.
        let error = stream.read(&mut [0; 10]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    drop(servers);
}
